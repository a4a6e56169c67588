//! Frames, made and read without the code under test, and a relay with lanes of every kind.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use dataplane::{Allowance, Lane, LaneEnd, LaneId, LaneOptions, LaneSwitch, Nanos};
use dataplane_common::{
    Address, ClientBucket, ClientPlace, Frame, LaneAction, LaneTable, NetworkBucket, NetworkPlace,
    PacketBytes, PacketBytesMut, RelayTable, switch,
};

pub(crate) const PORT: u16 = 3478;
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const NIC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const RELAY4: &str = "192.0.2.1";
pub(crate) const RELAY6: &str = "2001:db8::1";

/// A UDP datagram in an Ethernet frame. What is not set is as an honest host would set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source_mac: [u8; 6],
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) hops: u8,
    pub(crate) traffic_class: u8,
    pub(crate) has_checksum: bool,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// From an end to the relay.
    pub(crate) fn new(source: &str, destination: &str, payload: &[u8]) -> Self {
        Self {
            destination_mac: NIC,
            source_mac: ROUTER,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            hops: 64,
            traffic_class: 0,
            has_checksum: true,
            payload: payload.to_vec(),
        }
    }

    /// As bytes.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut udp = self.source.port().to_be_bytes().to_vec();
        udp.extend(self.destination.port().to_be_bytes());
        let length = u16::try_from(8 + self.payload.len()).unwrap();
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        if self.has_checksum {
            let sum = match udp_checksum(self.source.ip(), self.destination.ip(), &udp) {
                0 => 0xffff,
                sum => sum,
            };
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let mut frame = [self.destination_mac, self.source_mac].concat();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                let [l0, l1] = (length + 20).to_be_bytes();
                let tos = self.traffic_class;
                let mut ip = vec![0x45, tos, l0, l1, 0x12, 0x34, 0x40, 0, self.hops, 17, 0, 0];
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let sum = checksum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                let class = self.traffic_class;
                frame.extend([0x60 | (class >> 4), (class << 4) | 0x0a, 0xbc, 0xde]);
                frame.extend(length.to_be_bytes());
                frame.extend([17, self.hops]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            mixed => panic!("two families: {mixed:?}"),
        }
        frame.extend(udp);
        frame
    }

    /// Reads a frame, and holds every length and checksum in it to be right.
    pub(crate) fn read(frame: &[u8]) -> Self {
        let (source, destination, ip_header, hops, traffic_class) = match frame[12..14] {
            [0x08, 0x00] => {
                let ip = &frame[14..34];
                assert_eq!((ip[0], ip[9]), (0x45, 17), "{frame:02x?}");
                assert_eq!(checksum(ip), 0, "IPv4 checksum of {frame:02x?}");
                assert_eq!(usize::from(be16(&ip[2..])), frame.len() - 14, "IPv4 length");
                let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
                (v4(12), v4(16), 20, ip[8], ip[1])
            }
            [0x86, 0xdd] => {
                let ip = &frame[14..54];
                assert_eq!((ip[0] >> 4, ip[6]), (6, 17), "{frame:02x?}");
                assert_eq!(usize::from(be16(&ip[4..])), frame.len() - 54, "IPv6 length");
                let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
                (v6(8), v6(24), 40, ip[7], (ip[0] << 4) | (ip[1] >> 4))
            }
            _ => panic!("not IP: {frame:02x?}"),
        };
        let udp = &frame[14 + ip_header..];
        assert_eq!(usize::from(be16(&udp[4..])), udp.len(), "UDP length");
        let has_checksum = udp[6..8] != [0, 0];
        assert!(has_checksum || source.is_ipv4(), "IPv6 without a checksum: {frame:02x?}");
        if has_checksum {
            assert_eq!(udp_checksum(source, destination, udp), 0, "UDP checksum of {frame:02x?}");
        }
        Self {
            destination_mac: frame[..6].try_into().unwrap(),
            source_mac: frame[6..12].try_into().unwrap(),
            source: SocketAddr::new(source, be16(udp)),
            destination: SocketAddr::new(destination, be16(&udp[2..])),
            hops,
            traffic_class,
            has_checksum,
            payload: udp[8..].to_vec(),
        }
    }
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// RFC 1071, word by word.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn udp_checksum(source: IpAddr, destination: IpAddr, udp: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend([0, 17]);
    bytes.extend(u16::try_from(udp.len()).unwrap().to_be_bytes());
    bytes.extend(udp);
    checksum(&bytes)
}

