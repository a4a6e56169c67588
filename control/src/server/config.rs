//! What an operator says, in a file, in the environment or as flags; and what it comes to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use certificates::Files;
use certificates::acme::Said;
use zeroize::Zeroizing;

use super::http::Patience;
use super::tls::TlsSource;
use crate::core::seal::SealKey;
use crate::store::{Backend, Store, random};

/// Every key of the configuration. A flag counts before the environment, that before the file.
#[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// TCP address on which nodes and operators are served (default: `127.0.0.1:8080`, with a
    /// certificate `[::]:443`)
    #[arg(long, env = "NEARWIRE_CONTROL_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// TCP address of /metrics, /healthz and /readyz; keep it from the world
    #[arg(long, env = "NEARWIRE_CONTROL_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// Directory of the embedded database and its seal key (default: `/var/lib/nearwire-control`)
    #[arg(long, env = "NEARWIRE_CONTROL_DATA", value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
    /// `postgres://...`, for several instances side by side (default: SQLite in `data`)
    #[arg(long, env = "NEARWIRE_CONTROL_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// File with the key that seals secrets in the database: 32 bytes as base64 (default: `seal.key`
    /// in `data`; made there for a new embedded database)
    #[arg(long, env = "NEARWIRE_CONTROL_SEAL_KEY_FILE", value_name = "FILE")]
    pub seal_key_file: Option<PathBuf>,
    /// File with the certificate and its chain (PEM); read again when it changes
    #[arg(long, env = "NEARWIRE_CONTROL_CERTIFICATE", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// File with the certificate's private key (PEM); read again when it changes
    #[arg(long, env = "NEARWIRE_CONTROL_PRIVATE_KEY", value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// Names to get a certificate for by ACME (TLS-ALPN-01 on `listen`, which must be port 443 to the
    /// world); to set this agrees to the terms of the certificate authority
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub acme_names: Option<Vec<String>>,
    /// Mail address that the certificate authority is told
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_CONTACT", value_name = "ADDRESS")]
    pub acme_contact: Option<String>,
    /// Directory URL of the certificate authority (default: Let's Encrypt's)
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<String>,
    /// File with the one certificate (PEM) by which the directory is trusted (default: the system's)
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_ROOT", value_name = "FILE")]
    pub acme_root: Option<PathBuf>,
    /// Key identifier of an external account, where the authority wants one
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_EAB_ID", value_name = "ID")]
    pub acme_eab_id: Option<String>,
    /// File with the external account's MAC key, in base64url
    #[arg(long, env = "NEARWIRE_CONTROL_ACME_EAB_KEY", value_name = "FILE")]
    pub acme_eab_key: Option<PathBuf>,
    /// Speak to a proxy, which names the client in `X-Forwarded-For`; in plain HTTP, or in TLS if there
    /// is a `certificate`
    #[arg(long, env = "NEARWIRE_CONTROL_BEHIND_PROXY", num_args = 0..=1, default_missing_value = "true")]
    pub behind_proxy: Option<bool>,
}

/// A configuration that is whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it serves.
    pub listen: Listen,
    /// Where operators look.
    pub admin: Option<SocketAddr>,
    /// The database's address.
    pub database: String,
    /// Where the seal key comes from.
    pub seal: SealSource,
    /// Where the certificate comes from; plain HTTP without.
    pub tls: Option<TlsSource>,
    /// How long others may make it wait.
    pub patience: Patience,
}

/// Where it serves.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// Whether who connects is a proxy of ours.
    pub behind_proxy: bool,
}

/// Where the seal key comes from.
#[derive(Clone)]
pub enum SealSource {
    /// The environment.
    Text(Zeroizing<String>),
    /// A file; made, if it may be and the database is new.
    File {
        /// Which.
        path: PathBuf,
        /// Whether it may be made.
        may_make: bool,
    },
}

impl std::fmt::Debug for SealSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("SealSource(hidden)"),
            Self::File { path, .. } => write!(f, "SealSource({})", path.display()),
        }
    }
}

