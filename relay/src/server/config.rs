//! What an operator says, in a file, in the environment or as flags; and what it comes to.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::{ControlKeyId, VerifyingKey};

use super::tls::IdentitySource;
use super::xdp::XdpChoice;
use crate::core::{ControlKeys, Settings};

/// Every key of the configuration. A flag counts before the environment, that before the file.
#[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// UDP address on which QUIC is taken (default: `[::]:443`)
    #[arg(long, env = "NEARWIRE_RELAY_QUIC", value_name = "ADDRESS")]
    pub quic: Option<SocketAddr>,
    /// TCP address on which TLS is taken (default: `[::]:443`)
    #[arg(long, env = "NEARWIRE_RELAY_TLS", value_name = "ADDRESS")]
    pub tls: Option<SocketAddr>,
    /// UDP address of lanes; without it there are none, and packets go by QUIC and TLS
    #[arg(long, env = "NEARWIRE_RELAY_LANES", value_name = "ADDRESS")]
    pub lanes: Option<SocketAddr>,
    /// Addresses at which clients reach the lanes; needed if `lanes` names no address of its own
    #[arg(
        long,
        env = "NEARWIRE_RELAY_LANE_ADDRESSES",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub lane_addresses: Option<Vec<SocketAddr>>,
    /// Where the kernel switches lanes: `auto` (on the interfaces by which clients come), `off`, or
    /// names of interfaces (default: auto)
    #[arg(long, env = "NEARWIRE_RELAY_XDP", value_name = "WHERE")]
    pub xdp: Option<XdpChoice>,
    /// TCP address of /metrics, /healthz and /status; keep it from the world
    #[arg(long, env = "NEARWIRE_RELAY_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// File with the certificate and its chain (PEM); read again when it changes
    #[arg(long, env = "NEARWIRE_RELAY_CERTIFICATE", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// File with the certificate's private key (PEM); read again when it changes
    #[arg(long, env = "NEARWIRE_RELAY_PRIVATE_KEY", value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// Make a certificate for these names and print its fingerprint: for development only
    #[arg(long, env = "NEARWIRE_RELAY_SELF_SIGNED", value_name = "NAME", value_delimiter = ',')]
    pub self_signed: Option<Vec<String>>,
    /// Control keys whose tickets are good, as ID:BASE64; several while they are changed
    #[arg(long, env = "NEARWIRE_RELAY_CONTROL_KEYS", value_name = "ID:KEY", value_delimiter = ',')]
    pub control_keys: Option<Vec<ControlKeyText>>,
    /// Clients at one time (default: 20000)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENTS", value_name = "NUMBER")]
    pub clients: Option<usize>,
    /// Clients of one network at one time (default: 10000)
    #[arg(long, env = "NEARWIRE_RELAY_NETWORK_CLIENTS", value_name = "NUMBER")]
    pub network_clients: Option<usize>,
    /// Bytes a second that one client may send (default: 125000000)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENT_RATE", value_name = "BYTES")]
    pub client_rate: Option<NonZeroU64>,
    /// Bytes a second that one network may send (default: no limit)
    #[arg(long, env = "NEARWIRE_RELAY_NETWORK_RATE", value_name = "BYTES")]
    pub network_rate: Option<NonZeroU64>,
    /// Lanes at one time (default: 100000)
    #[arg(long, env = "NEARWIRE_RELAY_LANE_LIMIT", value_name = "NUMBER")]
    pub lane_limit: Option<usize>,
    /// Lanes of one client (default: 1024)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENT_LANES", value_name = "NUMBER")]
    pub client_lanes: Option<u32>,
    /// Seconds without a keepalive after which an end of a lane is not bound any more (default: 30)
    #[arg(long, env = "NEARWIRE_RELAY_LANE_LIFETIME", value_name = "SECONDS")]
    pub lane_lifetime: Option<u16>,
    /// Milliseconds that a packet may wait for its receiver (default: 200)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_AGE", value_name = "MILLISECONDS")]
    pub queue_age: Option<u32>,
    /// Bytes that may wait for one receiver (default: 524288)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_BYTES", value_name = "BYTES")]
    pub queue_bytes: Option<usize>,
    /// Bytes that may wait for all receivers together (default: 268435456)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_TOTAL", value_name = "BYTES")]
    pub queue_total: Option<usize>,
    /// Seconds that a client may be silent (default: 45)
    #[arg(long, env = "NEARWIRE_RELAY_IDLE", value_name = "SECONDS")]
    pub idle: Option<u16>,
    /// Seconds within which a connection must be admitted (default: 10)
    #[arg(long, env = "NEARWIRE_RELAY_ADMISSION_TIME", value_name = "SECONDS")]
    pub admission_time: Option<u16>,
    /// Connections that may be in admission at one time (default: 2048)
    #[arg(long, env = "NEARWIRE_RELAY_ADMISSIONS", value_name = "NUMBER")]
    pub admissions: Option<usize>,
    /// Of them, those from one IPv4 address or IPv6 /64 (default: 64)
    #[arg(long, env = "NEARWIRE_RELAY_SOURCE_ADMISSIONS", value_name = "NUMBER")]
    pub source_admissions: Option<usize>,
    /// Milliseconds from SIGTERM to the end (default: 5000)
    #[arg(long, env = "NEARWIRE_RELAY_DRAIN_TIME", value_name = "MILLISECONDS")]
    pub drain_time: Option<u32>,
}

