//! The ceiling for a switch's speed: UDP to a port, sent back where it came from. The same headers
//! are parsed, and written with the same checksum mended, but nothing is looked up or judged.

use super::{
    Frame, Outer, Sum,
    bytes::{part, put},
    frame::{IPV4, IPV6, ether_type, place},
    rewrite::{put_macs, put_v6_addresses, swapped},
};
use crate::protocol;

/// Makes the frame its own answer; `None` if it is none to this port that has hops left.
#[inline(always)]
pub fn reflect<F: Frame>(frame: &mut F, port: u16) -> Option<()> {
    const ONE_HOP: u16 = Sum::new().minus(Sum::new().half([1, 0])).fold();
    match ether_type(frame)? {
        IPV4 => {
            let outer = Outer::parse_v4(frame, port).filter(|outer| outer.hops > 1)?;
            let head: &mut [u8; place::PAYLOAD_V4] = frame.head_mut()?;
            let macs = swapped(head);
            put_macs(head, macs);
            let [a, b] = Sum::mended(part(head, place::IP + 10), ONE_HOP);
            put(head, place::IP + 8, [outer.hops - 1, protocol::UDP, a, b]);
            let [a, b, c, d, back @ ..] = outer.pair.to_bytes();
            put(head, place::IP + 12, back);
            put(head, place::IP + 16, [a, b, c, d]);
            put(head, place::UDP_V4, outer.destination_port);
            put(head, place::UDP_V4 + 2, outer.source_port);
        }
        IPV6 => {
            let outer = Outer::parse_v6(frame, port).filter(|outer| outer.hops > 1)?;
            let head: &mut [u8; place::PAYLOAD_V6] = frame.head_mut()?;
            let macs = swapped(head);
            put_macs(head, macs);
            put(head, place::IP + 7, [outer.hops - 1]);
            put_v6_addresses(head, outer.destination(), outer.source());
            put(head, place::UDP_V6, outer.destination_port);
            put(head, place::UDP_V6 + 2, outer.source_port);
        }
        _ => return None,
    }
    Some(())
}
