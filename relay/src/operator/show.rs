//! A relay's status for people.

use std::fmt::Write as _;

use serde_json::Value;

/// The status as lines of text, at this second since 1970. What an older or newer relay does not say is
/// left out.
pub(crate) fn status(status: &Value, now: u64) -> String {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut text = String::new();
    line(&mut text, "state", state(status, now));
    if let Some(certificate) = status.get("certificate") {
        line(&mut text, "certificate", &said_of_certificate(certificate, now));
    }
    let (quic, tls) = (number("/totals/quic"), number("/totals/tls"));
    let clients = format!(
        "{} (QUIC {quic}, TLS {tls}), {} at home, in {} networks",
        number("/totals/clients"),
        number("/totals/homes"),
        number("/totals/networks"),
    );
    line(&mut text, "clients", &clients);
    let traffic = |name: &str| {
        let of = |what: &str| number(&format!("/counters/{what}_{name}"));
        format!("{} packets ({} bytes)", of("packets"), of("bytes"))
    };
    line(&mut text, "in", &traffic("in"));
    line(&mut text, "out", &traffic("out"));
    match status.get("lane_switch") {
        Some(Value::Null) => line(&mut text, "lanes", "none are taken: `lanes` is not set"),
        Some(_) => show_lanes(&mut text, status),
        None => {}
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
    let counted = [("drops", "/drops"), ("refused", "/refused"), ("no lane", "/lanes_refused")];
    for (what, path) in counted {
        line(&mut text, what, &counts(status.pointer(path)));
    }
    text
}

fn state(status: &Value, now: u64) -> &'static str {
    let is = |path: &str| status.pointer(path).and_then(Value::as_bool) == Some(true);
    let not_after = status.pointer("/certificate/not_after");
    match not_after {
        _ if is("/totals/draining") => "going away",
        Some(Value::Null) => "not serving: there is no certificate yet",
        Some(until) if until.as_u64().is_some_and(|until| until < now) => {
            "serving with a certificate that has expired"
        }
        _ => "serving",
    }
}

/// How long it is good, and why it is not replaced.
fn said_of_certificate(certificate: &Value, now: u64) -> String {
    const DAY: u64 = 86_400;
    let mut said = match certificate.get("not_after").and_then(Value::as_u64) {
        None => "none".to_owned(),
        Some(until) if until < now => format!("expired {} days ago", (now - until) / DAY),
        Some(until) => format!("good for {} days", (until - now) / DAY),
    };
    if let Some(sha256) = certificate.get("sha256").filter(|sha256| !sha256.is_null()) {
        said.push_str(&format!(", SHA-256 {}", plain(sha256)));
    }
    if let Some(trouble) = certificate.get("trouble").filter(|trouble| !trouble.is_null()) {
        said.push_str(&format!("; not replaced: {}", plain(trouble)));
    }
    said
}

/// Lanes, what they carry, and who switches them, and why nobody else.
fn show_lanes(text: &mut String, status: &Value) {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let lanes = format!(
        "{} ({} ends bound), {} packets ({} bytes), {} of them by the kernel",
        number("/totals/lanes"),
        number("/lane_ends_bound"),
        number("/counters/lane_packets"),
        number("/counters/lane_bytes"),
        number("/counters/kernel_packets"),
    );
    line(text, "lanes", &lanes);
    let all = |path: &str| status.pointer(path).and_then(Value::as_array).into_iter().flatten();
    for at in all("/xdp/interfaces") {
        let of = |key: &str| at.get(key).map(plain).unwrap_or_default();
        let (interface, mode, why) = (of("interface"), of("mode"), of("why"));
        line(text, "lane switch", &format!("kernel (XDP) on {interface}, {mode} mode: {why}"));
    }
    for why in all("/xdp/refused") {
        line(text, "lane switch", &format!("user space: {}", plain(why)));
    }
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
    use serde_json::{Value, json};

    const DAY: u64 = 86_400;

    fn healthy() -> Value {
        json!({
            "certificate": {"sha256": "ab12", "not_after": 50 * DAY, "trouble": null},
            "totals": {"clients": 3, "homes": 2, "quic": 1, "tls": 2, "networks": 1, "lanes": 4,
                "waiting": 0, "draining": false},
            "lane_ends_bound": 5,
            "lane_switch": "xdp",
            "xdp": {
                "interfaces": [{"interface": "eth0", "mode": "driver", "why": "named in `xdp`"}],
                "refused": ["there is no interface eth1"],
            },
            "control": {"trouble": "gone"},
            "mesh": {"region": "here", "relay": 1, "links": [
                {"relay": 2, "address": "192.0.2.2:444", "up": true, "rtt_us": 1234, "nodes": 7,
                    "waiting": 0},
                {"relay": 3, "address": "192.0.2.3:444", "up": false, "rtt_us": null, "nodes": 0,
                    "waiting": 0},
            ]},
            "counters": {"packets_in": 7, "bytes_in": 700, "packets_out": 6, "bytes_out": 600,
                "lane_packets": 9, "lane_bytes": 900, "kernel_packets": 8},
            "drops": {"queue_age": 0, "lane_rate": 9},
            "refused": {"full": 0},
            "lanes_refused": {"full": 2, "oneself": 0},
        })
    }

    #[test]
    fn people_see_what_is_carried_by_whom_and_what_was_dropped() {
        let wanted = "\
state        serving
certificate  good for 40 days, SHA-256 ab12
clients      3 (QUIC 1, TLS 2), 2 at home, in 1 networks
in           7 packets (700 bytes)
out          6 packets (600 bytes)
lanes        4 (5 ends bound), 9 packets (900 bytes), 8 of them by the kernel
lane switch  kernel (XDP) on eth0, driver mode: named in `xdp`
lane switch  user space: there is no interface eth1
control      not heard, tickets count until their end: gone
waiting      0 bytes
region       here, as relay 1
  relay 2    192.0.2.2:444 up, 1.234 ms there and back, 7 nodes, 0 bytes waiting
  relay 3    192.0.2.3:444 down
drops        lane_rate 9
refused      none
no lane      full 2
";
        assert_eq!(super::status(&healthy(), 10 * DAY), wanted);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_seen_and_lanes_that_are_none_are_not() {
        let says = |certificate: Value, wanted: &[&str]| {
            let mut status = healthy();
            status["certificate"] = certificate;
            status["lane_switch"] = Value::Null;
            let text = super::status(&status, 10 * DAY);
            for line in wanted {
                assert!(text.lines().any(|got| got == *line), "no {line:?} in\n{text}");
            }
            assert!(!text.contains("lane switch"), "{text}");
        };
        says(
            json!({"sha256": null, "not_after": null, "trouble": "the name is not ours"}),
            &[
                "state        not serving: there is no certificate yet",
                "certificate  none; not replaced: the name is not ours",
                "lanes        none are taken: `lanes` is not set",
            ],
        );
        says(
            json!({"sha256": "ab12", "not_after": 7 * DAY, "trouble": null}),
            &[
                "state        serving with a certificate that has expired",
                "certificate  expired 3 days ago, SHA-256 ab12",
            ],
        );
    }
}
