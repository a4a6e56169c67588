//! Addresses by the names that people know them by.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::{
    AddressRange, Document, Node, NodeName, Nodes, Packet, PortRange, ProtocolPorts, has_ports,
    protocol,
};

/// The names of nodes and of hosts.
pub struct Names {
    of_nodes: HashMap<IpAddr, String>,
    /// By how the address or the prefix is written.
    of_hosts: HashMap<String, String>,
    /// Names of hosts that mean something else in another document, or are a node's too.
    ambiguous: HashSet<String>,
}

impl Names {
    /// The names of these nodes, and of what these documents define.
    pub fn new<'d>(documents: impl IntoIterator<Item = &'d Document>, nodes: &Nodes) -> Self {
        let of_node = |node: &Node| {
            let name = node.name.to_string();
            node.addresses.iter().map(|ip| (*ip, name.clone())).collect::<Vec<_>>()
        };
        let of_nodes: HashMap<IpAddr, String> = nodes.iter().flat_map(of_node).collect();
        let mut prefixes: HashMap<String, String> = HashMap::new();
        let mut ambiguous: HashSet<String> = HashSet::new();
        let mut of_hosts = HashMap::new();
        for (name, prefix) in documents.into_iter().flat_map(Document::hosts) {
            let (name, prefix) = (name.to_string(), prefix.to_string());
            let before = prefixes.insert(name.clone(), prefix.clone());
            let moved = before.is_some_and(|before| before != prefix);
            let node = NodeName::parse(&name).is_some_and(|name| nodes.get(&name).is_some());
            if moved || node {
                ambiguous.insert(name.clone());
            }
            of_hosts.insert(prefix, name);
        }
        Self { of_nodes, of_hosts, ambiguous }
    }

    /// `web1 (100.64.0.2)`, or the address alone.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> String {
        match self.of_nodes.get(&address).or_else(|| self.of_hosts.get(&address.to_string())) {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        }
    }

    /// Each range by its name, or as it is written; no name twice.
    #[must_use]
    pub fn ranges(&self, ranges: &[AddressRange]) -> Vec<String> {
        let mut seen = HashSet::new();
        let names = ranges.iter().flat_map(|range| self.range(range));
        names.filter(|name| seen.insert(name.clone())).collect()
    }

    fn range(&self, range: &AddressRange) -> Vec<String> {
        let written = range.to_string();
        if let Some(host) = self.of_hosts.get(&written) {
            return vec![self.distinct(host, &written)];
        }
        // A few neighbours that all are nodes.
        let few = range.addresses().take(9).collect::<Vec<_>>();
        let of_node = |ip: &IpAddr| Some(self.distinct(self.of_nodes.get(ip)?, &ip.to_string()));
        let nodes: Vec<String> = few.iter().filter_map(of_node).collect();
        if few.len() < 9 && nodes.len() == few.len() { nodes } else { vec![written] }
    }

    /// The name, with the address where the name alone could be another's.
    fn distinct(&self, name: &str, address: &str) -> String {
        if self.ambiguous.contains(name) { format!("{name} ({address})") } else { name.to_owned() }
    }
}

/// `SRC -> DST:PORT/PROTOCOL`.
#[must_use]
pub fn flow(packet: &Packet, names: &Names) -> String {
    let (source, destination) = (names.address(packet.source), names.address(packet.destination));
    format!("{source} -> {destination} {}", port(packet))
}

/// `tcp 22`, or the protocol alone if it has no ports.
fn port(packet: &Packet) -> String {
    let ports = PortRange::one(packet.port);
    service(&ProtocolPorts { protocol: packet.protocol, ports })
}

/// `tcp 20-30`, or the protocol alone if it has no ports.
#[must_use]
pub fn service(service: &ProtocolPorts) -> String {
    let name = protocol::name(service.protocol);
    if has_ports(service.protocol) { format!("{name} {}", service.ports) } else { name }
}
