//! What a configuration comes to, once every value has been looked at.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use certificates::Files;
use certificates::acme::Said;
use control_client::check_address;
use rustls::pki_types::ServerName;

use super::{ANY, Options};
use crate::core::{ControlKeys, LEAST_QUEUE, Settings};
use crate::server::control::ControlConfig;
use crate::server::mesh::MeshConfig;
use crate::server::tls::IdentitySource;
use crate::server::xdp::XdpChoice;

/// A configuration that is whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where QUIC is taken, if it is.
    pub quic: Option<SocketAddr>,
    /// Where TLS is taken.
    pub tls: SocketAddr,
    /// Where lanes are taken.
    pub lanes: Option<SocketAddr>,
    /// Where the kernel switches them.
    pub xdp: XdpChoice,
    /// Where operators ask.
    pub admin: Option<SocketAddr>,
    /// What it needs to be of a region.
    pub mesh: Option<MeshConfig>,
    /// Where the certificate comes from.
    pub identity: IdentitySource,
    /// Whose tickets are good.
    pub control_keys: ControlKeys,
    /// Where the relay hears of revoked nodes.
    pub control: Option<ControlConfig>,
    /// What is allowed.
    pub settings: Settings,
    /// How long an admission may take.
    pub admission_time: Duration,
    /// How many may be under way.
    pub admissions: usize,
    /// How many of them from one source.
    pub source_admissions: usize,
    /// How long the relay waits for its clients when it ends.
    pub drain_time: Duration,
}

impl Options {
    /// The whole configuration, or what is wrong with it: the key, its line, and the mend.
    pub fn check(self) -> Result<Config> {
        let identity = self.identity()?;
        let settings = self.settings()?;
        let mesh = self.mesh()?;
        let control = self.control()?;
        let control_keys = self.control_keys.clone().unwrap_or_default();
        ensure!(
            !control_keys.is_empty(),
            "{} names no key: without one nobody can be admitted; put the control plane's key \
             there, as ID:KEY",
            self.lines.name("control-keys")
        );
        let mut ids = HashSet::new();
        if let Some(twice) = control_keys.iter().find(|text| !ids.insert(text.id)) {
            bail!(
                "{} has two keys with the id {}: only one of them can be the control plane's",
                self.lines.name("control-keys"),
                twice.id.0
            );
        }
        self.ports(&settings.stun)?;
        Ok(Config {
            quic: Some(self.quic.unwrap_or(ANY)),
            tls: self.tls.unwrap_or(ANY),
            lanes: self.lanes,
            xdp: self.xdp.clone().unwrap_or_default(),
            admin: self.admin,
            mesh,
            identity,
            control_keys: control_keys.iter().map(|text| (text.id, text.key)).collect(),
            control,
            settings,
            admission_time: Duration::from_secs(
                self.at_least("admission-time", self.admission_time.unwrap_or(10), 1)?.into(),
            ),
            admissions: self.at_least("admissions", self.admissions.unwrap_or(2048), 1)?,
            source_admissions: self.at_least(
                "source-admissions",
                self.source_admissions.unwrap_or(64),
                1,
            )?,
            drain_time: Duration::from_millis(self.drain_time.unwrap_or(5000).into()),
        })
    }

    /// The value, if it is not below what makes sense.
    fn at_least<T: PartialOrd + std::fmt::Display>(
        &self,
        key: &'static str,
        value: T,
        least: T,
    ) -> Result<T> {
        ensure!(
            value >= least,
            "{} is {value}, below {least}: say at least {least}",
            self.lines.name(key)
        );
        Ok(value)
    }

