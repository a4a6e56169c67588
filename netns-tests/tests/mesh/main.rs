//! A mesh from `nearwire up` on: real control plane, relay and nodes, each in a namespace of its own.

mod clock;
mod commands;
mod fleet;
mod forced;
mod hostile;
mod lanes;
mod lasting;
mod lengths;
mod live;
mod many;
mod mapped;
mod moves;
mod names;
mod nats;
mod netcheck;
mod outage;
mod outside;
mod paths;
mod peer_relays;
mod policy;
mod quiet;
mod renewal;
mod revocation;
mod rotation;
mod scene;
mod watching;
