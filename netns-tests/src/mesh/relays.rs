//! The relays of a hub.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::hub::{Hub, RELAY_ADMIN, RELAYS, SECOND};
use super::{PATIENCE, Programs};
use crate::process::Process;
use crate::wait::wait_until;

/// Where relays of one region meet.
const MESH_PORT: u16 = 444;

/// How relays are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each is a region of its own.
    Regions,
    /// All are of one region.
    OneRegion,
}

impl Hub {
    /// Stops the relays.
    pub fn stop_relay(&mut self) {
        self.relays.truncate(0);
    }

    /// Stops one of several relays, the first of which is zero.
    pub fn stop_one_relay(&mut self, which: usize) {
        drop(self.relays.remove(which));
    }

    /// Kills one of several relays, which has no time to tell anybody.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill_relay(&self, which: usize) -> Result<()> {
        self.relays.get(which).context("there is no such relay")?.signal(Signal::KILL)
    }

    /// Tells one of several relays to end, which tells its clients before.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn drain_relay(&self, which: usize) -> Result<()> {
        self.relays.get(which).context("there is no such relay")?.signal(Signal::TERM)
    }

    /// How many nodes have the first relay for their home.
    ///
    /// # Errors
    /// When it does not say.
    pub fn homes(&self) -> Result<u64> {
        let status = self.relay_status(0)?;
        status.pointer("/totals/homes").and_then(Value::as_u64).context("no number of homes")
    }

    /// Starts the relay, and names it to the control plane.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_relay(&mut self) -> Result<()> {
        self.start_relays(1)
    }

    /// As [`Self::start_relay`], with a second address, by which STUN shows what a NAT does.
    ///
    /// # Errors
    /// As [`Self::start_relay`].
    pub fn start_relay_with_second_address(&mut self) -> Result<()> {
        self.host.ip(["address", "replace", &format!("{SECOND}/32"), "dev", "lo"])?;
        self.second = true;
        self.start_relay()
    }

    /// As [`Self::start_relay`], so many, each of a region of its own.
    ///
    /// # Errors
    /// As [`Self::start_relay`].
    pub fn start_relays(&mut self, count: usize) -> Result<()> {
        self.spread_relays(count, Spread::Regions)
    }

    /// As [`Self::start_relay`], so many, spread like this.
    ///
    /// # Errors
    /// As [`Self::start_relay`].
    pub fn spread_relays(&mut self, count: usize, spread: Spread) -> Result<()> {
        self.start_relays_with(count, spread, true)
    }

    /// Starts the relay again, which hears nothing of the control plane from then on, and sees a clock
    /// of its own.
    ///
    /// # Errors
    /// As [`Self::start_relay`].
    pub fn start_deaf_relay(&mut self) -> Result<()> {
        self.clock.set("+0h")?;
        self.start_relays_with(1, Spread::Regions, false)
    }

    /// Sets the clock of a relay that sees its own: so many hours ahead of everybody else's.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn set_relay_clock(&self, hours: u32) -> Result<()> {
        self.clock.set(&format!("+{hours}h"))
    }

    fn start_relays_with(&mut self, count: usize, spread: Spread, hear: bool) -> Result<()> {
        self.stop_relay();
        if spread == Spread::OneRegion {
            self.write_region(count)?;
        }
        let mut relays = Vec::new();
        for (number, address) in RELAYS.into_iter().take(count).enumerate() {
            let (process, fingerprint) = self.relay(number, address, spread, hear)?;
            self.relays.push(process);
            relays.push(json!({
                "host": "relay.test", "addresses": [address], "tls_port": 443, "quic_port": 443,
                "certificates": [fingerprint],
            }));
        }
        let name = |number| if number == 0 { "hub".to_owned() } else { format!("hub{number}") };
        let regions = match spread {
            Spread::OneRegion => json!([{ "id": 1, "name": "hub", "relays": relays }]),
            Spread::Regions => {
                let region = |(number, relay): (usize, &Value)| json!({ "id": number + 1, "name": name(number), "relays": [relay] });
                relays.iter().enumerate().map(region).collect()
            }
        };
        let file = self.directory.file("regions.json");
        fs::write(&file, json!({ "regions": regions }).to_string())?;
        self.admin(&["relays", "put", file.to_str().context("UTF-8")?])?;
        if spread == Spread::OneRegion {
            self.wait_for_links(count);
        }
        Ok(())
    }

    /// A relay at an address, and its certificate's fingerprint.
    fn relay(
        &self,
        number: usize,
        address: &str,
        spread: Spread,
        hears: bool,
    ) -> Result<(Process, String)> {
        let keys = self.admin_json(&["relays", "control-keys"])?;
        let key = keys.pointer("/keys/0/text").and_then(Value::as_str);
        let key = key.with_context(|| format!("no control key in {keys}"))?;
        let listen = format!("{address}:443");
        let mut command = self.host.command(relay_program(&self.programs)?);
        command.args(["--quic", &listen, "--tls", &listen, "--admin", &admin_of(number)?]);
        command.args(["--lanes", &format!("{address}:3478"), "--xdp", "off"]);
        command.args(["--control-keys", key, "--self-signed", "relay.test"]);
        if self.second && number == 0 {
            command.args(["--stun-other", &format!("{SECOND}:3479")]);
        }
        if hears {
            command.args(["--control", &self.url(), "--control-ca", &self.ca()]);
            command.arg("--control-token").arg(self.relay_token()?);
        }
        self.clock.show(&mut command);
        if spread == Spread::OneRegion {
            command.args(["--mesh", &format!("{address}:{MESH_PORT}")]);
            command.arg("--region").arg(self.directory.file("region.toml"));
            command.arg("--relay-key").arg(self.relay_key(number));
            command.args(["--drain-time", "2000"]);
        }
        command.env("NO_COLOR", "1");
        let process = self.host.spawn_command(command)?;
        let line = process.wait_for_line("certificate_sha256", PATIENCE)?;
        let (_, digest) = line.split_once("certificate_sha256=").context("a fingerprint")?;
        let fingerprint: String =
            digest.trim_matches('"').chars().take_while(char::is_ascii_hexdigit).collect();
        ensure!(fingerprint.len() == 64, "no fingerprint in {line:?}");
        Ok((process, fingerprint))
    }

    /// Keys of so many relays, and the file by which they know each other.
    fn write_region(&self, count: usize) -> Result<()> {
        let mut text = "name = \"hub\"\n".to_owned();
        for (number, address) in RELAYS.into_iter().take(count).enumerate() {
            let file = self.relay_key(number);
            if file.exists() {
                fs::remove_file(&file)?;
            }
            let output =
                Command::new(relay_program(&self.programs)?).arg("key").arg(&file).output();
            let output = output.context("making a relay's key")?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let key = String::from_utf8(output.stdout)?;
            let (id, key) = (number + 1, key.trim());
            writeln!(
                text,
                "[[relay]]\nid = {id}\nkey = \"{key}\"\nmesh = \"{address}:{MESH_PORT}\""
            )?;
        }
        fs::write(self.directory.file("region.toml"), text).context("writing the region's file")
    }

    fn wait_for_links(&self, count: usize) {
        for number in 0..count {
            wait_until(PATIENCE, "links between relays", || {
                let status = self.relay_status(number).unwrap_or_default();
                let links = status.pointer("/mesh/links").and_then(Value::as_array);
                links.is_some_and(|links| {
                    links.len() == count - 1 && links.iter().all(|link| link["up"] == true)
                })
            });
        }
    }

    fn relay_key(&self, number: usize) -> PathBuf {
        self.directory.file(&format!("relay{number}.key"))
    }

    /// A file with a token by which relays hear of revoked nodes.
    fn relay_token(&self) -> Result<PathBuf> {
        let file = self.directory.file("relay.token");
        if !file.exists() {
            let made = self.admin_json(&["tokens", "create", "--scope", "relays:follow"])?;
            fs::write(&file, made["secret"].as_str().context("no secret")?)?;
        }
        Ok(file)
    }

    /// What one of several relays says of itself.
    fn relay_status(&self, number: usize) -> Result<Value> {
        let page = format!("http://{}/status", admin_of(number)?);
        Ok(serde_json::from_str(&self.host.run(["curl", "-sSf", &page])?.stdout)?)
    }

    /// What Prometheus is told by the first relay.
    ///
    /// # Errors
    /// When it does not say.
    pub fn relay_metrics(&self) -> Result<String> {
        Ok(self.host.run(["curl", "-sSf", &format!("http://{RELAY_ADMIN}/metrics")])?.stdout)
    }
}

fn relay_program(programs: &Programs) -> Result<PathBuf> {
    programs.get("nearwire-relay", "relay")
}

/// Where a relay has its page for operators.
fn admin_of(number: usize) -> Result<String> {
    let (host, first) = RELAY_ADMIN.split_once(':').context("a port")?;
    Ok(format!("{host}:{}", first.parse::<usize>()? + number))
}
