//! The packet, as the shared parser reads it.

use aya_ebpf::programs::TcContext;
use dataplane_common::PacketBytes;

/// A packet of a layer-3 device: the IP header is the first byte.
pub struct SkbBytes<'a>(pub &'a TcContext);

impl PacketBytes for SkbBytes<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset as usize).ok()
    }
}

/// Packets on the wire that this buffer stands for: a super-packet is many.
#[inline(always)]
pub fn segments(ctx: &TcContext) -> u64 {
    // SAFETY: the context pointer is the kernel's and valid while the program runs; the verifier
    // checks the access.
    let segments = unsafe { (*ctx.skb.skb).gso_segs };
    u64::from(segments).max(1)
}
