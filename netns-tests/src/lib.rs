//! A lab of network namespaces, as a library: hosts, routers, switches, links that can be made bad,
//! and guards for what runs in them. Whole-system tests, the demo and the benches stand on it.
//!
//! Linux only, and root (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`).
//!
//! **Nothing can be left behind.** Namespaces are anonymous: only a file descriptor of this process
//! keeps one alive, interfaces are created inside it, and children carry a parent-death signal. So
//! a panic, an `abort` and a `kill -9` all end in the same clean machine.
//!
//! The kernels we test on have no netem; [`LinkBuilder::impaired`] joins two hosts by a userspace
//! wire instead. Its schedule ([`wire::Wire`]) is pure: frames, `now` and a random generator in,
//! frames out.
//!
//! ```no_run
//! use std::time::Duration;
//! use netns_tests::{Impairment, Lab, tcp_transfer};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::new("example")?;
//! let (a, b) = (lab.host("a")?, lab.host("b")?);
//! let link = lab
//!     .link(&a, &b)
//!     .at_a(&["10.0.0.1/24", "fd00::1/64"])
//!     .at_b(&["10.0.0.2/24", "fd00::2/64"])
//!     .impaired(Impairment { delay: Duration::from_millis(5), ..Impairment::NONE }, 7)?;
//! a.run(["ping", "-c", "1", "10.0.0.2"])?;
//! tcp_transfer(&a, &b, "fd00::2".parse()?, 1 << 20, Duration::from_secs(5))?;
//! link.set(Impairment { loss: 0.05, ..Impairment::NONE });
//! # Ok(())
//! # }
//! ```

mod dialler;
mod flood;
mod host;
mod impaired;
mod interactive;
mod lab;
mod link;
mod machine;
pub mod mesh;
mod namespace;
mod packet_socket;
mod ping;
mod process;
mod remote_peers;
mod round_trips;
mod socket_option;
mod steady;
mod sys;
mod tcp_connects;
mod traffic;
mod tun;
mod unpacked;
mod wait;
pub mod wire;
pub mod wireguard;

pub use dialler::TcpDialler;
pub use flood::{Delivery, Load, flood};
pub use host::Host;
pub use impaired::{Direction, ImpairedLink};
pub use interactive::interactive;
pub use lab::{Footprint, Lab, require_root};
pub use link::{LinkBuilder, Veth, finish_checksums};
pub use machine::Machine;
pub use packet_socket::{Family, Sniffer, Writer};
pub use ping::{PingCount, Pinger, answers, ping, ping_sized};
pub use process::{Output, Process};
pub use remote_peers::RemotePeers;
pub use round_trips::{Questions, udp_round_trips};
pub use socket_option::set_socket_option;
pub use steady::{Arrivals, Pace, SteadyDatagrams, SteadyQuestions, SteadyStream};
pub use tcp_connects::{Connects, tcp_connects};
pub use traffic::{
    Transfer, UdpEcho, can_connect, tcp_transfer, udp_one_way, udp_round_trip, udp_socket,
};
pub use tun::Tun;
pub use unpacked::unpacked;
pub use wait::wait_until;
pub use wire::{Counters, Impairment, Rate};
