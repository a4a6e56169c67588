//! What relays of one region say to each other, over QUIC.
//!
//! A frame is a type (1 byte) and a body. On a stream its length stands in front, as 4 bytes that
//! count type and body; in a QUIC datagram it stands alone. All integers are big-endian.
//!
//! ```text
//! dialler (of the two the one with the smaller id)    the other
//!   hello                                       ->
//!                                               <-    hello, or the end
//!   nodes, absent                              <->    nodes, absent                 (that stream)
//!   packets, beat, beat back                   <->    packets, beat, beat back      (datagrams)
//!   packets too long for a datagram            <->    the same             (a stream for each)
//! ```
//!
//! | type | frame | body |
//! |---|---|---|
//! | 64 | hello | version (2), from: relay id (4), to: relay id (4), signature (64) over [`hello_message`] |
//! | 65 | nodes | 1 to [`MAX_NOTICES`] times: network (16), key (32), what (1), milliseconds (4) |
//! | 66 | packets | network (16), from: key (32), to: key (32), segment (2), payload |
//! | 67 | absent | network (16), from: key (32), to: key (32) |
//! | 68 | beat | number (8) |
//! | 69 | beat back | the same number (8) |
//!
//! In `nodes`, what is 0 if the node has left, 1 if it is connected there, 2 if it is at home there;
//! the milliseconds say for how long, and are 0 for one that has left.

mod frame;

pub use frame::{Hello, MAX_NOTICES, MeshFrame, Notice, Presence};

use crate::ticket::{SIGNATURE_LEN, SigningKey, VerifyingKey};

/// The version of this protocol.
pub const MESH_VERSION: u16 = 1;
/// What QUIC calls this protocol.
pub const MESH_ALPN: &[u8] = b"nearwire-mesh/1";
/// The label under which both ends export 32 bytes from their TLS session; the context is empty.
pub const MESH_EXPORTER_LABEL: &[u8] = b"EXPORTER-nearwire-mesh-1";
/// What packets have in front of their payload: type, network, keys and segment.
pub const MESH_DATA_HEADER_LEN: usize = 83;

/// A relay of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

impl std::fmt::Display for RelayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a relay signs to be taken for itself by another: on this very connection, in this region. As
/// the ids are in their order, neither end can be sent its own signature back.
#[must_use]
pub fn hello_message(region: &str, from: RelayId, to: RelayId, exporter: &[u8; 32]) -> Vec<u8> {
    let ids = [from.0.to_be_bytes(), to.0.to_be_bytes()].concat();
    [b"nearwire mesh hello v1\0".as_slice(), exporter, &ids, region.as_bytes()].concat()
}

impl Hello {
    /// The hello of the relay `from`, which has this key, to `to`.
    #[must_use]
    pub fn new(
        region: &str,
        from: RelayId,
        to: RelayId,
        exporter: &[u8; 32],
        key: &SigningKey,
    ) -> Self {
        let signature: [u8; SIGNATURE_LEN] = key.sign(&hello_message(region, from, to, exporter));
        Self { version: MESH_VERSION, from, to, signature }
    }

    /// Whether it is by the relay that has this key, on the connection that exported these bytes.
    #[must_use]
    pub fn is_by(&self, key: &VerifyingKey, region: &str, exporter: &[u8; 32]) -> bool {
        self.version == MESH_VERSION
            && key.verifies(&hello_message(region, self.from, self.to, exporter), &self.signature)
    }
}
