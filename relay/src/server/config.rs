//! What an operator says, in a file, in the environment or as flags; and what it comes to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::{ControlKeyId, VerifyingKey};

use super::xdp::XdpChoice;

mod check;
mod lines;
mod number;
mod ports;
mod stun;

pub use check::Config;
pub use lines::Lines;

/// What an operator is told whose `admin` is no loopback address.
pub(super) const OPEN_ADMIN: &str =
    "whoever reaches `admin` sees the status and may end the relay: keep it from the world";
/// Where QUIC and TLS are taken if nothing is said.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);

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
    /// Second addresses for STUN, one of each family: other in both address and port than the lanes',
    /// so that askers learn what their NAT does (RFC 5780)
    #[arg(long, env = "NEARWIRE_RELAY_STUN_OTHER", value_name = "ADDRESS", value_delimiter = ',')]
    pub stun_other: Option<Vec<SocketAddr>>,
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
    /// Names to get a certificate for by ACME (TLS-ALPN-01 on `tls`, which must be port 443 to the
    /// world); to set this agrees to the terms of the certificate authority
    #[arg(long, env = "NEARWIRE_RELAY_ACME_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub acme_names: Option<Vec<String>>,
    /// Directory in which ACME's account key and certificates are kept, readable for us only
    #[arg(long, env = "NEARWIRE_RELAY_ACME_STATE", value_name = "DIRECTORY")]
    pub acme_state: Option<PathBuf>,
    /// Mail address that the certificate authority is told
    #[arg(long, env = "NEARWIRE_RELAY_ACME_CONTACT", value_name = "ADDRESS")]
    pub acme_contact: Option<String>,
    /// Directory URL of the certificate authority (default: Let's Encrypt's)
    #[arg(long, env = "NEARWIRE_RELAY_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<String>,
    /// File with the one certificate (PEM) by which the directory is trusted (default: the system's)
    #[arg(long, env = "NEARWIRE_RELAY_ACME_ROOT", value_name = "FILE")]
    pub acme_root: Option<PathBuf>,
    /// Key identifier of an external account, where the authority wants one
    #[arg(long, env = "NEARWIRE_RELAY_ACME_EAB_ID", value_name = "ID")]
    pub acme_eab_id: Option<String>,
    /// File with the external account's MAC key, in base64url
    #[arg(long, env = "NEARWIRE_RELAY_ACME_EAB_KEY", value_name = "FILE")]
    pub acme_eab_key: Option<PathBuf>,
    /// Control keys whose tickets are good, as ID:BASE64; several while they are changed
    #[arg(long, env = "NEARWIRE_RELAY_CONTROL_KEYS", value_name = "ID:KEY", value_delimiter = ',')]
    pub control_keys: Option<Vec<ControlKeyText>>,
    /// Address of the control plane, to hear of nodes that were revoked before their tickets end: needs
    /// `control-token`
    #[arg(long, env = "NEARWIRE_RELAY_CONTROL", value_name = "URL")]
    pub control: Option<String>,
    /// File with an API token of the scope relays:follow
    #[arg(long, env = "NEARWIRE_RELAY_CONTROL_TOKEN", value_name = "FILE")]
    pub control_token: Option<PathBuf>,
    /// File with the certificates (PEM) by which the control plane is trusted (default: the system's)
    #[arg(long, env = "NEARWIRE_RELAY_CONTROL_CA", value_name = "FILE")]
    pub control_ca: Option<PathBuf>,
    /// UDP address on which other relays of the region are taken; needs `region` and `relay-key`
    #[arg(long, env = "NEARWIRE_RELAY_MESH", value_name = "ADDRESS")]
    pub mesh: Option<SocketAddr>,
    /// File that names the relays of the region (TOML); read again when it changes and on SIGHUP
    #[arg(long, env = "NEARWIRE_RELAY_REGION", value_name = "FILE")]
    pub region: Option<PathBuf>,
    /// File with this relay's secret key; `nearwire-relay key FILE` makes one
    #[arg(long, env = "NEARWIRE_RELAY_RELAY_KEY", value_name = "FILE")]
    pub relay_key: Option<PathBuf>,
    /// Clients at one time (default: 20000)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENTS", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub clients: Option<usize>,
    /// Clients of one network at one time (default: 10000)
    #[arg(long, env = "NEARWIRE_RELAY_NETWORK_CLIENTS", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub network_clients: Option<usize>,
    /// Bytes a second that one client may send (default: 125000000)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENT_RATE", value_name = "BYTES")]
    #[serde(deserialize_with = "number::whole")]
    pub client_rate: Option<NonZeroU64>,
    /// Bytes a second that one network may send (default: no limit)
    #[arg(long, env = "NEARWIRE_RELAY_NETWORK_RATE", value_name = "BYTES")]
    #[serde(deserialize_with = "number::whole")]
    pub network_rate: Option<NonZeroU64>,
    /// Lanes at one time, each with its two ends (default: 100000)
    #[arg(long, env = "NEARWIRE_RELAY_LANE_LIMIT", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub lane_limit: Option<usize>,
    /// Lanes of one client (default: 1024)
    #[arg(long, env = "NEARWIRE_RELAY_CLIENT_LANES", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub client_lanes: Option<u32>,
    /// Seconds without a keepalive after which an end of a lane is not bound any more (default: 30)
    #[arg(long, env = "NEARWIRE_RELAY_LANE_LIFETIME", value_name = "SECONDS")]
    #[serde(deserialize_with = "number::whole")]
    pub lane_lifetime: Option<u16>,
    /// Milliseconds that a packet may wait for its receiver (default: 200)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_AGE", value_name = "MILLISECONDS")]
    #[serde(deserialize_with = "number::whole")]
    pub queue_age: Option<u32>,
    /// Bytes that may wait for one receiver (default: 524288)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_BYTES", value_name = "BYTES")]
    #[serde(deserialize_with = "number::whole")]
    pub queue_bytes: Option<usize>,
    /// Bytes that may wait for all receivers together (default: 268435456)
    #[arg(long, env = "NEARWIRE_RELAY_QUEUE_TOTAL", value_name = "BYTES")]
    #[serde(deserialize_with = "number::whole")]
    pub queue_total: Option<usize>,
    /// Seconds that a client may be silent (default: 45)
    #[arg(long, env = "NEARWIRE_RELAY_IDLE", value_name = "SECONDS")]
    #[serde(deserialize_with = "number::whole")]
    pub idle: Option<u16>,
    /// Seconds within which a connection must be admitted (default: 10)
    #[arg(long, env = "NEARWIRE_RELAY_ADMISSION_TIME", value_name = "SECONDS")]
    #[serde(deserialize_with = "number::whole")]
    pub admission_time: Option<u16>,
    /// Connections that may be in admission at one time (default: 2048)
    #[arg(long, env = "NEARWIRE_RELAY_ADMISSIONS", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub admissions: Option<usize>,
    /// Of them, those from one IPv4 address or IPv6 /64 (default: 64)
    #[arg(long, env = "NEARWIRE_RELAY_SOURCE_ADMISSIONS", value_name = "NUMBER")]
    #[serde(deserialize_with = "number::whole")]
    pub source_admissions: Option<usize>,
    /// Milliseconds from SIGTERM to the end, if clients stay so long (default: 5000)
    #[arg(long, env = "NEARWIRE_RELAY_DRAIN_TIME", value_name = "MILLISECONDS")]
    #[serde(deserialize_with = "number::whole")]
    pub drain_time: Option<u32>,
    /// Where the keys of the file are, so that an error can say it.
    #[arg(skip)]
    #[serde(skip)]
    pub lines: Lines,
}

