//! The IP protocols: their numbers, the names that documents use, and which of them have ports.

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;

/// The names of single protocols, as Tailscale has them.
const NAMES: &[(&str, u8)] = &[
    ("igmp", 2),
    ("ipv4", 4),
    ("ip-in-ip", 4),
    ("tcp", TCP),
    ("egp", 8),
    ("igp", 9),
    ("udp", UDP),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", ICMPV6),
    ("sctp", SCTP),
];

/// The protocols that a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocols {
    /// None named: TCP, UDP and ICMP. As with Tailscale, ports do not narrow ICMP.
    Default,
    /// `icmp`: that of both families.
    Icmp,
    /// Any other that is named.
    One(u8),
}

impl Protocols {
    /// What to write where a name is wrong.
    pub(crate) const EXPECTED: &str = "write \"tcp\", \"udp\", \"icmp\", \"ipv6-icmp\", \"sctp\", \
         \"igmp\", \"ipv4\", \"egp\", \"igp\", \"gre\", \"esp\", \"ah\" or a number from \"0\" to \
         \"255\"";

    /// Each protocol's number.
    #[must_use]
    pub const fn numbers(&self) -> &[u8] {
        match self {
            Self::Default => &[ICMP, TCP, UDP, ICMPV6],
            Self::Icmp => &[ICMP, ICMPV6],
            Self::One(number) => std::slice::from_ref(number),
        }
    }

    /// The protocol of this name or number.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if name == "icmp" {
            return Some(Self::Icmp);
        }
        let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        known.or_else(|| crate::ports::decimal(name)).map(Self::One)
    }

    /// The one protocol that packets of this family have, if it is one.
    #[must_use]
    pub const fn of_family(&self, is_ipv4: bool) -> Option<u8> {
        match self {
            Self::Default => None,
            Self::Icmp if is_ipv4 => Some(ICMP),
            Self::Icmp => Some(ICMPV6),
            Self::One(number) => Some(*number),
        }
    }

    /// Whether any of them carries ports.
    pub(crate) fn have_ports(&self) -> bool {
        self.numbers().iter().any(|&number| has_ports(number))
    }
}

/// Whether packets of this protocol carry ports that a policy can name.
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

/// The protocol's name, or its number.
#[must_use]
pub fn name(protocol: u8) -> String {
    if protocol == ICMP {
        return "icmp".to_owned();
    }
    match NAMES.iter().find(|(_, number)| *number == protocol) {
        Some((name, _)) => (*name).to_owned(),
        None => protocol.to_string(),
    }
}
