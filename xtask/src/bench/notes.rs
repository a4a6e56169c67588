//! What a reader of a report has to know beside its numbers, each thing once.

/// The most characters of a reason: a daemon's whole output may follow, which goes to standard error.
const REASON: usize = 300;

/// See the module.
#[derive(Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// Notes something, unless it is there.
    pub(super) fn add(&mut self, note: String) {
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Notes what could not be measured, and why it was not the first time.
    pub(super) fn missed(&mut self, what: &str, error: &anyhow::Error) {
        let title = format!("{what} could not be measured");
        if !self.0.iter().any(|note| note.starts_with(&title)) {
            self.0.push(format!("{title}: {}", reason(error)));
        }
    }

    /// All of them.
    pub(super) fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl From<Vec<String>> for Notes {
    fn from(notes: Vec<String>) -> Self {
        Self(notes)
    }
}

/// The beginning of an error's text, in one line.
pub(super) fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(REASON).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_thing_is_noted_once_and_a_reason_in_one_line() {
        let mut notes = Notes::from(vec!["medians".to_owned()]);
        notes.add("medians".to_owned());
        notes.missed("TCP", &anyhow!("no\n  answer").context("iperf"));
        notes.missed("TCP", &anyhow!("something else"));
        assert_eq!(notes.into_vec(), ["medians", "TCP could not be measured: iperf: no answer"]);
        assert_eq!(reason(&anyhow!("x".repeat(1000))).len(), REASON);
    }
}