/// A control key as text: `ID:BASE64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct ControlKeyText {
    id: ControlKeyId,
    key: VerifyingKey,
}

/// A configuration that is whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where QUIC is taken.
    pub quic: SocketAddr,
    /// Where TLS is taken.
    pub tls: SocketAddr,
    /// Where lanes are taken.
    pub lanes: Option<SocketAddr>,
    /// Where the kernel switches them.
    pub xdp: XdpChoice,
    /// Where operators ask.
    pub admin: Option<SocketAddr>,
    /// Where the certificate comes from.
    pub identity: IdentitySource,
    /// Whose tickets are good.
    pub control_keys: ControlKeys,
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

impl FromStr for ControlKeyText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a control key is ID:KEY, a number and 44 characters of base64".to_owned();
        let (id, key) = text.split_once(':').ok_or_else(wrong)?;
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| wrong())?;
        let key = VerifyingKey(bytes.try_into().map_err(|_| wrong())?);
        Ok(Self { id: ControlKeyId(id.parse().map_err(|_| wrong())?), key })
    }
}

impl TryFrom<String> for ControlKeyText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Options {
    /// Reads a file; an error names the line.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading the configuration {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("in the configuration {}", file.display()))
    }

    /// What is said here, and where nothing is, what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        macro_rules! first {
            ($($key:ident),* $(,)?) => {
                Self { $($key: self.$key.or(other.$key)),* }
            };
        }
        first!(
            quic,
            tls,
            lanes,
            lane_addresses,
            xdp,
            admin,
            certificate,
            private_key,
            self_signed,
            control_keys,
            clients,
            network_clients,
            client_rate,
            network_rate,
            lane_limit,
            client_lanes,
            lane_lifetime,
            queue_age,
            queue_bytes,
            queue_total,
            idle,
            admission_time,
            admissions,
            source_admissions,
            drain_time,
        )
    }

    /// The whole configuration, or what is wrong with it.
    pub fn check(self) -> Result<Config> {
        let identity = self.identity()?;
        let settings = self.settings()?;
        let any: SocketAddr = (std::net::Ipv6Addr::UNSPECIFIED, 443).into();
        let control_keys = self.control_keys.unwrap_or_default();
        ensure!(
            !control_keys.is_empty(),
            "`control-keys` names no key: without one nobody can be admitted; put the control \
             plane's key there, as ID:KEY"
        );
        Ok(Config {
            quic: self.quic.unwrap_or(any),
            tls: self.tls.unwrap_or(any),
            lanes: self.lanes,
            xdp: self.xdp.unwrap_or_default(),
            admin: self.admin,
            identity,
            control_keys: control_keys.into_iter().map(|text| (text.id, text.key)).collect(),
            settings,
            admission_time: Duration::from_secs(self.admission_time.unwrap_or(10).into()),
            admissions: self.admissions.unwrap_or(2048),
            source_admissions: self.source_admissions.unwrap_or(64),
            drain_time: Duration::from_millis(self.drain_time.unwrap_or(5000).into()),
        })
    }

    fn identity(&self) -> Result<IdentitySource> {
        match (&self.certificate, &self.private_key, &self.self_signed) {
            (Some(certificate), Some(key), None) => {
                Ok(IdentitySource::Files { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None, Some(names)) if !names.is_empty() => {
                Ok(IdentitySource::SelfSigned(names.clone()))
            }
            (None, None, _) => bail!(
                "there is no certificate: set `certificate` and `private-key`, or `self-signed` \
                 for development"
            ),
            (Some(_), None, _) => bail!("`certificate` is set but `private-key` is not"),
            (None, Some(_), _) => bail!("`private-key` is set but `certificate` is not"),
            (Some(_), Some(_), Some(_)) => {
                bail!("`certificate` and `self-signed` exclude each other: remove one")
            }
        }
    }

    fn settings(&self) -> Result<Settings> {
        let default = Settings::default();
        let seconds = |seconds: Option<u16>, otherwise| {
            seconds.map_or(otherwise, |seconds| Duration::from_secs(seconds.into()))
        };
        let lane_addresses = self.lane_addresses.clone().unwrap_or_default();
        if let Some(lanes) = self.lanes {
            ensure!(
                !lanes.ip().is_unspecified() || !lane_addresses.is_empty(),
                "`lanes` is {lanes}, which no client can send to: name the public addresses in \
                 `lane-addresses`"
            );
        }
        ensure!(
            lane_addresses.len() <= proto::relay::MAX_LANE_ADDRESSES,
            "`lane-addresses` has more than {} addresses",
            proto::relay::MAX_LANE_ADDRESSES
        );
        ensure!(
            self.lanes.is_some() || lane_addresses.is_empty(),
            "`lane-addresses` is set but `lanes` is not: say where lanes are taken"
        );
        let settings = Settings {
            clients: self.clients.unwrap_or(default.clients),
            network_clients: self.network_clients.unwrap_or(default.network_clients),
            client_rate: self.client_rate.unwrap_or(default.client_rate),
            network_rate: self.network_rate.or(default.network_rate),
            lanes: self.lane_limit.unwrap_or(default.lanes),
            client_lanes: self.client_lanes.unwrap_or(default.client_lanes),
            lane_addresses,
            lane_lifetime: seconds(self.lane_lifetime, default.lane_lifetime),
            queue_age: self
                .queue_age
                .map_or(default.queue_age, |age| Duration::from_millis(age.into())),
            queue_bytes: self.queue_bytes.unwrap_or(default.queue_bytes),
            queue_total: self.queue_total.unwrap_or(default.queue_total),
            idle: seconds(self.idle, default.idle),
        };
        ensure!(settings.lane_lifetime >= Duration::from_secs(5), "`lane-lifetime` is below 5");
        let most = dataplane_common::MAX_LANES as usize / 2;
        ensure!(
            settings.lanes <= most,
            "`lane-limit` is above {most}, for which there are numbers"
        );
        ensure!(settings.idle >= Duration::from_secs(10), "`idle` is below 10");
        ensure!(
            settings.queue_bytes >= proto::relay::MAX_PAYLOAD,
            "`queue-bytes` is below {}, the longest batch",
            proto::relay::MAX_PAYLOAD
        );
        Ok(settings)
    }
}
