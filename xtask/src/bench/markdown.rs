//! A report as a Markdown table, for people.

use std::fmt::Write as _;

use super::report::{Machine, Report, Row};

/// The table, under a line that names the machine and above what else has to be known.
pub(super) fn table(report: &Report) -> String {
    let Machine { kernel, cpu, cores, load } = &report.machine;
    let mut table = format!(
        "{}: {cpu}, {cores} cores, Linux {kernel}, load {load} at the start\n\n\
         | what | value | against | ratio | reach | pass |\n|---|--:|---|--:|---|---|\n",
        report.bench
    );
    let mut before: Option<&Row> = None;
    for row in &report.rows {
        // What is measured is said once, above all that it is compared to.
        let again = before.is_some_and(|before| before.name == row.name);
        let (name, value) = if again {
            (String::new(), String::new())
        } else {
            (row.name.clone(), quantity(row.value, row.unit))
        };
        let against = row.against.as_ref();
        let against = against.map(|other| format!("{} {}", other.name, quantity(other.value, "")));
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}"));
        let reach = row.reach.map(|reach| reach.to_string());
        let pass = row.pass.map(|pass| if pass { "yes" } else { "**no**" });
        let _ = writeln!(
            table,
            "| {name} | {value} | {} | {} | {} | {} |",
            against.unwrap_or_default().trim_end(),
            ratio.unwrap_or_default(),
            reach.unwrap_or_default(),
            pass.unwrap_or_default(),
        );
        before = Some(row);
    }
    if !report.notes.is_empty() {
        table.push('\n');
    }
    for note in &report.notes {
        // A note may be an error of several lines.
        let _ = writeln!(table, "- {}", note.replace('\n', " "));
    }
    table
}

/// A number with as many digits as say something, and its unit; a word where there is none.
pub(super) fn quantity(number: Option<f64>, unit: &str) -> String {
    let Some(number) = number else {
        return "not measured".to_owned();
    };
    let digits = match number.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::{Against, Reach};
    use super::*;

    #[test]
    fn a_measure_is_named_once_and_who_is_missing_is_said() {
        let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), cores: 2, load: 0.5 };
        let against = |name: &str, value| Some(Against { name: name.to_owned(), value });
        let reach = Some(Reach::AtLeast(6.5));
        let rows = vec![
            Row::new("tcp", "Mbit/s", vec![1300.0], against("one", Some(200.0)), reach),
            Row::new("tcp", "Mbit/s", vec![1300.0], against("two", None), reach),
            Row::new("memory", "MiB", vec![10.26], None, Some(Reach::AtMost(64.0))),
        ];
        let notes = vec!["two took no part:\nit ends".to_owned()];
        let report = Report { bench: "tunnel", machine, rows, notes };
        assert_eq!(
            table(&report),
            "tunnel: a CPU, 2 cores, Linux 6.18, load 0.5 at the start\n\n\
             | what | value | against | ratio | reach | pass |\n\
             |---|--:|---|--:|---|---|\n\
             | tcp | 1300 Mbit/s | one 200 | 6.50 | >= 6.5 | yes |\n\
             |  |  | two not measured |  | >= 6.5 |  |\n\
             | memory | 10.3 MiB |  |  | <= 64 | yes |\n\n\
             - two took no part: it ends\n"
        );
    }
}
