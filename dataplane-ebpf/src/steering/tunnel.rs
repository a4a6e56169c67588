//! Which queue of the tunnel interface a packet of the host goes to.

use aya_ebpf::{btf_maps::lpm_trie::Key, macros::socket_filter, programs::SkBuffContext};
use dataplane_common::{NetworkKey, NetworkPrefix, PacketBytes, ShardId, Slot};

use crate::maps::{NETWORKS, parameters};

/// The kernel takes the number modulo the queues that there are, so a wrong one loses nothing: any
/// shard can hand a packet over.
#[socket_filter]
pub fn steer_tunnel(ctx: SkBuffContext) -> i64 {
    match owner(&ctx) {
        Some(shard) => i64::from(shard.0),
        None => i64::from(ShardId::FIRST.0),
    }
}

#[inline(always)]
fn owner(ctx: &SkBuffContext) -> Option<ShardId> {
    let destination = NetworkPrefix::destination(&HostPacket(ctx))?;
    let key: Key<NetworkKey> = Key::new(destination.bits, destination.key);
    let slot = Slot(*NETWORKS.get(&key)?);
    Some(parameters()?.shards.owner(slot))
}

/// A packet of a layer-3 device: the IP header is the first byte.
struct HostPacket<'a>(&'a SkBuffContext);

impl PacketBytes for HostPacket<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset as usize).ok()
    }
}
