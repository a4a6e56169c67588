//! A relay's status for people.

use std::fmt::Write as _;

use serde_json::Value;

/// The status as lines of text. What an older or newer relay does not say is left out.
pub(crate) fn status(status: &Value) -> String {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut text = String::new();
    let state = match status.pointer("/totals/draining").and_then(Value::as_bool) {
        Some(true) => "going away",
        _ => "serving",
    };
    line(&mut text, "state", state);
    let (quic, tls) = (number("/totals/quic"), number("/totals/tls"));
    let clients = format!(
        "{} (QUIC {quic}, TLS {tls}), {} at home, in {} networks",
        number("/totals/clients"),
        number("/totals/homes"),
        number("/totals/networks"),
    );
    line(&mut text, "clients", &clients);
    let (lanes, bound) = (number("/totals/lanes"), number("/lane_ends_bound"));
    line(&mut text, "lanes", &format!("{lanes} ({bound} ends bound)"));
    if let Some(switch) = status.get("lane_switch") {
        line(&mut text, "lane switch", &plain(switch));
    }
    if let Some(control) = status.get("control").filter(|control| !control.is_null()) {
        let state = match control.get("trouble").filter(|trouble| !trouble.is_null()) {
            None => "says who is revoked".to_owned(),
            Some(trouble) => {
                format!("not heard, tickets count until their end: {}", plain(trouble))
            }
        };
        line(&mut text, "control", &state);
    }
    line(&mut text, "waiting", &format!("{} bytes", number("/totals/waiting")));
    if let Some(mesh) = status.get("mesh").filter(|mesh| !mesh.is_null()) {
        show_mesh(&mut text, mesh);
    }
    for (what, path) in [("drops", "/drops"), ("refused", "/refused")] {
        line(&mut text, what, &counts(status.pointer(path)));
    }
    text
}

fn show_mesh(text: &mut String, mesh: &Value) {
    let own = mesh.get("relay").map(plain).unwrap_or_default();
    let region = mesh.get("region").map(plain).unwrap_or_default();
    line(text, "region", &format!("{region}, as relay {own}"));
    for link in mesh.get("links").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| link.get(key).map(plain).unwrap_or_default();
        let name = format!("  relay {}", of("relay"));
        let up = link.get("up").and_then(Value::as_bool).unwrap_or(false);
        let state = if up {
            let rtt = match link.get("rtt_us").and_then(Value::as_u64) {
                Some(rtt) => format!("{}.{:03} ms there and back", rtt / 1000, rtt % 1000),
                None => "no beat back yet".to_owned(),
            };
            format!("up, {rtt}, {} nodes, {} bytes waiting", of("nodes"), of("waiting"))
        } else {
            "down".to_owned()
        };
        line(text, &name, &format!("{} {state}", of("address")));
    }
}

/// Counters that are not zero.
fn counts(counters: Option<&Value>) -> String {
    let counters = counters.and_then(Value::as_object).into_iter().flatten();
    let some: Vec<String> = counters
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<12} {value}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn people_see_links_and_what_was_dropped() {
        let status = json!({
            "totals": {"clients": 3, "homes": 2, "quic": 1, "tls": 2, "networks": 1, "lanes": 4,
                "waiting": 0, "draining": false},
            "lane_ends_bound": 5,
            "lane_switch": "userspace",
            "control": {"trouble": "gone"},
            "mesh": {"region": "here", "relay": 1, "links": [
                {"relay": 2, "address": "192.0.2.2:444", "up": true, "rtt_us": 1234, "nodes": 7,
                    "waiting": 0},
                {"relay": 3, "address": "192.0.2.3:444", "up": false, "rtt_us": null, "nodes": 0,
                    "waiting": 0},
            ]},
            "drops": {"queue_age": 0, "lane_rate": 9},
            "refused": {"full": 0},
        });
        let text = super::status(&status);
        let wanted = "\
state        serving
clients      3 (QUIC 1, TLS 2), 2 at home, in 1 networks
lanes        4 (5 ends bound)
lane switch  userspace
control      not heard, tickets count until their end: gone
waiting      0 bytes
region       here, as relay 1
  relay 2    192.0.2.2:444 up, 1.234 ms there and back, 7 nodes, 0 bytes waiting
  relay 3    192.0.2.3:444 down
drops        lane_rate 9
refused      none
";
        assert_eq!(text, wanted);
    }
}
