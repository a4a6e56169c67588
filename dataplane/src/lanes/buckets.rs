//! What clients and networks may send by lanes: the kernel counts what they have used of it.

use aya::maps::{Array, MapData};
use dataplane_common::{ClientBucket, ClientPlace, NetworkBucket, NetworkPlace, Rate};

use super::{LaneSwitch, failed, object};
use crate::Error;

/// A bucket, as bytes.
type Bucket = [u8; 32];

impl LaneSwitch {
    /// Lets a client send so fast by all its lanes, as one of this network. What it has used stays
    /// used.
    ///
    /// # Errors
    ///
    /// When there is no such place, or the map cannot be read or written.
    pub fn allow_client(
        &mut self,
        place: ClientPlace,
        rate: Rate,
        network: NetworkPlace,
    ) -> Result<(), Error> {
        self.change(object::CLIENTS, place.0, |bucket| {
            let client = client(bucket);
            client.allow(rate, network);
            client_bytes(client)
        })
    }

    /// Lets a network send so fast by all lanes of its clients. What it has used stays used.
    ///
    /// # Errors
    ///
    /// When there is no such place, or the map cannot be read or written.
    pub fn allow_network(&mut self, place: NetworkPlace, rate: Rate) -> Result<(), Error> {
        self.change(object::NETWORKS, place.0, |bucket| {
            let network = network(bucket);
            network.allow(rate);
            network_bytes(network)
        })
    }

    /// What a packet pays while this is done is lost: one in a rare moment is free.
    fn change(
        &mut self,
        name: &'static str,
        place: u32,
        change: impl FnOnce(Bucket) -> Bucket,
    ) -> Result<(), Error> {
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut map: Array<&mut MapData, Bucket> =
            Array::try_from(map).map_err(|_| Error::Object { name })?;
        let bucket = map.get(&place, 0).map_err(|error| failed(name, "read", &error))?;
        map.set(place, change(bucket), 0).map_err(|error| failed(name, "write", &error))
    }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn client(bytes: Bucket) -> ClientBucket {
    // SAFETY: of the same size, and every field is a number for which any bits will do.
    unsafe { std::mem::transmute(bytes) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn client_bytes(client: ClientBucket) -> Bucket {
    // SAFETY: of the same size, and without padding.
    unsafe { std::mem::transmute(client) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn network(bytes: Bucket) -> NetworkBucket {
    // SAFETY: as above.
    unsafe { std::mem::transmute(bytes) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn network_bytes(network: NetworkBucket) -> Bucket {
    // SAFETY: as above.
    unsafe { std::mem::transmute(network) }
}
