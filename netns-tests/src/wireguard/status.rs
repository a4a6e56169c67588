//! What `wg show INTERFACE dump` says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::program::nearwire_program;
use super::tunnel::Tunnel;

/// An interface and its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// In base64; none if there is none.
    pub private_key: Option<String>,
    /// In base64; none if there is no private key.
    pub public_key: Option<String>,
    /// The UDP port.
    pub listen_port: u16,
    /// The mark; 0 is none.
    pub fwmark: u32,
    /// In the order in which they were reported.
    pub peers: Vec<PeerStatus>,
}

/// A peer of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// In base64.
    pub public_key: String,
    /// In base64; none if there is none.
    pub preshared_key: Option<String>,
    /// Where it is, if known.
    pub endpoint: Option<SocketAddr>,
    /// Networks, sorted.
    pub allowed_ips: Vec<String>,
    /// Seconds since the Unix epoch; 0 is never.
    pub latest_handshake: u64,
    /// Bytes received.
    pub rx: u64,
    /// Bytes sent.
    pub tx: u64,
    /// Seconds; 0 is never.
    pub keepalive: u16,
}

impl DeviceStatus {
    /// The peer of this public key.
    ///
    /// # Errors
    /// When there is none.
    pub fn peer(&self, public_key: &str) -> Result<&PeerStatus> {
        self.peers
            .iter()
            .find(|peer| peer.public_key == public_key)
            .with_context(|| format!("no peer {public_key} among {:?}", self.peers))
    }
}

impl FromStr for DeviceStatus {
    type Err = anyhow::Error;

    fn from_str(dump: &str) -> Result<Self> {
        let mut lines = dump.lines();
        let first = lines.next().context("an empty dump")?;
        let fields: Vec<&str> = first.split('\t').collect();
        let [private, public, port, mark] = fields[..] else {
            anyhow::bail!("not four fields: {first:?}");
        };
        Ok(Self {
            private_key: present(private),
            public_key: present(public),
            listen_port: port.parse().with_context(|| first.to_owned())?,
            fwmark: number_or_off(mark).with_context(|| first.to_owned())?,
            peers: lines
                .map(|line| line.parse().with_context(|| line.to_owned()))
                .collect::<Result<_>>()?,
        })
    }
}

impl FromStr for PeerStatus {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        ensure!(fields.len() == 8, "not eight fields");
        let networks = present(fields[3]).unwrap_or_default();
        let mut allowed_ips: Vec<String> =
            networks.split(',').filter(|text| !text.is_empty()).map(str::to_owned).collect();
        allowed_ips.sort();
        Ok(Self {
            public_key: fields[0].to_owned(),
            preshared_key: present(fields[1]),
            endpoint: present(fields[2]).map(|text| text.parse()).transpose()?,
            allowed_ips,
            latest_handshake: fields[4].parse()?,
            rx: fields[5].parse()?,
            tx: fields[6].parse()?,
            keepalive: u16::try_from(number_or_off(fields[7])?)?,
        })
    }
}

fn present(field: &str) -> Option<String> {
    (field != "(none)").then(|| field.to_owned())
}

fn number_or_off(field: &str) -> Result<u32> {
    Ok(match (field, field.strip_prefix("0x")) {
        ("off", _) => 0,
        (_, Some(digits)) => u32::from_str_radix(digits, 16)?,
        (_, None) => field.parse()?,
    })
}

impl Tunnel<'_> {
    /// How many packets nearwire dropped for a reason (its label), by `nearwire drops`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        let program = nearwire_program()?;
        let program = program.to_str().context("the path of nearwire is not UTF-8")?;
        let output = self.host().run([program, "drops", self.name(), "--json"])?;
        let counts: BTreeMap<String, u64> = serde_json::from_str(&output.stdout)?;
        Ok(counts.get(reason).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read_whole() {
        let dump = "priv\tpub\t51820\t0x2a\n\
            one\t(none)\t[fd00::1]:7\t10.0.0.2/32,10.0.0.1/32\t12\t34\t56\toff\n\
            two\tpsk\t(none)\t(none)\t0\t0\t0\t25\n";
        let device: DeviceStatus = dump.parse().unwrap();
        assert_eq!((device.listen_port, device.fwmark), (51820, 42));
        assert_eq!(device.peer("one").unwrap().allowed_ips, ["10.0.0.1/32", "10.0.0.2/32"]);
        assert_eq!(device.peer("one").unwrap().endpoint, "[fd00::1]:7".parse().ok());
        assert_eq!(device.peer("two").unwrap().keepalive, 25);
        assert!(device.peer("three").is_err());
    }
}
