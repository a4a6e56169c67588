//! The ceiling for a switch's speed: UDP, sent back where it came from. The same headers are read
//! and written and the same checksum is mended, but nothing is looked up.

use super::{
    Frame, Sum,
    bytes::{number, part, put},
    frame::{IPV4, IPV6, ether_type, place},
    rewrite::{ONE_HOP, put_macs, swapped},
};
use crate::protocol;

/// Makes the frame its own answer; `None` if it is not UDP that has hops left.
#[inline(always)]
pub fn reflect<F: Frame>(frame: &mut F) -> Option<()> {
    match ether_type(frame)? {
        IPV4 => {
            let head: &mut [u8; place::PAYLOAD_V4] = frame.head_mut()?;
            let hops = head[place::IP + 8];
            if head[place::IP] != 0x45 || head[place::IP + 9] != protocol::UDP || hops <= 1 {
                return None;
            }
            let macs = swapped(head);
            put_macs(head, macs);
            let sum = Sum::of_checksum(part(head, place::IP + 10)).minus(ONE_HOP);
            put(head, place::IP + 8, [hops - 1]);
            put(head, place::IP + 10, sum.checksum());
            swap::<4>(head, place::IP + 12);
            swap::<2>(head, place::UDP_V4);
        }
        IPV6 => {
            let head: &mut [u8; place::PAYLOAD_V6] = frame.head_mut()?;
            let hops = head[place::IP + 7];
            let is_v6 = number(head, place::IP) >> 12 == 6;
            if !is_v6 || head[place::IP + 6] != protocol::UDP || hops <= 1 {
                return None;
            }
            let macs = swapped(head);
            put_macs(head, macs);
            put(head, place::IP + 7, [hops - 1]);
            swap::<16>(head, place::IP + 8);
            swap::<2>(head, place::UDP_V6);
        }
        _ => return None,
    }
    Some(())
}

/// Swaps two neighbours of `N` bytes.
#[inline(always)]
fn swap<const N: usize>(head: &mut [u8], at: usize) {
    let (one, other): ([u8; N], [u8; N]) = (part(head, at), part(head, at + N));
    put(head, at, other);
    put(head, at + N, one);
}
