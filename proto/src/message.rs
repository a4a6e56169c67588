//! The outside of WireGuard messages: what can be read without a key.
//!
//! All integers are little-endian. Layouts are those of the WireGuard paper, section 5.4:
//!
//! | message | bytes | first word | then |
//! |---|---|---|---|
//! | handshake initiation | 148 | 1 | sender index (4), ..., `mac1` (16), `mac2` (16) |
//! | handshake response | 92 | 2 | sender index (4), receiver index (4), ..., `mac1`, `mac2` |
//! | cookie reply | 64 | 3 | receiver index (4), nonce (24), sealed cookie (32) |
//! | data | 32 or more | 4 | receiver index (4), counter (8), sealed packet (16 or more) |

/// The length of a handshake initiation, in bytes.
pub const INITIATION_LEN: usize = 148;
/// The length of a handshake response, in bytes.
pub const RESPONSE_LEN: usize = 92;
/// The length of a cookie reply, in bytes.
pub const COOKIE_REPLY_LEN: usize = 64;
/// What a data message adds to the packet inside: header (16) and tag (16), in bytes.
pub const DATA_OVERHEAD: usize = 32;

/// Names a session or a handshake of the side that chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionIndex(pub u32);

/// What a datagram on the WireGuard port claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Someone asks for a session.
    Initiation {
        /// The index that the initiator chose.
        sender: SessionIndex,
    },
    /// The answer to our initiation.
    Response {
        /// The index that the responder chose.
        sender: SessionIndex,
        /// The index that we chose.
        receiver: SessionIndex,
    },
    /// "I am busy: prove your address, then ask again."
    CookieReply {
        /// The index that we chose.
        receiver: SessionIndex,
    },
    /// A sealed packet; a keepalive when there is nothing inside.
    Data {
        /// The index that we chose.
        receiver: SessionIndex,
        /// The sender's message counter, which is the nonce.
        counter: u64,
    },
}

impl Message {
    /// Reads the outside of a datagram; `None` if it cannot be a WireGuard message.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        // The type's three reserved bytes are zero, so type and reserve are one word.
        match (word(datagram, 0)?, datagram.len()) {
            (1, INITIATION_LEN) => Some(Self::Initiation { sender: index(datagram, 4)? }),
            (2, RESPONSE_LEN) => {
                Some(Self::Response { sender: index(datagram, 4)?, receiver: index(datagram, 8)? })
            }
            (3, COOKIE_REPLY_LEN) => Some(Self::CookieReply { receiver: index(datagram, 4)? }),
            (4, DATA_OVERHEAD..) => Some(Self::Data {
                receiver: index(datagram, 4)?,
                counter: u64::from_le_bytes(*datagram.get(8..)?.first_chunk()?),
            }),
            _ => None,
        }
    }
}

impl Message {
    /// The index of ours that it names; an initiation names none.
    #[must_use]
    pub const fn receiver(self) -> Option<SessionIndex> {
        match self {
            Self::Initiation { .. } => None,
            Self::Response { receiver, .. }
            | Self::CookieReply { receiver }
            | Self::Data { receiver, .. } => Some(receiver),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn index(bytes: &[u8], at: usize) -> Option<SessionIndex> {
    word(bytes, at).map(SessionIndex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        bytes
    }

    #[test]
    fn lengths_are_exact() {
        for (kind, len) in [(1, INITIATION_LEN), (2, RESPONSE_LEN), (3, COOKIE_REPLY_LEN)] {
            assert!(Message::parse(&message(kind, len)).is_some());
            assert!(Message::parse(&message(kind, len - 1)).is_none());
            assert!(Message::parse(&message(kind, len + 1)).is_none());
        }
        assert!(Message::parse(&message(4, DATA_OVERHEAD)).is_some());
        assert!(Message::parse(&message(4, DATA_OVERHEAD - 1)).is_none());
        assert!(Message::parse(&message(5, DATA_OVERHEAD)).is_none());
    }

    #[test]
    fn fields_are_little_endian() {
        let mut data = message(4, 40);
        data[4..8].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
        data[8] = 9;
        let receiver = SessionIndex(0x1234_5678);
        assert_eq!(Message::parse(&data), Some(Message::Data { receiver, counter: 9 }));
    }

    proptest! {
        #[test]
        fn reserved_bytes_must_be_zero(at in 1usize..4, value in 1u8..) {
            let mut bytes = message(4, DATA_OVERHEAD);
            bytes[at] = value;
            prop_assert_eq!(Message::parse(&bytes), None);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }
    }
}
