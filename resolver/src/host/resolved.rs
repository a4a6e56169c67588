//! systemd-resolved, over D-Bus: which domains are ours, on the interface of the mesh.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::timeout;
use zbus::{Connection, connection};

use super::{Interface, Wanted};

const NAME: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
/// How long D-Bus or the other end may take.
const LIMIT: Duration = Duration::from_secs(5);
/// What resolved says where the interface is gone, and our settings with it.
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";
/// What is not there in older ones, and was not done by them either.
const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

pub(super) struct Resolved(Connection);

impl Resolved {
    /// Whether it runs, or would if it were asked.
    pub(super) async fn is_there(bus: &str) -> bool {
        let asked = async {
            let resolved = Self::connect(bus).await?;
            let ping = resolved.0.call_method(
                Some(NAME),
                PATH,
                Some("org.freedesktop.DBus.Peer"),
                "Ping",
                &(),
            );
            timeout(LIMIT, ping).await.context("it does not answer")?.context("calling it")
        };
        let answer: Result<_> = asked.await;
        if let Err(error) = &answer {
            tracing::debug!("no systemd-resolved: {error:#}");
        }
        answer.is_ok()
    }

    pub(super) async fn connect(bus: &str) -> Result<Self> {
        let connecting = connection::Builder::address(bus).build();
        let connected = timeout(LIMIT, connecting).await.context("D-Bus does not answer");
        Ok(Self(connected?.with_context(|| format!("connecting to D-Bus at {bus}"))?))
    }

    pub(super) async fn tell(&self, interface: &Interface, wanted: &Wanted) -> Result<()> {
        let link = i32::try_from(interface.index).context("the interface's number")?;
        let address = match wanted.nameserver {
            IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
        };
        // One domain is searched as well, the others only lead here.
        let mut domains: Vec<(&str, bool)> = Vec::new();
        domains.extend(wanted.domain.iter().map(|domain| (domain.as_str(), false)));
        domains.extend(wanted.domains.iter().map(|domain| (domain.as_str(), true)));
        if wanted.all {
            domains.push((".", true));
        }
        self.call("SetLinkDNS", &(link, vec![address])).await?;
        self.call("SetLinkDomains", &(link, domains)).await?;
        // The mesh's zone is not signed, and its links have no neighbours to shout at.
        for (method, value) in [
            ("SetLinkDNSSEC", "no"),
            ("SetLinkDNSOverTLS", "no"),
            ("SetLinkLLMNR", "no"),
            ("SetLinkMulticastDNS", "no"),
        ] {
            self.call(method, &(link, value)).await?;
        }
        self.call("SetLinkDefaultRoute", &(link, wanted.all)).await?;
        self.call("FlushCaches", &()).await
    }

    pub(super) async fn revert(&self, interface: &Interface) -> Result<()> {
        let link = i32::try_from(interface.index).context("the interface's number")?;
        self.call("RevertLink", &(link,)).await?;
        self.call("FlushCaches", &()).await
    }

    async fn call<B>(&self, method: &'static str, body: &B) -> Result<()>
    where
        B: Serialize + zbus::DynamicType,
    {
        let call = self.0.call_method(Some(NAME), PATH, Some(MANAGER), method, body);
        let answer = timeout(LIMIT, call).await;
        match answer.with_context(|| format!("systemd-resolved does not answer {method}"))? {
            Ok(_) => Ok(()),
            Err(zbus::Error::MethodError(name, ..))
                if name.as_str() == UNKNOWN_METHOD
                    || (method == "RevertLink" && name.as_str() == NO_SUCH_LINK) =>
            {
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("systemd-resolved refused {method}")),
        }
    }
}
