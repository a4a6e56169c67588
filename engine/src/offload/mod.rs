//! Segmentation and checksums that the host leaves to us, and that we leave to the host.
//!
//! A TUN interface with `IFF_VNET_HDR` puts a [`VnetHeader`] before each packet. Outward, one read
//! brings up to 64 KiB of one TCP or UDP flow, which `split` cuts into packets of the path's
//! size. Inward, `coalesce` joins what was cut, so that the host's stack runs once for many.

pub(crate) mod checksum;
pub(crate) mod coalesce;
pub(crate) mod split;
mod vnet;

pub use vnet::{Gso, VNET_HEADER_LEN, VnetHeader};
