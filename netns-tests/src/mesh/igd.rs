//! Home routers that map ports for who asks: miniupnpd.

use std::fs;

use anyhow::Result;

use super::{Directory, Hub, MeshNode, Nat, PATIENCE};
use crate::process::Process;
use crate::{Host, Lab, unpacked};

/// By what a router can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// PCP, and NAT-PMP, which comes with it.
    Pcp,
    /// NAT-PMP alone.
    NatPmp,
    /// UPnP alone.
    Upnp,
    /// Any of them, and it refuses: its own address is a private one, as behind a carrier's NAT.
    InVain,
}

/// A router, and what maps ports there.
#[derive(Debug)]
pub struct Igd {
    /// The router.
    pub router: Host,
    outside: String,
    inside: String,
    asked: Asked,
    daemon: Option<Process>,
    directory: Directory,
}

/// What miniupnpd fills, and what leads there.
const TABLES: &str = "table inet igd { \
    chain forward { type filter hook forward priority -1; jump mapped; }; \
    chain mapped { }; \
    chain in { type nat hook prerouting priority -100; jump ports; }; \
    chain ports { }; \
    chain out { type nat hook postrouting priority 99; jump peers; }; \
    chain peers { }; }";
/// What asks by PCP begins with this version; a router that knows NAT-PMP only hears nothing of it.
const WITHOUT_PCP: &str = "table inet old { chain in { type filter hook input priority 0; \
    udp dport 5351 @th,64,8 2 drop; }; }";

impl Hub {
    /// Makes a host behind a router with such a NAT, which can be asked for mappings, and a node's daemon
    /// there.
    ///
    /// # Errors
    /// When a link or a process cannot be made, or a program is missing.
    pub fn node_behind_igd(
        &self,
        lab: &Lab,
        name: &str,
        nat: Nat,
        asked: Asked,
    ) -> Result<(MeshNode, Igd)> {
        let (host, router) = (lab.host(name)?, lab.router(&format!("{name}'s router"))?);
        let link = lab.link(&host, &router).at_a(&["192.168.1.2/24"]).at_b(&["192.168.1.1/24"]);
        let inside = link.veth()?.device_b;
        host.route("default", "192.168.1.1")?;
        let outside = match asked {
            Asked::InVain => self.connect(lab, &router)?,
            Asked::Pcp | Asked::NatPmp | Asked::Upnp => self.connect_public(lab, &router)?,
        };
        router.run(["nft", &nat.rules(&outside, "192.168.1.2")])?;
        if asked == Asked::NatPmp {
            router.run(["nft", WITHOUT_PCP])?;
        }
        let directory = Directory::new(&format!("{name}-igd"))?;
        let mut igd = Igd { router, outside, inside, asked, daemon: None, directory };
        igd.start()?;
        Ok((MeshNode::start(host, name, &self.programs)?, igd))
    }
}

impl Igd {
    /// Starts what maps ports, or starts it again, without what it knew.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start(&mut self) -> Result<()> {
        let file = self.directory.file("miniupnpd.conf");
        let yes = |is: bool| if is { "yes" } else { "no" };
        let (upnp, natpmp) = match self.asked {
            Asked::Pcp | Asked::NatPmp => (false, true),
            Asked::Upnp => (true, false),
            Asked::InVain => (true, true),
        };
        let text = format!(
            "ext_ifname={}\nlistening_ip={}\nhttp_port=0\nenable_upnp={}\nenable_natpmp={}\n\
             secure_mode=yes\nipv6_disable=yes\nuuid=00000000-0000-4000-8000-000000000000\n\
             upnp_table_name=igd\nupnp_nat_table_name=igd\nupnp_forward_chain=mapped\n\
             upnp_nat_chain=ports\nupnp_nat_postrouting_chain=peers\n\
             allow 1024-65535 192.168.1.0/24 1024-65535\n\
             deny 0-65535 0.0.0.0/0 0-65535\n",
            self.outside,
            self.inside,
            yes(upnp),
            yes(natpmp),
        );
        fs::write(&file, text)?;
        self.router
            .run(["nft", &format!("add table inet igd; delete table inet igd; {TABLES}")])?;
        let mut command =
            self.router.command(unpacked("miniupnpd-nftables")?.join("usr/sbin/miniupnpd"));
        command.arg("-d").arg("-f").arg(&file).arg("-P").arg(self.directory.file("pid"));
        let process = self.router.spawn_command(command)?;
        let serves = if natpmp { "Listening for NAT-PMP" } else { "HTTP listening" };
        process.wait_for_line(serves, PATIENCE)?;
        self.daemon = Some(process);
        Ok(())
    }

    /// The router starts anew, with another address: its mappings are gone, and what its NAT knew.
    ///
    /// # Errors
    /// When something of it does not start.
    pub fn start_anew(&mut self, hub: &Hub) -> Result<()> {
        self.daemon = None;
        hub.renumber(&self.router)?;
        self.start()
    }

    /// The ports that are mapped, as nftables has them.
    ///
    /// # Errors
    /// Without nftables.
    pub fn mapped(&self) -> Result<usize> {
        let rules = self.router.run(["nft", "list", "chain", "inet", "igd", "ports"])?.stdout;
        Ok(rules.lines().filter(|line| line.contains("dnat")).count())
    }
}