/// A lane's data message.
pub(crate) fn data(id: u32, payload: &[u8]) -> Vec<u8> {
    message(0, id, payload)
}

pub(crate) fn message(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xb7, 0x6e, 0x77, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn end(remote: &str, relay: &str) -> LaneEnd {
    LaneEnd::new(remote.parse().unwrap(), relay.parse::<SocketAddr>().unwrap().ip()).unwrap()
}

/// The number of the lane with this place.
pub(crate) const fn number(place: u32) -> u32 {
    LaneId::new(place, 0x5a5).0
}

/// The end of a lane at `remote`, whose other end has this number at `to`.
pub(crate) fn lane(id: u32, remote: &str, onward: u32, to: &str) -> Lane {
    let relay = |remote: &str| match remote.parse().unwrap() {
        SocketAddr::V4(_) => format!("{RELAY4}:{PORT}"),
        SocketAddr::V6(_) => format!("[{RELAY6}]:{PORT}"),
    };
    Lane::unbound(LaneId(id), end(remote, &relay(remote)))
        .bound_to(LaneId(onward), end(to, &relay(to)))
}

/// As many lanes and answers as the tests ask for.
pub(crate) fn options() -> LaneOptions {
    LaneOptions {
        capacity: 1_000,
        clients: 1_000,
        port: PORT,
        answers: Some(Allowance::new(1_000_000, 1_000_000)),
    }
}

/// Loading takes privileges: without them the tests fail and say so.
pub(crate) fn load(lanes: impl IntoIterator<Item = Lane>) -> LaneSwitch {
    let mut switch = LaneSwitch::load(options()).unwrap_or_else(|error| panic!("{error}"));
    switch.set_locals([RELAY4, RELAY6].map(|address| address.parse().unwrap())).unwrap();
    for lane in lanes {
        switch.insert(lane).unwrap();
    }
    switch
}

/// The same switch in this process: the kernel's is held to it.
pub(crate) struct Model {
    lanes: HashMap<LaneId, Lane>,
}

impl Model {
    pub(crate) fn new(lanes: impl IntoIterator<Item = Lane>) -> Self {
        Self { lanes: lanes.into_iter().map(|lane| (lane.id(), lane)).collect() }
    }

    /// What becomes of a frame, and what it is then.
    pub(crate) fn switch(&self, frame: &[u8]) -> (LaneAction, Vec<u8>) {
        let mut frame = Bytes(frame.to_vec());
        let action = switch(&mut frame, &self);
        (action, frame.0)
    }
}

impl<'a> LaneTable for &'a Model {
    type Entry = &'a Lane;

    fn find(&self, id: LaneId) -> Option<&'a Lane> {
        self.lanes.get(&id)
    }

    fn client(&self, _: ClientPlace) -> Option<&ClientBucket> {
        None
    }

    fn network(&self, _: NetworkPlace) -> Option<&NetworkBucket> {
        None
    }

    fn now(&self) -> Nanos {
        Nanos::from_secs(1)
    }
}

impl RelayTable for &Model {
    fn port(&self) -> u16 {
        PORT
    }

    fn is_local(&self, address: &Address) -> bool {
        let local = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        [RELAY4, RELAY6].into_iter().any(|text| local(text) == *address)
    }

    fn take_answer(&self, _: &Address) -> Option<bool> {
        Some(true)
    }
}

/// A frame in memory of its own.
struct Bytes(Vec<u8>);

impl PacketBytes for Bytes {
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.read(offset)
    }
}

impl PacketBytesMut for Bytes {
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> bool {
        self.0.write(offset, bytes)
    }
}

impl Frame for Bytes {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        self.0.first_chunk()
    }

    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.first_chunk_mut()
    }

    fn shorten(&mut self, by: i32) -> bool {
        match usize::try_from(by) {
            Ok(by) if by <= self.0.len() => drop(self.0.drain(..by)),
            Ok(_) => return false,
            Err(_) => drop(self.0.splice(..0, vec![0; by.unsigned_abs() as usize])),
        }
        true
    }
}
