//! What a node is called: one label of a domain name, unique in its network.

const LONGEST: usize = 63;

/// A label made of what a host calls itself.
#[must_use]
pub fn from_hostname(hostname: &str) -> String {
    let first = hostname.split('.').next().unwrap_or("");
    let mut label = String::new();
    for c in first.chars().map(|c| c.to_ascii_lowercase()) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if !(c == '-' && (label.is_empty() || label.ends_with('-'))) && label.len() < LONGEST {
            label.push(c);
        }
    }
    let label = label.trim_end_matches('-');
    if label.is_empty() { "node".to_owned() } else { label.to_owned() }
}

/// Whether it is such a label already.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// The label itself or, if it is taken, with the first number behind it that is free.
pub fn unique(label: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(label) {
        return label.to_owned();
    }
    let numbered = |number: u64| {
        let number = number.to_string();
        let stem = &label[..label.len().min(LONGEST - 1 - number.len())];
        format!("{}-{number}", stem.trim_end_matches('-'))
    };
    // Fewer are taken than there are numbers.
    (1..).map(numbered).find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostnames_become_labels() {
        for (hostname, label) in [
            ("Laptop", "laptop"),
            ("web-1.example.com", "web-1"),
            ("Bob's  Mac", "bob-s-mac"),
            ("---", "node"),
            ("", "node"),
            ("数", "node"),
        ] {
            assert_eq!(from_hostname(hostname), label);
        }
        let taken = ["web", "web-1"];
        assert_eq!(unique("web", |name| taken.contains(&name)), "web-2");
        assert_eq!(unique("db", |name| taken.contains(&name)), "db");
    }

    proptest! {
        #[test]
        fn whatever_a_host_calls_itself(hostname in ".{0,100}", many in 0usize..12) {
            let label = from_hostname(&hostname);
            prop_assert!(is_label(&label), "{label}");
            let mut taken = std::collections::HashSet::new();
            for _ in 0..many {
                let name = unique(&label, |name| taken.contains(name));
                prop_assert!(is_label(&name), "{name}");
                prop_assert!(taken.insert(name));
            }
        }
    }
}
