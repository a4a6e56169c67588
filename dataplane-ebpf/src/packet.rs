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
    let (segments, size) = unsafe { ((*ctx.skb.skb).gso_segs, (*ctx.skb.skb).gso_size) };
    // A super-packet that came from a TUN device has its segments uncounted.
    let segments = if segments == 0 && size != 0 { ctx.len().div_ceil(size) } else { segments };
    u64::from(segments).max(1)
}