/// The variable with the seal key itself.
const SEAL_VARIABLE: &str = "NEARWIRE_CONTROL_SEAL_KEY";

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
            listen,
            admin,
            data,
            database,
            seal_key_file,
            certificate,
            private_key,
            acme_names,
            acme_contact,
            acme_directory,
            acme_root,
            acme_eab_id,
            acme_eab_key,
            behind_proxy,
        )
    }

    /// The whole configuration, or what is wrong with it.
    pub fn check(self) -> Result<Config> {
        let behind_proxy = self.behind_proxy.unwrap_or(false);
        let tls = self.tls(behind_proxy)?;
        let usual: SocketAddr = match tls {
            Some(_) => (std::net::Ipv6Addr::UNSPECIFIED, 443).into(),
            None => (Ipv4Addr::LOCALHOST, 8080).into(),
        };
        let address = self.listen.unwrap_or(usual);
        ensure!(
            tls.is_some() || behind_proxy || is_loopback(address.ip()),
            "`listen` is {address}, where everybody could read along: set `certificate` and \
             `private-key`, or `acme-names`, or `behind-proxy` if a proxy keeps TLS, or listen on \
             loopback"
        );
        let data = self.data.unwrap_or_else(|| PathBuf::from("/var/lib/nearwire-control"));
        let embedded = self.database.is_none();
        let database = self.database.unwrap_or_else(|| Store::sqlite_url(&data.join("control.db")));
        ensure!(
            Backend::of(&database).is_some(),
            "`database` must begin with postgres:// or sqlite://"
        );
        let seal = match (std::env::var(SEAL_VARIABLE), self.seal_key_file) {
            (Ok(_), Some(_)) => {
                bail!("{SEAL_VARIABLE} and `seal-key-file` exclude each other: remove one")
            }
            (Ok(text), None) => SealSource::Text(Zeroizing::new(text)),
            (Err(_), file) => {
                let may_make = embedded && file.is_none();
                SealSource::File { path: file.unwrap_or_else(|| data.join("seal.key")), may_make }
            }
        };
        if embedded {
            std::fs::create_dir_all(&data)
                .with_context(|| format!("making the directory {} (`data`)", data.display()))?;
        }
        let listen = Listen { address, behind_proxy };
        let patience = Patience::default();
        Ok(Config { listen, admin: self.admin, database, seal, tls, patience })
    }

    /// Where the certificate comes from, if TLS is ours.
    fn tls(&self, behind_proxy: bool) -> Result<Option<TlsSource>> {
        if self.acme_names.is_some() {
            let others = [
                ("certificate", self.certificate.is_some(), "one of them says whose it is"),
                ("private-key", self.private_key.is_some(), "ACME makes a key of its own"),
                ("behind-proxy", behind_proxy, "a proxy that ends TLS keeps the authority out"),
            ];
            if let Some((other, _, why)) = others.into_iter().find(|(_, is, _)| *is) {
                bail!("`acme-names` and `{other}` exclude each other, since {why}: remove one");
            }
        }
        let asked = Said {
            names: self.acme_names.clone(),
            contact: self.acme_contact.clone(),
            directory: self.acme_directory.clone(),
            root: self.acme_root.clone(),
            eab_id: self.acme_eab_id.clone(),
            eab_key: self.acme_eab_key.clone(),
        };
        let acme = asked.check("listen", &|key| format!("`{key}`"))?.map(TlsSource::Acme);
        match (self.certificate.clone(), self.private_key.clone()) {
            (Some(certificate), Some(key)) => {
                Ok(Some(TlsSource::Files(Files { certificate, key })))
            }
            (None, None) => Ok(acme),
            (Some(_), None) => {
                bail!("`certificate` is set but `private-key` is not: name the file with its key")
            }
            (None, Some(_)) => bail!(
                "`private-key` is set but `certificate` is not: name the file with its certificate"
            ),
        }
    }
}

impl Config {
    /// The database without what may be a password.
    #[must_use]
    pub fn shown_database(&self) -> String {
        match self.database.split_once('@') {
            Some((before, after)) if before.contains("://") => {
                let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
                format!("{scheme}://...@{after}")
            }
            _ => self.database.clone(),
        }
    }
}

impl SealSource {
    /// The key. For a database without secrets it may be made.
    pub async fn key(&self, store: &Store) -> Result<SealKey> {
        let path = match self {
            Self::Text(text) => {
                return SealKey::parse(text).with_context(|| format!("reading {SEAL_VARIABLE}"));
            }
            Self::File { path, may_make } => {
                let is_new = store.control_keys().await?.is_empty();
                if *may_make && is_new && !path.exists() {
                    make(path)
                        .with_context(|| format!("making the seal key {}", path.display()))?;
                }
                path
            }
        };
        let text = std::fs::read_to_string(path).map(Zeroizing::new).with_context(|| {
            format!(
                "reading the seal key {}: without it the secrets in the database stay shut; name \
                 it with `seal-key-file` or put it into {SEAL_VARIABLE}",
                path.display()
            )
        })?;
        SealKey::parse(&text).with_context(|| format!("in the file {}", path.display()))
    }
}

/// Only its owner may read it.
fn make(path: &Path) -> Result<()> {
    use std::io::Write as _;
    let text = Zeroizing::new(BASE64_STANDARD.encode(*Zeroizing::new(random::<32>()?)));
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", *text)?;
    file.sync_all()?;
    Ok(())
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
