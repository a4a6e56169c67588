//! Nodes behind routers of every kind, made of nftables.

use anyhow::Result;

use super::hub::{ADDRESS, CONTROL};
use super::{Hub, MeshNode};
use crate::{Host, Lab};

/// What is between a node and the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nat {
    /// Nothing.
    None,
    /// One port for all destinations; everybody is let in there.
    FullCone,
    /// One port; addresses that it has sent to are let in.
    Restricted,
    /// One port; addresses and ports that were sent to are let in.
    PortRestricted,
    /// Another, random port for each destination.
    Symmetric,
    /// A port-restricted one behind another: a home at a carrier that shares addresses.
    Carrier,
    /// IPv6 alone, and a NAT64 by which it reaches IPv4, port-restricted.
    Nat64,
    /// One that lets no UDP through.
    NoUdp,
    /// One that lets nothing through but TCP to port 443, and to the control plane.
    OnlyHttps,
}

/// What is between two homes and the world: one carrier, who shares one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedCarrier {
    /// Brings back what one customer sends to another's address (hairpin).
    Hairpin,
    /// Does not.
    NoHairpin,
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
            Self::Nat64 => "IPv6 alone with NAT64",
            Self::NoUdp => "no UDP",
            Self::OnlyHttps => "only TCP to 443",
        }
    }

    /// Whether a pair can be direct.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        let never = |nat| matches!(nat, Self::NoUdp | Self::OnlyHttps);
        !(never(self) || never(other) || (self == Self::Symmetric && other == Self::Symmetric))
    }

    /// Whether a pair has to guess ports for it.
    #[must_use]
    pub fn guesses(self, other: Self) -> bool {
        let strict = |nat| matches!(nat, Self::PortRestricted | Self::Carrier | Self::Nat64);
        let hard = |nat| nat == Self::Symmetric;
        (strict(self) && hard(other)) || (hard(self) && strict(other))
    }

    pub(super) fn rules(self, outside: &str, inside: &str) -> String {
        let in_by = |who: &str| {
            format!(
                "chain in {{ type nat hook prerouting priority -100; \
                    iifname {outside} {who} udp dport 1024-65535 dnat to {inside}; }};"
            )
        };
        let (cone, random) = match self {
            Self::FullCone => (in_by(""), ""),
            Self::Restricted => (in_by("udp dport . ip saddr @sent"), ""),
            Self::Symmetric => (String::new(), "fully-random"),
            _ => (String::new(), ""),
        };
        let udp = match self {
            Self::NoUdp => "meta l4proto udp drop;".to_owned(),
            Self::OnlyHttps => {
                let (_, control) = CONTROL.split_once(':').unwrap_or_default();
                format!(
                    "oifname {outside} tcp dport != {{ 443, {control} }} drop; \
                     meta l4proto != tcp drop;"
                )
            }
            _ => String::new(),
        };
        // As home routers do: what nobody asked for leaves no trace, or it would take the port that the
        // node's own packet is to have.
        format!(
            "table ip nat {{ \
                set sent {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535; }}; \
                {cone} \
                chain sees {{ type filter hook forward priority 0; {udp} \
                    oifname {outside} meta l4proto udp update @sent {{ udp sport . ip daddr }}; }}; \
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

impl SharedCarrier {
    /// What [`Nat::PortRestricted`] is, and the way back, for both customers' ports.
    fn rules(self, outside: &str, own: &str) -> String {
        let hairpin = match self {
            Self::NoHairpin => String::new(),
            Self::Hairpin => format!(
                "map ports {{ type inet_service : ipv4_addr; flags dynamic,timeout; \
                    timeout 2m; size 65535; }}; \
                chain learns {{ type filter hook forward priority 0; \
                    oifname {outside} update @ports {{ udp sport : ip saddr }}; }}; \
                chain back {{ type nat hook prerouting priority -100; \
                    iifname != {outside} ip daddr {own} dnat to udp dport map @ports; }}; \
                chain hides {{ type nat hook postrouting priority 90; \
                    iifname != {outside} oifname != {outside} snat to {own}; }}; "
            ),
        };
        format!(
            "table ip nat {{ {hairpin} \
                chain out {{ type nat hook postrouting priority 100; \
                    oifname {outside} masquerade; }}; \
            }}; \
            table ip filter {{ \
                chain in {{ type filter hook input priority 0; ct state new drop; }}; \
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
        if nat == Nat::Nat64 {
            return self.node_behind_nat64(lab, name);
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

    /// Makes two hosts in two homes with port-restricted NATs at one carrier, and nodes' daemons there;
    /// gives all routers too.
    ///
    /// # Errors
    /// As [`Self::node_behind`].
    pub fn nodes_at_one_carrier(
        &self,
        lab: &Lab,
        names: [&str; 2],
        carrier: SharedCarrier,
    ) -> Result<([MeshNode; 2], Vec<Host>)> {
        let shared = lab.router(&format!("{}'s and {}'s carrier", names[0], names[1]))?;
        let outside = self.connect(lab, &shared)?;
        let own = shared.route_word(ADDRESS, "src")?;
        shared.run(["nft", &carrier.rules(&outside, &own)])?;
        let mut routers = Vec::new();
        let mut home = |name: &str, number: u8| -> Result<MeshNode> {
            let (host, router) = (lab.host(name)?, lab.router(&format!("{name}'s router"))?);
            lab.link(&host, &router).at_a(&["192.168.1.2/24"]).at_b(&["192.168.1.1/24"]).veth()?;
            host.route("default", "192.168.1.1")?;
            let (here, there) =
                (format!("100.127.{number}.2/24"), format!("100.127.{number}.1/24"));
            let (here, there) = ([here.as_str()], [there.as_str()]);
            let link = lab.link(&router, &shared).at_a(&here).at_b(&there).veth()?;
            router.route("default", &format!("100.127.{number}.1"))?;
            router.run(["nft", &Nat::PortRestricted.rules(&link.device_a, "192.168.1.2")])?;
            routers.push(router);
            MeshNode::start(host, name, &self.programs)
        };
        let nodes = [home(names[0], 1)?, home(names[1], 2)?];
        routers.push(shared);
        Ok((nodes, routers))
    }
}
