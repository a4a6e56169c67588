//! A mesh from `nearwire up` on: real control plane, relay and nodes, each in a namespace of its own.

mod many;
mod names;
mod outage;
mod paths;
mod policy;
mod rotation;
mod scene;
