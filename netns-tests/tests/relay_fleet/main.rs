//! Relays of a region as real processes, each in a namespace of its own, and nodes that use them.

mod certificate;
mod connect;
mod drain;
mod failover;
mod gaps;
mod lanes;
mod mesh;
mod node;
mod relays;
mod tunnel;
