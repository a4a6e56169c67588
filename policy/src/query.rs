//! A question about one flow, as it is typed: `SRC DST:PORT/PROTO`.

use std::net::IpAddr;

use crate::{
    Document, Nodes, Packet, Protocols, Selector,
    ends::addresses,
    parse::selector,
    ports::decimal,
    protocol::{TCP, has_ports},
};

/// Who would open a flow, to where, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The source: an address, or the name of a node, a host, a user, a group or a tag.
    pub source: Selector,
    /// The destination, likewise.
    pub destination: Selector,
    /// The protocol; `icmp` is that of the addresses' family.
    pub protocol: Protocols,
    /// The destination's port; zero where there is none.
    pub port: u16,
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is not written as one.
    #[error("{0}")]
    Syntax(String),
    /// An end of it is nowhere.
    #[error("{0}")]
    Nowhere(String),
    /// One end has addresses of one family, the other of the other.
    #[error("{0} and {1} have no addresses of the same family")]
    NoFamily(Selector, Selector),
}

impl Query {
    /// Reads `SRC` and `DST:PORT[/PROTO]`. The protocol is TCP if none is named; one without ports
    /// needs none. An IPv6 address before a port stands in brackets.
    ///
    /// # Errors
    ///
    /// When it is not written so.
    pub fn parse(source: &str, destination: &str) -> Result<Self, QueryError> {
        let (whole, protocol) = match destination.rsplit_once('/') {
            // In `10.0.0.0/8:22` it is a prefix.
            Some((whole, name)) if !name.contains(':') => (whole, protocol(name)?),
            _ => (destination, Protocols::One(TCP)),
        };
        let portless = !protocol.of_family(true).is_some_and(has_ports);
        let (whom, port) = match split_port(whole) {
            Some((whom, port)) => (whom, port),
            None if portless => (unbracketed(whole), "0"),
            None => {
                return Err(syntax(format!(
                    "{destination:?} names no port: write DST:PORT or DST:PORT/udp, or DST/icmp for \
                     a protocol without ports; an IPv6 address before a port stands in brackets"
                )));
            }
        };
        let port = match decimal::<u16>(port) {
            Some(port) => port,
            None if portless && port == "*" => 0,
            None => return Err(syntax(format!("{port:?} is not a port: write 0 to 65535"))),
        };
        if portless && port != 0 {
            return Err(syntax(format!(
                "{destination:?}: this protocol has no ports, leave it out"
            )));
        }
        Ok(Self { source: end(unbracketed(source))?, destination: end(whom)?, protocol, port })
    }

    /// The first packets of the flows that it asks about: one for each pair of addresses of one
    /// family.
    ///
    /// # Errors
    ///
    /// When an end of it is nowhere, or there is no such pair.
    pub fn packets(&self, document: &Document, nodes: &Nodes) -> Result<Vec<Packet>, QueryError> {
        let of = |end| addresses(document, nodes, end).map_err(QueryError::Nowhere);
        self.packets_between(&of(&self.source)?, &of(&self.destination)?)
    }

    /// The same, where somebody else knows the addresses of its ends.
    ///
    /// # Errors
    ///
    /// When none are of the same family.
    pub fn packets_between(
        &self,
        sources: &[IpAddr],
        destinations: &[IpAddr],
    ) -> Result<Vec<Packet>, QueryError> {
        let packets: Vec<Packet> = pairs(sources, destinations)
            .filter_map(|(source, destination)| {
                let protocol = self.protocol.of_family(source.is_ipv4())?;
                Some(Packet { source, destination, protocol, port: self.port })
            })
            .collect();
        if packets.is_empty() {
            return Err(QueryError::NoFamily(self.source.clone(), self.destination.clone()));
        }
        Ok(packets)
    }
}

/// The pairs of addresses of one family.
pub(crate) fn pairs<'a>(
    sources: &'a [IpAddr],
    destinations: &'a [IpAddr],
) -> impl Iterator<Item = (IpAddr, IpAddr)> + 'a {
    let all = sources.iter().flat_map(|&source| destinations.iter().map(move |&to| (source, to)));
    all.filter(|(source, to)| source.is_ipv4() == to.is_ipv4())
}

fn syntax(reason: String) -> QueryError {
    QueryError::Syntax(reason)
}

fn protocol(name: &str) -> Result<Protocols, QueryError> {
    selector::protocols(name).map_err(|fault| syntax(fault.reason))
}

/// Who, and the port behind the last colon; nothing if there is no port, as in a bare IPv6 address
/// or in `tag:web`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split_once("]:");
    }
    let (whom, port) = text.rsplit_once(':')?;
    let kind = matches!(whom, "group" | "tag" | "autogroup");
    (!kind && text.parse::<IpAddr>().is_err()).then_some((whom, port))
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text)
}

fn end(text: &str) -> Result<Selector, QueryError> {
    selector::selector(text).map_err(|fault| syntax(fault.reason))
}
