//! The configuration protocol of a running nearwire: by the real `wg`, by hand, and under traffic.

mod live;
mod requests;
mod tool;

use proto::key::PublicKey;

/// A key as the protocol writes it.
fn hex(base64: &str) -> String {
    PublicKey::from_base64(base64).expect("a key of wg").to_hex()
}