/// A control key as text: `ID:BASE64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct ControlKeyText {
    id: ControlKeyId,
    key: VerifyingKey,
}

impl FromStr for ControlKeyText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a control key is ID:KEY, a number and 44 characters of base64".to_owned();
        let (id, key) = text.split_once(':').ok_or_else(wrong)?;
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| wrong())?;
        let key = VerifyingKey(bytes.try_into().map_err(|_| wrong())?);
        if !key.is_sound() {
            return Err(format!(
                "{text} is no public key of Ed25519: copy what `nearwire-control admin relays \
                 control-keys` prints"
            ));
        }
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
        Self::parse(file, &text)
    }

    /// The same, of what is in the file.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let options: Self = toml::from_str(text)
            .with_context(|| format!("in the configuration {}", file.display()))?;
        Ok(Self { lines: Lines::of(file, text), ..options })
    }

    /// What is said here, and where nothing is, what `other` says.
    #[must_use]
    pub fn or(self, mut other: Self) -> Self {
        macro_rules! first {
            ($($key:ident),* $(,)?) => {{
                $(if self.$key.is_some() {
                    other.lines.forget(stringify!($key));
                })*
                Self { $($key: self.$key.or(other.$key),)* lines: other.lines }
            }};
        }
        first!(
            quic,
            tls,
            lanes,
            lane_addresses,
            stun_other,
            xdp,
            admin,
            certificate,
            private_key,
            self_signed,
            acme_names,
            acme_state,
            acme_contact,
            acme_directory,
            acme_root,
            acme_eab_id,
            acme_eab_key,
            control_keys,
            control,
            control_token,
            control_ca,
            mesh,
            region,
            relay_key,
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
}
