//! The relay's switch in the kernel without the rest of the relay, and the reflector beside it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use dataplane::{
    Allowance, ClientPlace, Egress, Lane, LaneEnd, LaneId, LaneOptions, LaneSwitch, NetworkPlace,
    Rate, XdpMode,
};
use proto::lane::{LANE_HEADER_LEN, data_header};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use super::scene::{CLIENTS, Listens, RELAY};

/// Of lanes, as `proto::lane` has it.
pub(super) const PORT: u16 = 3478;
/// What stands before a packet of a lane, in bytes.
pub(super) const LANE_HEADER: u16 = 8;
const _: () = assert!(LANE_HEADER as usize == LANE_HEADER_LEN);
/// The first end's port.
const FIRST_PORT: u16 = 20_000;
/// Pairs for which there are lanes.
pub(super) const PAIRS: u16 = 1_000;
/// Bytes a second of each client: a limit to look at, which none reaches.
const RATE: u64 = 100_000_000_000;

/// Where the switch takes datagrams.
pub(super) const AT: Listens = Listens::Udp(PORT);

pub(super) fn load(port: u16) -> Result<LaneSwitch> {
    let answers = Some(Allowance::new(1_000, 1_000));
    let capacity = 2 * u32::from(PAIRS);
    let mut switch =
        LaneSwitch::load(LaneOptions { capacity, clients: capacity + 1, port, answers })?;
    switch.set_locals([RELAY.into()])?;
    Ok(switch)
}

/// The switch with a lane for each pair, on this interface of this namespace as long as it is kept.
pub(super) fn with_lanes(device: &str) -> Result<LaneSwitch> {
    let mut switch = load(PORT)?;
    // As the relay does it: each client has its rate, and each lane says by which interface packets leave.
    let rate = Rate::new(RATE, RATE / 10);
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).context("a socket")?;
    let interface = name_to_index(&any, device).context("the interface's index")?;
    let egress = Egress::Neighbour {
        interface,
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
    };
    for pair in 0..PAIRS {
        let ends = [2 * pair, 2 * pair + 1];
        for [here, there] in [ends, [ends[1], ends[0]]] {
            let lane = Lane::unbound(id(here), end(here)?).bound_to(id(there), end(there)?);
            let client = ClientPlace(u32::from(here) + 1);
            switch.insert(lane.of_client(client).leaving_by(egress))?;
            switch.allow_client(client, rate, NetworkPlace(0))?;
        }
    }
    switch.attach(device, XdpMode::Driver)?;
    Ok(switch)
}

/// The reflector, in the same way.
pub(super) fn with_reflector(device: &str) -> Result<LaneSwitch> {
    let mut switch = load(PORT)?;
    switch.attach_reflector(device, XdpMode::Driver)?;
    Ok(switch)
}

/// A datagram of a lane in IPv4 on Ethernet. Its checksums are mended and looked at by nobody, so any
/// will do.
pub(super) fn frame(from: SocketAddr, to: SocketAddr, lane: LaneId, size: u16) -> Result<Vec<u8>> {
    const UDP: u8 = 17;
    const HOPS: u8 = 255;
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { bail!("IPv4 is wanted") };
    let payload = [&data_header(lane)[..], &vec![7; size.into()]].concat();
    let [ip_len, udp_len] = [28, 8].map(|headers| size + LANE_HEADER + headers);
    let mut frame = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat();
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(ip_len.to_be_bytes());
    frame.extend([0x12, 0x34, 0x40, 0, HOPS, UDP, 0x56, 0x78]);
    frame.extend(from.ip().octets());
    frame.extend(to.ip().octets());
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    frame.extend([0x9a, 0xbc]);
    frame.extend(payload);
    Ok(frame)
}

/// A datagram of the first end, whose lane header and all are so long.
pub(super) fn first_frame(size: u16) -> Result<Vec<u8>> {
    frame(remote(0), (RELAY, PORT).into(), id(0), size)
}

fn id(end: u16) -> LaneId {
    LaneId::new(end.into(), 1)
}

fn remote(end: u16) -> SocketAddr {
    (CLIENTS, FIRST_PORT + end).into()
}

fn end(number: u16) -> Result<LaneEnd> {
    let remote = remote(number);
    LaneEnd::new(remote, RELAY.into()).context("two families")
}
