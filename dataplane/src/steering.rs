//! Steering: both directions of a peer's traffic arrive at the shard that owns the peer.
//!
//! Out: a program of the tunnel interface picks the queue by the packet's destination. In: a
//! program of the socket group picks the socket by the slot in the message's receiver index. Both
//! are hints that save work. Where they cannot tell, or are behind a change, a packet arrives at
//! another shard, which hands it over; nothing is dropped.

mod networks;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, LpmTrie, MapData, ReusePortSockArray},
    programs::{Program, ProgramError, SkReuseport, SocketFilter},
};
use dataplane_common::{IndexMask, NetworkPrefix, ShardId, Shards, Slot, SteeringParameters};
use ipnet::IpNet;

use crate::{Error, error::chain, object};

/// The steering programs in the kernel, and what they go by.
///
/// The kernel keeps the programs where they were put, even when this is dropped: on the tunnel
/// interface and in the socket group, for as long as these live.
#[derive(Debug)]
pub struct Steering {
    ebpf: Ebpf,
    mask: IndexMask,
    /// What the kernel's table holds.
    networks: BTreeMap<NetworkPrefix, Slot>,
}

impl Steering {
    /// Loads the programs. They see no packets before they are put in place.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the programs.
    pub fn load(shards: Shards, mask: IndexMask) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            .load(object::STEERING)
            .map_err(|error| Error::Load { reason: chain(&error) })?;
        load_program(&mut ebpf, object::STEER_TUNNEL, SocketFilter::load)?;
        load_program(&mut ebpf, object::STEER_DATAGRAMS, SkReuseport::load)?;
        let mut steering = Self { ebpf, mask, networks: BTreeMap::new() };
        steering.set_shards(shards)?;
        Ok(steering)
    }

    /// Steers to this many shards from the next packet on.
    ///
    /// When there are to be more, give the new ones their queues and sockets first; when fewer,
    /// take those of the last ones away afterwards.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn set_shards(&mut self, shards: Shards) -> Result<(), Error> {
        let name = object::PARAMETERS;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut parameters =
            Array::<&mut MapData, [u32; 2]>::try_from(map).map_err(|_| Error::Object { name })?;
        let words = SteeringParameters { shards, mask: self.mask }.to_words();
        parameters.set(0, words, 0).map_err(|error| Error::Map {
            map: name,
            action: "write",
            reason: chain(&error),
        })
    }

    /// The program for `TUNSETSTEERINGEBPF` of the tunnel interface.
    ///
    /// A shard's queue is the one with its number: queues are numbered in the order in which they
    /// were opened, and when one is closed the last one takes its number.
    ///
    /// # Errors
    ///
    /// When the embedded object is not the right one.
    pub fn tunnel_program(&self) -> Result<BorrowedFd<'_>, Error> {
        let name = object::STEER_TUNNEL;
        let program: &SocketFilter = self.program(name)?;
        let fd = program.fd().map_err(|error| refused(name, &error))?;
        Ok(fd.as_fd())
    }

    /// Makes this socket the one to which the shard's datagrams go. Closing it ends that.
    ///
    /// It must be bound, in an `SO_REUSEPORT` group of two or more, and no other shard's. A socket
    /// that the shard had before is replaced: so all can move to another port.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the socket, or the shard is beyond
    /// [`MAX_SHARDS`](dataplane_common::MAX_SHARDS).
    pub fn set_socket(&mut self, shard: ShardId, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let name = object::SOCKETS;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut sockets = ReusePortSockArray::<&mut MapData>::try_from(map)
            .map_err(|_| Error::Object { name })?;
        sockets
            .set(shard.0, &socket, 0)
            .map_err(|error| Error::ShardSocket { shard, reason: chain(&error) })
    }

    /// Puts the program in charge of the whole group of this socket.
    ///
    /// # Errors
    ///
    /// When the socket is in no `SO_REUSEPORT` group: a single socket needs no steering.
    pub fn attach_sockets(&self, any_of_group: BorrowedFd<'_>) -> Result<(), Error> {
        let program: &SkReuseport = self.program(object::STEER_DATAGRAMS)?;
        program.attach(any_of_group).map_err(|error| Error::SocketGroup { reason: chain(&error) })
    }

    /// Makes the table of networks equal to this one, touching only what differs. Where a network
    /// comes twice, the last one counts.
    ///
    /// # Errors
    ///
    /// When the kernel has no room for it. Then the table is partly changed, and giving it again
    /// does the rest.
    pub fn set_networks(
        &mut self,
        networks: impl IntoIterator<Item = (IpNet, Slot)>,
    ) -> Result<(), Error> {
        let name = object::NETWORKS;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut trie = LpmTrie::try_from(map).map_err(|_| Error::Object { name })?;
        let wanted = networks.into_iter().map(|(net, slot)| (networks::prefix(net), slot));
        networks::change(&mut trie, &mut self.networks, &wanted.collect())
    }

    fn program<'a, P>(&'a self, name: &'static str) -> Result<&'a P, Error>
    where
        &'a P: TryFrom<&'a Program>,
    {
        let program = self.ebpf.program(name).and_then(|program| program.try_into().ok());
        program.ok_or(Error::Object { name })
    }
}

fn load_program<'a, P: 'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
    load: impl FnOnce(&'a mut P) -> Result<(), ProgramError>,
) -> Result<(), Error>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    load(program.ok_or(Error::Object { name })?).map_err(|error| refused(name, &error))
}

fn refused(program: &'static str, error: &ProgramError) -> Error {
    Error::Program { program, reason: chain(error) }
}
