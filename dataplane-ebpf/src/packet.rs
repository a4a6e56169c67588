//! The packet, as the shared parser reads it.

use aya_ebpf::programs::TcContext;
use dataplane_common::{PacketBytes, Traffic};

/// A packet of a layer-3 device: the IP header is the first byte.
pub struct SkbBytes<'a>(pub &'a TcContext);

impl PacketBytes for SkbBytes<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset as usize).ok()
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        self.0.load(offset as usize).ok()
    }

    /// Read where they lie, which spares a call, if they are in the first buffer.
    #[inline(always)]
    fn front<const N: usize>(&self) -> Option<[u32; N]> {
        let start = self.0.data();
        if start + size_of::<[u32; N]>() > self.0.data_end() {
            return None;
        }
        // SAFETY: compared with the end, as the verifier checks once more. It refuses the program on
        // a machine that cannot read a word at any address.
        Some(unsafe { *(start as *const [u32; N]) })
    }
}

impl SkbBytes<'_> {
    /// What it stands for on the wire: a super-packet is many.
    #[inline(always)]
    pub fn traffic(&self) -> Traffic {
        let (skb, length) = (self.0.skb.skb, self.0.len());
        // SAFETY: the context pointer is the kernel's and valid while the program runs; the verifier
        // checks the access.
        let size = unsafe { (*skb).gso_size };
        let segments = if size == 0 {
            1
        } else {
            // SAFETY: as above.
            match unsafe { (*skb).gso_segs } {
                // One that came from a TUN device has its segments uncounted.
                0 => length.div_ceil(size),
                segments => segments,
            }
        };
        Traffic { packets: u64::from(segments), bytes: u64::from(length) }
    }
}
