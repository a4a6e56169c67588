//! `nearwire policy explain --live`: what the kernel's own tables decide.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;

use crate::wg::{self, Explanation, Question, Reply, Request};

pub(super) fn explain(
    interface: &str,
    source: &str,
    destination: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let question = Question { source: source.to_owned(), destination: destination.to_owned() };
    let Reply::Explained(flows) = wg::call(interface, &Request::Explain(question))? else {
        bail!("the daemon answered something else");
    };
    if json {
        println!("{}", serde_json::json!({ "interface": interface, "flows": flows }));
    } else {
        for flow in &flows {
            print!("{}", told(flow));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(flow: &Explanation) -> String {
    use std::fmt::Write as _;
    let verdict = if flow.accepted { "accepted" } else { "denied" };
    let named = |name: &Option<String>, address: IpAddr| match name {
        Some(name) => format!("{name} ({address})"),
        None => address.to_string(),
    };
    let (source, to) =
        (named(&flow.source_name, flow.source), named(&flow.destination_name, flow.destination));
    let service = match (&flow.protocol, flow.port) {
        (protocol, 0) => protocol.clone(),
        (protocol, port) => format!("{protocol} {port}"),
    };
    let mut text = format!("{source} -> {to} {service}: {verdict}");
    if let Some(reason) = &flow.reason {
        let _ = write!(text, " ({reason})");
    }
    text.push('\n');
    let _ = match &flow.rule {
        Some(rule) => {
            let by = match rule.line {
                Some(line) => format!("the rule on line {line}: "),
                None => String::new(),
            };
            let (packets, bytes) = (rule.packets, rule.bytes);
            let counted = format!("which has decided on {packets} packets, {bytes} bytes");
            writeln!(text, "    by {by}{}\n    {counted}", rule.text)
        }
        None => writeln!(text, "    no rule accepts it"),
    };
    let _ = writeln!(
        text,
        "    source identity {}, destination class {}, generation {}",
        flow.identity, flow.class, flow.generation
    );
    for record in &flow.flows {
        let _ = writeln!(text, "    {record}");
    }
    text
}
