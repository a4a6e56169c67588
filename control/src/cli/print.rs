//! Answers of the API for people: lists as tables, single things line by line.

use serde_json::Value;

/// The longest text of a table's cell.
const CELL: usize = 44;

/// The text of an answer.
pub(super) fn human(answer: &Value) -> String {
    let Value::Object(fields) = answer else { return String::new() };
    let mut text = String::new();
    for (name, value) in fields {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                text += &table(items);
            }
            Value::Object(_) => text += &human(value),
            Value::String(long) if long.contains('\n') => text += &format!("{name}:\n{long}\n"),
            value => text += &format!("{name}: {}\n", cell(value)),
        }
    }
    text
}

fn table(items: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for item in items.iter().filter_map(Value::as_object) {
        for name in item.keys().filter(|name| !columns.contains(&name.as_str())).collect::<Vec<_>>()
        {
            columns.push(name);
        }
    }
    let mut rows = vec![columns.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>()];
    for item in items {
        rows.push(columns.iter().map(|name| shortened(&cell(&item[*name]))).collect());
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What a node calls itself cannot drive the reader's terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CELL {
        return text.to_owned();
    }
    text.chars().take(CELL - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables_and_things_are_lines() {
        let list = json!({ "nodes": [
            { "id": "n1", "tags": ["tag:a", "tag:b"], "online": true },
            { "id": "n2", "tags": [], "user": "a\u{1b}b" },
        ] });
        let text = human(&list);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "id  online  tags         user");
        assert_eq!(lines[1], "n1  true    tag:a,tag:b  -");
        assert_eq!(lines[2], "n2  -                    a b");
        assert_eq!(human(&json!({ "id": "x", "v4": null })), "id: x\nv4: -\n");
    }
}