    fn identity(&self) -> Result<IdentitySource> {
        let name = |key| self.lines.name(key);
        let files = self.certificate.is_some() || self.private_key.is_some();
        let ways = [
            ("certificate", files),
            ("self-signed", self.self_signed.is_some()),
            ("acme-names", self.acme_names.is_some()),
        ];
        let mut said = ways.into_iter().filter_map(|(key, is)| is.then_some(key));
        let first = said.next();
        if let (Some(first), Some(second)) = (first, said.next()) {
            bail!("`{first}` and {} exclude each other: remove one", name(second));
        }
        let acme = self.acme()?;
        match (&self.certificate, &self.private_key) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (certificate.clone(), key.clone());
                return Ok(IdentitySource::Files(Files { certificate, key }));
            }
            (Some(_), None) => bail!(
                "{} is set but `private-key` is not: name the file with its key",
                name("certificate")
            ),
            (None, Some(_)) => bail!(
                "{} is set but `certificate` is not: name the file with its certificate",
                name("private-key")
            ),
            (None, None) => {}
        }
        if let Some(names) = &self.self_signed {
            ensure!(!names.is_empty(), "{} has no name: say one", name("self-signed"));
            for wanted in names {
                ensure!(
                    ServerName::try_from(wanted.as_str()).is_ok(),
                    "{} has {wanted:?}: say a host name or an address",
                    name("self-signed")
                );
            }
            return Ok(IdentitySource::SelfSigned(names.clone()));
        }
        acme.ok_or_else(|| {
            anyhow!(
                "there is no certificate: set `certificate` and `private-key`, or `acme-names`, or \
                 `self-signed` for development"
            )
        })
    }

    fn acme(&self) -> Result<Option<IdentitySource>> {
        let name = |key| self.lines.name(key).to_string();
        let said = Said {
            names: self.acme_names.clone(),
            contact: self.acme_contact.clone(),
            directory: self.acme_directory.clone(),
            root: self.acme_root.clone(),
            eab_id: self.acme_eab_id.clone(),
            eab_key: self.acme_eab_key.clone(),
        };
        let Some(acme) = said.check("tls", &name)? else {
            ensure!(
                self.acme_state.is_none(),
                "{} is set but `acme-names` is not: say for which names",
                name("acme-state")
            );
            return Ok(None);
        };
        let Some(state) = self.acme_state.clone().filter(|state| state.is_absolute()) else {
            bail!(
                "{} must name a directory, from the root on: the account key and the certificates \
                 are kept there",
                name("acme-state")
            );
        };
        Ok(Some(IdentitySource::Acme { acme, state }))
    }

    /// The three keys of a region, which belong together.
    fn mesh(&self) -> Result<Option<MeshConfig>> {
        if let (Some(listen), Some(region), Some(key)) = (self.mesh, &self.region, &self.relay_key)
        {
            return Ok(Some(MeshConfig { listen, region: region.clone(), key: key.clone() }));
        }
        let keys = [
            ("mesh", self.mesh.is_some()),
            ("region", self.region.is_some()),
            ("relay-key", self.relay_key.is_some()),
        ];
        let set = keys.into_iter().find_map(|(key, set)| set.then_some(key));
        let missing = keys.into_iter().find_map(|(key, set)| (!set).then_some(key));
        if let (Some(set), Some(missing)) = (set, missing) {
            bail!(
                "{} is set but `{missing}` is not: a relay of a region needs `mesh`, `region` and \
                 `relay-key` together",
                self.lines.name(set)
            );
        }
        Ok(None)
    }

    /// The line to the control plane.
    fn control(&self) -> Result<Option<ControlConfig>> {
        let name = |key| self.lines.name(key);
        match (&self.control, &self.control_token) {
            (Some(url), Some(token)) => {
                check_address(url).map_err(|error| anyhow!("{}: {error}", name("control")))?;
                let (url, ca) = (url.clone(), self.control_ca.clone());
                Ok(Some(ControlConfig { url, token: token.clone(), ca }))
            }
            (Some(_), None) => bail!(
                "{} is set but `control-token` is not: name a file with a token of the scope \
                 relays:follow",
                name("control")
            ),
            (None, token) => {
                let key = if token.is_some() { "control-token" } else { "control-ca" };
                ensure!(
                    token.is_none() && self.control_ca.is_none(),
                    "{} is set but `control` is not: say where the control plane is",
                    name(key)
                );
                Ok(None)
            }
        }
    }

    fn settings(&self) -> Result<Settings> {
        let default = Settings::default();
        let seconds = |seconds: Option<u16>, otherwise| {
            seconds.map_or(otherwise, |seconds| Duration::from_secs(seconds.into()))
        };
        let queue_bytes = self.at_least(
            "queue-bytes",
            self.queue_bytes.unwrap_or(default.queue_bytes),
            LEAST_QUEUE,
        )?;
        let lanes = self.at_least("lane-limit", self.lane_limit.unwrap_or(default.lanes), 1)?;
        ensure!(
            lanes <= MOST_LANES,
            "{} is {lanes}: there are numbers for {MOST_LANES}",
            self.lines.name("lane-limit")
        );
        let age = self.queue_age.map_or(default.queue_age, |age| Duration::from_millis(age.into()));
        self.at_least("queue-age", age.as_millis(), 1)?;
        self.at_least("lane-lifetime", self.lane_lifetime.unwrap_or(30), 5)?;
        self.at_least("idle", self.idle.unwrap_or(45), 10)?;
        let lane_addresses = self.lane_addresses()?;
        let stun = self.stun(&lane_addresses)?;
        Ok(Settings {
            members: None,
            clients: self.at_least("clients", self.clients.unwrap_or(default.clients), 1)?,
            network_clients: self.at_least(
                "network-clients",
                self.network_clients.unwrap_or(default.network_clients),
                1,
            )?,
            client_rate: self.client_rate.unwrap_or(default.client_rate),
            network_rate: self.network_rate.or(default.network_rate),
            lanes,
            client_lanes: self.client_lanes.unwrap_or(default.client_lanes),
            lane_addresses,
            stun,
            lane_lifetime: seconds(self.lane_lifetime, default.lane_lifetime),
            queue_age: age,
            queue_bytes,
            queue_total: self.at_least(
                "queue-total",
                self.queue_total.unwrap_or(default.queue_total),
                queue_bytes,
            )?,
            idle: seconds(self.idle, default.idle),
        })
    }

    fn lane_addresses(&self) -> Result<Vec<SocketAddr>> {
        let name = |key| self.lines.name(key);
        let addresses = self.lane_addresses.clone().unwrap_or_default();
        if let Some(lanes) = self.lanes {
            ensure!(
                !lanes.ip().is_unspecified() || !addresses.is_empty(),
                "{} is {lanes}, which no client can send to: name the public addresses in \
                 `lane-addresses`",
                name("lanes")
            );
        }
        ensure!(
            addresses.len() <= proto::relay::MAX_LANE_ADDRESSES,
            "{} has more than {} addresses",
            name("lane-addresses"),
            proto::relay::MAX_LANE_ADDRESSES
        );
        ensure!(
            self.lanes.is_some() || addresses.is_empty(),
            "{} is set but `lanes` is not: say where lanes are taken",
            name("lane-addresses")
        );
        if let Some(nobody) = addresses.iter().find(|address| !is_one_hosts(address.ip())) {
            bail!("{} has {nobody}, which no client can send to", name("lane-addresses"));
        }
        if let Some(lanes) = self.lanes {
            ensure!(
                lanes.ip().is_unspecified() || is_one_hosts(lanes.ip()),
                "{} is {lanes}, which is no address of a host",
                name("lanes")
            );
            let is_ipv4 = |at: &SocketAddr| at.ip().to_canonical().is_ipv4();
            // Only a socket at [::] takes both families.
            let takes = |at: &SocketAddr| lanes.ip() == ANY.ip() || is_ipv4(at) == is_ipv4(&lanes);
            if let Some(other) = addresses.iter().find(|at| !takes(at)) {
                let family = if is_ipv4(other) { "IPv4" } else { "IPv6" };
                bail!(
                    "{} has {other}, and `lanes` at {lanes} takes no {family}: say \
                     `lanes = \"[::]:{}\"` for both families",
                    name("lane-addresses"),
                    lanes.port()
                );
            }
        }
        Ok(addresses)
    }
}

/// Whether one host has this address.
fn is_one_hosts(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Each end of a lane takes a number.
const MOST_LANES: usize = dataplane_common::MAX_LANE_ENDS as usize / 2;
