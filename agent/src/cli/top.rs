//! `nearwire top`.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};
use ratatui::{DefaultTerminal, Frame};
use serde_json::json;

use super::daemon::Socket;
use super::status::bytes;
use crate::mesh::Status;
use crate::mesh::rpc::Caller;

/// Watch the peers: rates, round trips and paths, live
///
/// `q` ends it. With --json it prints an object each time.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
    /// Milliseconds between two looks
    #[arg(short, long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..))]
    interval: u64,
    /// One JSON object each time
    #[arg(long)]
    json: bool,
    /// End after so many looks
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
}

/// Bytes a second of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rate {
    sent: f64,
    received: f64,
}

/// What was counted at the last look, by the peers' ids.
#[derive(Default)]
struct Rates {
    before: HashMap<String, (u64, u64)>,
    now: HashMap<String, Rate>,
}

impl Rates {
    fn look(&mut self, status: &Status, passed: Duration) {
        let seconds = passed.as_secs_f64().max(0.001);
        let mut counted = HashMap::new();
        self.now.clear();
        for peer in &status.peers {
            let (sent, received) = (peer.sent, peer.received);
            if let Some(&(s, r)) = self.before.get(&peer.node) {
                // Counters begin anew when a peer comes back.
                let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                let rate = Rate { sent: rate(sent, s), received: rate(received, r) };
                self.now.insert(peer.node.clone(), rate);
            }
            counted.insert(peer.node.clone(), (sent, received));
        }
        self.before = counted;
    }

    fn of(&self, node: &str) -> Rate {
        self.now.get(node).copied().unwrap_or_default()
    }
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let caller = Caller::connect(&self.socket.socket)?;
        if self.json {
            self.print(caller)?;
        } else if std::io::stdout().is_terminal() {
            let mut terminal = ratatui::try_init()?;
            let watched = self.watch(caller, &mut terminal);
            ratatui::restore();
            watched?;
        } else {
            bail!("this is no terminal: use --json, or nearwire status");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, mut caller: Caller) -> anyhow::Result<()> {
        let mut rates = Rates::default();
        let mut at = Instant::now();
        let mut looks = 0;
        while self.count.is_none_or(|count| looks < count) {
            if looks > 0 {
                std::thread::sleep(Duration::from_millis(self.interval));
            }
            looks += 1;
            let status = caller.status()?;
            rates.look(&status, at.elapsed());
            at = Instant::now();
            let peers: Vec<_> = status
                .peers
                .iter()
                .map(|peer| {
                    let rate = rates.of(&peer.node);
                    json!({
                        "name": peer.name, "path": peer.way(), "rtt_ms": peer.rtt_ms,
                        "sent_per_second": rate.sent, "received_per_second": rate.received,
                    })
                })
                .collect();
            println!("{}", json!({ "state": status.state, "peers": peers }));
        }
        Ok(())
    }

    fn watch(&self, mut caller: Caller, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        let mut rates = Rates::default();
        let mut at = Instant::now();
        let mut looks = 0;
        while self.count.is_none_or(|count| looks < count) {
            looks += 1;
            let status = caller.status()?;
            rates.look(&status, at.elapsed());
            at = Instant::now();
            terminal.draw(|frame| draw(frame, &status, &rates))?;
            let next = at + Duration::from_millis(self.interval);
            while event::poll(next.saturating_duration_since(Instant::now()))? {
                if let Event::Key(key) = event::read()? {
                    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL)
                        && key.code == KeyCode::Char('c');
                    if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn draw(frame: &mut Frame<'_>, status: &Status, rates: &Rates) {
    let [head, body] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(frame.area());
    let relay = status.relay.as_ref().map_or("none", |home| home.relay.as_str());
    let said = format!(
        "{} in {}: {}, {} peers, relay {relay}",
        status.name,
        status.network,
        status.state,
        status.peers.len()
    );
    frame.render_widget(Line::from(said).bold(), head);
    let mut peers: Vec<_> = status.peers.iter().map(|peer| (peer, rates.of(&peer.node))).collect();
    let total = |rate: &Rate| rate.sent + rate.received;
    peers.sort_by(|(_, a), (_, b)| total(b).total_cmp(&total(a)));
    let rows = peers.into_iter().map(|(peer, rate)| {
        let rtt = peer.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        Row::new([peer.name.clone(), peer.way(), rtt, speed(rate.sent), speed(rate.received)])
    });
    let widths = [
        Constraint::Min(12),
        Constraint::Min(24),
        Constraint::Length(10),
        Constraint::Length(14),
        Constraint::Length(14),
    ];
    let names = Row::new(["peer", "path", "RTT", "sent", "received"]);
    let table = Table::new(rows, widths).header(names.style(Style::new().bold()));
    frame.render_widget(table, body);
}

fn speed(rate: f64) -> String {
    // Below any rate that matters; a rate is never negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let whole = rate.round() as u64;
    format!("{}/s", bytes(whole))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::mesh::PeerStatus;

    fn status(sent: u64, received: u64) -> Status {
        let peer = PeerStatus {
            name: "web".into(),
            node: "n1".into(),
            path: "direct".into(),
            endpoint: "192.0.2.1:9".parse().ok(),
            rtt_ms: Some(1.3),
            sent,
            received,
            ..PeerStatus::default()
        };
        Status { state: "connected".into(), peers: vec![peer], ..Status::default() }
    }

    #[test]
    fn rates_are_differences_by_time_and_are_drawn() {
        let mut rates = Rates::default();
        rates.look(&status(1000, 0), Duration::from_secs(1));
        assert_eq!(rates.of("n1"), Rate::default());
        let now = status(5096, 1024);
        rates.look(&now, Duration::from_secs(2));
        assert_eq!(rates.of("n1"), Rate { sent: 2048.0, received: 512.0 });
        let mut terminal = Terminal::new(TestBackend::new(90, 5)).unwrap();
        terminal.draw(|frame| draw(frame, &now, &rates)).unwrap();
        let shown = terminal.backend().to_string();
        for text in ["connected", "direct 192.0.2.1:9", "1.3 ms", "2.0 KiB/s", "512 B/s"] {
            assert!(shown.contains(text), "{text} in {shown}");
        }
    }
}
