//! Somebody with the right to write to the interface lies about what is written. What the kernel
//! lets through harms nobody: the daemon lives, counts, and goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use dataplane_common::DropReason;
use netns_tests::wireguard::{INNER_B, Implementation, wired_hosts};
use netns_tests::{Family, Lab, answers, ping, tcp_transfer, wait_until};

use crate::packet::{Header, TCP, UDP, payload};
use crate::super_packet::Super;
use crate::{SOON, talking};

/// Fields of `struct virtio_net_hdr`, by their place.
const KIND: usize = 1;
const HEADER_LEN: usize = 2;
const SEGMENT: usize = 4;
const CHECKSUM_START: usize = 6;
const CHECKSUM_OFFSET: usize = 8;

#[test]
fn headers_that_lie_are_survived() -> Result<()> {
    let lab = Lab::new("lies")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts, Implementation::Nearwire)?;
    let (mut taken, mut refused) = (0, 0);
    for far in INNER_B {
        for protocol in [TCP, UDP] {
            let honest =
                Super { header: Header::to(far, protocol), payload: payload(3000), segment: 1000 };
            let writer = hosts[0].writer(a.name(), honest.header.family())?;
            for (field, value) in lies() {
                let mut vnet = honest.vnet();
                let value = u16::to_ne_bytes(value);
                let width = if field == KIND { 1 } else { 2 };
                vnet[field..field + width].copy_from_slice(&value[..width]);
                match writer.write(&vnet, &honest.whole()) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
            // A short packet, and one whose own headers lie.
            let vnet = honest.vnet();
            for len in [0, 1, 20, 39, 41, 60, 61] {
                let _ = writer.write(&vnet, &honest.whole()[..len]);
            }
            for at in 0..72 {
                let mut whole = honest.whole();
                whole[at] ^= 0xff;
                // Refused by the kernel or not: what counts is what comes after.
                let _ = writer.write(&vnet, &whole);
            }
        }
    }
    let dropped = a.dropped(DropReason::HostNotIp.label())?;
    println!("{taken} lies taken by the kernel, {refused} refused; {dropped} by nearwire");
    ensure!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: is this a test?");
    for tunnel in [&a, &b] {
        assert!(tunnel.process().is_running());
    }
    for far in INNER_B {
        ping(&hosts[0], far)?;
        tcp_transfer(&hosts[0], &hosts[1], far.parse()?, 4 << 20, SOON)?;
    }
    Ok(())
}

fn lies() -> Vec<(usize, u16)> {
    let mut lies: Vec<(usize, u16)> = (0..=0xff).map(|kind| (KIND, kind)).collect();
    let fields = [HEADER_LEN, SEGMENT, CHECKSUM_START, CHECKSUM_OFFSET];
    for value in
        [0, 1, 2, 6, 7, 8, 15, 16, 17, 19, 20, 21, 39, 40, 41, 60, 100, 2999, 3000, 3001, 3100]
    {
        lies.extend(fields.map(|field| (field, value)));
    }
    for value in [0x7fff, 0x8000, 0xfffe, 0xffff] {
        lies.extend(fields.map(|field| (field, value)));
    }
    lies
}

/// One read brings tens of thousands of packets: the longest super-packet, cut into single bytes.
#[test]
fn the_smallest_pieces_of_the_largest_super_packet() -> Result<()> {
    let lab = Lab::new("crumbs")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts, Implementation::Nearwire)?;
    let before = b.peer(&a)?.rx;
    let writer = hosts[0].writer(a.name(), Family::V4)?;
    for _ in 0..3 {
        let crumbs =
            Super { header: Header::to(INNER_B[0], TCP), payload: payload(65_000), segment: 1 };
        writer.write(&crumbs.vnet(), &crumbs.whole())?;
    }
    // A burst like that may take an echo with it, in the socket of the other end.
    wait_until(SOON, "an echo after the burst", || {
        answers(&hosts[0], INNER_B[0], Duration::from_millis(200)).unwrap_or(false)
    });
    let peak = peak_memory(a.process().id())?;
    println!("peak memory {peak} KiB, {} bytes at the other end", b.peer(&a)?.rx - before);
    assert!(peak < 64 << 10, "{peak} KiB");
    assert!(b.process().is_running());
    Ok(())
}

/// In KiB.
fn peak_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.map_or_else(|| anyhow::bail!("no VmHWM"), |number| Ok(number.parse()?))
}
