//! Random documents, nodes and packets: few names and addresses, close together, so that they meet.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::{Document, Node, Nodes, Packet};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

const USERS: [&str; 4] = ["alice@example.com", "bob@example.com", "carol@", "dave@github"];
const GROUPS: [&str; 3] = ["group:a", "group:b", "group:c"];
const TAGS: [&str; 3] = ["tag:x", "tag:y", "tag:z"];
const HOSTS: [&str; 3] = ["printer", "lab.net", "gw-1"];
const NODES: [&str; 9] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];

pub(crate) struct World {
    pub(crate) random: SmallRng,
}

fn quoted(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("{item:?}")).collect();
    items.join(", ")
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed) }
    }

    pub(crate) fn random_below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    pub(crate) fn address(&mut self) -> IpAddr {
        match self.below(20) {
            0..9 => {
                Ipv4Addr::new(10, 0, self.random.random_range(0..3), self.random.random_range(0..8))
                    .into()
            }
            9..16 => {
                let (g, h) = (self.random.random_range(0..3), self.random.random_range(0..8));
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, g, h).into()
            }
            // Beside the block of mapped addresses, where the families could be confused.
            16 => Ipv6Addr::new(0, 0, 0, 0, 0, 0xfffe, 0, self.random.random_range(0..3)).into(),
            17 => Ipv4Addr::new(self.random.random(), 7, 7, 7).into(),
            18 => Ipv4Addr::new(self.one(&[8, 100, 126, 172, 192]), self.one(&[31, 64, 168]), 1, 1)
                .into(),
            _ => Ipv6Addr::new(self.one(&[0x2001, 0x3fff, 0x4000, 0x1fff]), 1, 0, 0, 0, 0, 0, 1)
                .into(),
        }
    }

    fn prefix(&mut self) -> String {
        match self.address() {
            IpAddr::V4(v4) => {
                let length = self.one(&[0, 8, 22, 23, 24, 29, 30, 31, 32]);
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                format!("{}/{length}", Ipv4Addr::from(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let length = self.one(&[0, 8, 64, 80, 95, 96, 112, 126, 127, 128]);
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                format!("{}/{length}", Ipv6Addr::from(v6.to_bits() & mask))
            }
        }
    }

    fn range(&mut self) -> String {
        let (a, b) = (self.address(), self.address());
        if a.is_ipv4() == b.is_ipv4() {
            format!("{}-{}", a.min(b), a.max(b))
        } else {
            format!("{a}-{a}")
        }
    }

    /// A selector that may be a source as well as a destination.
    fn selector(&mut self) -> String {
        match self.below(16) {
            0 => "*".into(),
            1..4 => self.prefix(),
            4 => self.range(),
            5 => self.address().to_string(),
            6 => self.one(&HOSTS).into(),
            7 | 8 => self.one(&USERS).into(),
            9 | 10 => self.one(&GROUPS).into(),
            11..14 => self.one(&TAGS).into(),
            14 => "autogroup:member".into(),
            _ => "autogroup:tagged".into(),
        }
    }

    fn user(&mut self) -> String {
        match self.below(3) {
            0 => self.one(&USERS).into(),
            1 => self.one(&GROUPS).into(),
            _ => "autogroup:member".into(),
        }
    }

    fn several(&mut self, most: usize, one: impl Fn(&mut Self) -> String) -> Vec<String> {
        (0..=self.below(most)).map(|_| one(self)).collect()
    }

    fn port_range(&mut self) -> String {
        let (a, b) = (self.random.random_range(0u16..40), self.random.random_range(0u16..40));
        match self.below(8) {
            0 => "20-65535".into(),
            1 => "*".into(),
            2..5 => format!("{}-{}", a.min(b), a.max(b)),
            _ => a.to_string(),
        }
    }

    fn ends(&mut self) -> (Vec<String>, Vec<String>) {
        if self.chance(20) {
            let sources = self.several(2, Self::user);
            let mut destinations = vec!["autogroup:self".to_owned()];
            if self.chance(30) {
                destinations.push(self.selector());
            }
            return (sources, destinations);
        }
        let sources = self.several(3, Self::selector);
        let destination = |world: &mut Self| {
            if world.chance(8) { "autogroup:internet".into() } else { world.selector() }
        };
        (sources, self.several(3, destination))
    }

    pub(crate) fn acl(&mut self) -> String {
        let action = self.one(&["accept", "accept", "deny"]);
        let (sources, destinations) = self.ends();
        let proto =
            self.one(&["", "", "tcp", "udp", "sctp", "17", "icmp", "ipv6-icmp", "gre", "47"]);
        let ports = ["", "tcp", "udp", "sctp", "17"].contains(&proto);
        let with_ports: Vec<String> = destinations
            .into_iter()
            .map(|to| {
                let to = if to.contains(':') && to.parse::<IpAddr>().is_ok()
                    || to.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
                        && to.contains("::")
                {
                    format!("[{to}]")
                } else {
                    to
                };
                let ports =
                    if ports { self.several(3, Self::port_range).join(",") } else { "*".into() };
                format!("{to}:{ports}")
            })
            .collect();
        let proto =
            if proto.is_empty() { String::new() } else { format!(", \"proto\": {proto:?}") };
        format!(
            "{{ \"action\": {action:?}, \"src\": [{}], \"dst\": [{}]{proto} }}",
            quoted(sources),
            quoted(with_ports)
        )
    }

    pub(crate) fn grant(&mut self) -> String {
        let action = self.one(&["", "", "\"action\": \"accept\", ", "\"action\": \"deny\", "]);
        let (sources, destinations) = self.ends();
        let service = |world: &mut Self| match world.below(4) {
            0 => world.port_range(),
            1 => format!("{}:*", world.one(&["icmp", "gre", "esp", "99"])),
            _ => format!("{}:{}", world.one(&["tcp", "udp", "sctp"]), world.port_range()),
        };
        let services = self.several(3, service);
        format!(
            "{{ {action}\"src\": [{}], \"dst\": [{}], \"ip\": [{}] }}",
            quoted(sources),
            quoted(destinations),
            quoted(services)
        )
    }

    pub(crate) fn path_rule(&mut self) -> String {
        let sources = self.several(2, Self::selector);
        let destinations = self.several(2, Self::selector);
        let kinds = ["direct", "peer-relay", "relay"].into_iter().filter(|_| self.chance(50));
        let mut kinds: Vec<String> = kinds.map(str::to_owned).collect();
        if kinds.is_empty() {
            kinds.push("relay".to_owned());
        }
        format!(
            "{{ \"src\": [{}], \"dst\": [{}], \"use\": [{}] }}",
            quoted(sources),
            quoted(destinations),
            quoted(kinds)
        )
    }

    pub(crate) fn definitions(&mut self) -> String {
        let groups: Vec<String> = GROUPS
            .iter()
            .map(|group| {
                let users: Vec<String> =
                    USERS.iter().filter(|_| self.chance(40)).map(|u| (*u).to_owned()).collect();
                format!("{group:?}: [{}]", quoted(users))
            })
            .collect();
        let hosts: Vec<String> =
            HOSTS.iter().map(|host| format!("{host:?}: {:?}", self.prefix())).collect();
        let tags: Vec<String> = TAGS.iter().map(|tag| format!("{tag:?}: [\"group:a\"]")).collect();
        format!(
            "\"groups\": {{ {} }}, \"hosts\": {{ {} }}, \"tagOwners\": {{ {} }}",
            groups.join(", "),
            hosts.join(", "),
            tags.join(", ")
        )
    }

    pub(crate) fn document(&mut self) -> Sections {
        let definitions = self.definitions();
        let acls = (0..self.below(6)).map(|_| self.acl()).collect();
        let grants = (0..self.below(6)).map(|_| self.grant()).collect();
        Sections { definitions, acls, grants, paths: Vec::new() }
    }

    pub(crate) fn node(&mut self, free_of: &Nodes) -> Option<Node> {
        let name = self.one(&NODES);
        let taken = |ip: &IpAddr| {
            free_of.with_address(*ip).is_some_and(|other| other.name.as_str() != name)
        };
        let addresses: BTreeSet<IpAddr> =
            (0..3).map(|_| self.address()).filter(|ip| !taken(ip)).collect();
        if addresses.is_empty() {
            return None;
        }
        let identity = if self.chance(50) {
            format!("\"user\": {:?}", self.one(&USERS))
        } else {
            let tags: BTreeSet<&str> = (0..2).map(|_| self.one(&TAGS)).collect();
            format!("\"tags\": [{}]", quoted(tags.into_iter().map(str::to_owned)))
        };
        let routes = if self.chance(30) { self.several(2, Self::prefix) } else { Vec::new() };
        let text = format!(
            "{{ \"nodes\": [ {{ \"name\": {name:?}, {identity}, \"addresses\": [{}], \"routes\": [{}] }} ] }}",
            quoted(addresses.iter().map(ToString::to_string)),
            quoted(routes)
        );
        let nodes =
            Nodes::parse(&text).unwrap_or_else(|e| panic!("{}", policy::render("n", &text, &e)));
        nodes.iter().next().cloned()
    }

    pub(crate) fn nodes(&mut self) -> Nodes {
        let mut nodes = Nodes::default();
        for _ in 0..self.below(9) {
            if let Some(node) = self.node(&nodes)
                && nodes.get(&node.name).is_none()
            {
                nodes.insert(node).unwrap();
            }
        }
        nodes
    }

    pub(crate) fn packet(&mut self, nodes: &[IpAddr]) -> Packet {
        let end = |world: &mut Self| match nodes.choose(&mut world.random) {
            Some(address) if world.chance(60) => *address,
            _ => world.address(),
        };
        let (source, destination) = (end(self), end(self));
        let protocol = self.one(&[1, 6, 6, 17, 17, 47, 50, 58, 132]);
        let port =
            if self.chance(80) { self.random.random_range(0..44) } else { self.random.random() };
        Packet { source, destination, protocol, port }
    }
}

/// A document in pieces, so that one of them can change.
#[derive(Clone)]
pub(crate) struct Sections {
    pub(crate) definitions: String,
    pub(crate) acls: Vec<String>,
    pub(crate) grants: Vec<String>,
    pub(crate) paths: Vec<String>,
}

impl Sections {
    pub(crate) fn text(&self) -> String {
        let list =
            |rules: &[String]| rules.iter().map(|rule| format!("\n  {rule},")).collect::<String>();
        format!(
            "{{ {},\n\"acls\": [{}\n],\n\"grants\": [{}\n],\n\"paths\": [{}\n] }}",
            self.definitions,
            list(&self.acls),
            list(&self.grants),
            list(&self.paths)
        )
    }

    pub(crate) fn parse(&self) -> Document {
        let text = self.text();
        Document::parse(&text).unwrap_or_else(|e| panic!("{}", policy::render("policy", &text, &e)))
    }
}
