//! Which socket of the group a datagram from the network goes to.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _, bindings::sk_action::SK_PASS, helpers::bpf_skb_load_bytes,
    macros::sk_reuseport, programs::SkReuseportContext,
};
use dataplane_common::PacketBytes;

use crate::maps::{SOCKETS, parameters};

/// Where a shard has no socket, or nothing is set up yet, the kernel chooses by its own hash: the
/// shard that then gets the datagram hands it over. Nothing is dropped here.
///
/// Datagrams that the kernel has joined (UDP GRO) go together, where the first of them belongs.
#[sk_reuseport]
pub fn steer_datagrams(ctx: SkReuseportContext) -> u32 {
    if let Some(parameters) = parameters() {
        let shard = parameters.shard_of(&UdpPayload(&ctx));
        let _ = SOCKETS.select_reuseport(&ctx, shard.0);
    }
    SK_PASS
}

/// What the UDP header is followed by.
struct UdpPayload<'a>(&'a SkReuseportContext);

impl PacketBytes for UdpPayload<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // The program's view begins with the UDP header.
        const UDP_HEADER: u32 = 8;
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the context is the kernel's, the buffer has N bytes, and the helper checks the
        // datagram's bounds.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.0.as_ptr(),
                UDP_HEADER + offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        // SAFETY: the helper succeeded, so it has written all of the buffer.
        (result == 0).then(|| unsafe { bytes.assume_init() })
    }
}
