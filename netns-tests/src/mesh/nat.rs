//! Nodes behind routers of every kind, made of nftables.

use anyhow::Result;

use super::{Hub, MeshNode};
use crate::{Host, Lab};

/// What is between a node and the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nat {
    /// Nothing.
    None,
    /// One port for all destinations; everybody is let in there.
    FullCone,
    /// One port; addresses that were sent to are let in.
    Restricted,
    /// One port; addresses and ports that were sent to are let in.
    PortRestricted,
    /// Another, random port for each destination.
    Symmetric,
    /// A port-restricted one behind another: a home at a carrier that shares addresses.
    Carrier,
    /// One that lets no UDP through.
    NoUdp,
}

impl Nat {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FullCone => "full cone",
            Self::Restricted => "restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Carrier => "carrier and home",
            Self::NoUdp => "no UDP",
        }
    }

    /// Whether a pair can be direct.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        let never = |nat| nat == Self::NoUdp;
        !(never(self) || never(other) || (self == Self::Symmetric && other == Self::Symmetric))
    }

    /// Whether a pair has to guess ports for it.
    #[must_use]
    pub fn guesses(self, other: Self) -> bool {
        let strict = |nat| matches!(nat, Self::PortRestricted | Self::Carrier);
        let hard = |nat| nat == Self::Symmetric;
        (strict(self) && hard(other)) || (hard(self) && strict(other))
    }

    fn rules(self, outside: &str, inside: &str) -> String {
        let in_by = |who: &str| {
            format!(
                "chain in {{ type nat hook prerouting priority -100; \
                    iifname {outside} {who} udp dport 1024-65535 dnat to {inside}; }};"
            )
        };
        let (cone, random) = match self {
            Self::FullCone => (in_by(""), ""),
            Self::Restricted => (in_by("ip saddr @sent"), ""),
            Self::Symmetric => (String::new(), "fully-random"),
            _ => (String::new(), ""),
        };
        let udp = if self == Self::NoUdp { "meta l4proto udp drop;" } else { "" };
        // As home routers do: what nobody asked for leaves no trace, or it would take the port that the
        // node's own packet is to have.
        format!(
            "table ip nat {{ \
                set sent {{ type ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535; }}; \
                {cone} \
                chain sees {{ type filter hook forward priority 0; {udp} \
                    oifname {outside} meta l4proto udp update @sent {{ ip daddr }}; }}; \
                chain out {{ type nat hook postrouting priority 100; \
                    oifname {outside} masquerade {random}; }}; \
            }}; \
            table ip filter {{ \
                chain in {{ type filter hook input priority 0; \
                    iifname {outside} ct state new drop; }}; \
            }}"
        )
    }
}

impl Hub {
    /// Makes a host behind such a NAT, and a node's daemon there; gives its routers too, from the
    /// node's on.
    ///
    /// # Errors
    /// When a link or a process cannot be made, or without nftables.
    pub fn node_behind(&self, lab: &Lab, name: &str, nat: Nat) -> Result<(MeshNode, Vec<Host>)> {
        if nat == Nat::None {
            return Ok((self.node(lab, name)?, Vec::new()));
        }
        let host = lab.host(name)?;
        let router = lab.router(&format!("{name}'s router"))?;
        lab.link(&host, &router).at_a(&["192.168.1.2/24"]).at_b(&["192.168.1.1/24"]).veth()?;
        host.route("default", "192.168.1.1")?;
        let mut routers = vec![router];
        if nat == Nat::Carrier {
            let carrier = lab.router(&format!("{name}'s carrier"))?;
            let link = lab.link(&routers[0], &carrier);
            let link = link.at_a(&["100.127.0.2/24"]).at_b(&["100.127.0.1/24"]).veth()?;
            routers[0].route("default", "100.127.0.1")?;
            routers[0].run(["nft", &nat.rules(&link.device_a, "192.168.1.2")])?;
            routers.push(carrier);
        }
        let last = &routers[routers.len() - 1];
        let outside = self.connect(lab, last)?;
        last.run(["nft", &nat.rules(&outside, "192.168.1.2")])?;
        Ok((MeshNode::start(host, name, &self.programs)?, routers))
    }
}
