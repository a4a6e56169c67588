//! A report as an SVG: for each measure a few horizontal bars, ours first.

use std::fmt::Write as _;

use super::markdown::quantity;
use super::report::{Report, Row};

const WIDTH: u32 = 760;
const MARGIN: u32 = 20;
/// Where the bars begin; their names stand before.
const BARS: u32 = 220;
/// The longest bar; its number stands behind.
const LONGEST: f64 = 400.0;
const BAR: u32 = 14;
const LINE: u32 = 20;
const HEADING: u32 = 30;
const TOP: u32 = 50;

/// Colours for light surroundings and for dark ones.
const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }\n\
    .title { font-size: 16px; font-weight: 600 }\n\
    .measure { font-weight: 600 }\n\
    .ground { fill: #ffffff }\n\
    .ours { fill: #0969da }\n\
    .other { fill: #8c959f }\n\
    @media (prefers-color-scheme: dark) {\n\
    text { fill: #e6edf3 }\n\
    .ground { fill: #0d1117 }\n\
    .ours { fill: #4493f8 }\n\
    .other { fill: #6e7681 }\n\
    }\n";

/// The drawing.
pub(super) fn svg(report: &Report) -> String {
    let groups = groups(&report.rows);
    let mut body = String::new();
    let mut y = TOP;
    for group in &groups {
        y += HEADING;
        group.draw(y, &mut body);
        y += LINE * u32::try_from(group.bars.len()).unwrap_or_default();
    }
    let title = escape(&format!(
        "{}: {}, {} cores, Linux {}",
        report.bench, report.machine.cpu, report.machine.cores, report.machine.kernel
    ));
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"34\">{title}</text>\n{body}</svg>\n"
    )
}

/// Bars of one scale.
struct Group<'a> {
    heading: String,
    unit: &'a str,
    bars: Vec<Bar<'a>>,
}

struct Bar<'a> {
    name: &'a str,
    value: Option<f64>,
    ours: bool,
}

/// The rows of one measure are one group; so are those, one after the other, that are compared to
/// nothing and have one unit.
fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let around = |near: Option<&Row>| near.is_some_and(|near| near.name == row.name);
        let alone = row.against.is_none() && !around(rows.get(at + 1));
        let again = at.checked_sub(1).is_some_and(|before| around(rows.get(before)));
        let heading = if alone && !again { row.unit } else { &row.name };
        let ours =
            Bar { name: if alone { &row.name } else { "nearwire" }, value: row.value, ours: true };
        let other = row.against.as_ref();
        let other = other.map(|other| Bar { name: &other.name, value: other.value, ours: false });
        match groups.last_mut() {
            Some(group) if again => group.bars.extend(other),
            Some(group) if alone && group.heading == heading => group.bars.push(ours),
            _ => groups.push(Group {
                heading: heading.to_owned(),
                unit: row.unit,
                bars: std::iter::once(ours).chain(other).collect(),
            }),
        }
    }
    groups
}

impl Group<'_> {
    /// Draws the bars from `y` down and the heading above.
    fn draw(&self, mut y: u32, into: &mut String) {
        let heading = escape(&self.heading);
        let _ = writeln!(
            into,
            "<text class=\"measure\" x=\"{MARGIN}\" y=\"{}\">{heading}</text>",
            y - 8
        );
        let most = self.bars.iter().filter_map(|bar| bar.value).fold(0.0, f64::max);
        for bar in &self.bars {
            let share = bar.value.map_or(0.0, |value| value / most);
            let width = if share.is_finite() { share * LONGEST } else { 0.0 };
            let class = if bar.ours { "ours" } else { "other" };
            let (text, middle) = (BARS as f64 + width + 8.0, y + BAR - 3);
            let _ = writeln!(
                into,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\n\
                 <rect class=\"{class}\" x=\"{BARS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\n\
                 <text x=\"{text:.1}\" y=\"{middle}\">{}</text>",
                BARS - 8,
                escape(bar.name),
                escape(&quantity(bar.value, self.unit)),
            );
            y += LINE;
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::{Against, Machine};
    use super::*;

    fn row(name: &str, value: f64, other: Option<(&str, Option<f64>)>) -> Row {
        let against = other.map(|(name, value)| Against { name: name.to_owned(), value });
        Row::new(name, "Mbit/s", vec![value], against, None)
    }

    #[test]
    fn a_measure_is_one_group_with_our_bar_once() {
        let rows = [
            row("tcp", 4.0, Some(("one", Some(1.0)))),
            row("tcp", 4.0, Some(("two", None))),
            row("udp", 1.0, Some(("one", Some(2.0)))),
            row("f()", 1.0, None),
            row("g()", 2.0, None),
        ];
        let shown: Vec<_> = groups(&rows)
            .iter()
            .map(|group| {
                let names: Vec<_> = group.bars.iter().map(|bar| bar.name).collect();
                format!("{}: {}", group.heading, names.join(" "))
            })
            .collect();
        assert_eq!(shown, ["tcp: nearwire one two", "udp: nearwire one", "Mbit/s: f() g()"]);
    }

    #[test]
    fn bars_are_to_scale_and_text_is_escaped() {
        let machine = Machine { kernel: "6".into(), cpu: "A & B".into(), cores: 2, load: 0.0 };
        let rows = vec![row("a < b", 4.0, Some(("one", Some(1.0))))];
        let svg = svg(&Report { bench: "tunnel", machine, rows, notes: Vec::new() });
        assert!(svg.contains("<title>tunnel: A &amp; B, 2 cores, Linux 6</title>"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains(">4.00 Mbit/s<"), "{svg}");
        assert!(svg.contains("width=\"400.0\"") && svg.contains("width=\"100.0\""), "{svg}");
    }
}
