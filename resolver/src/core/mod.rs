//! What is answered, what is asked elsewhere, what a `resolv.conf` says: no sockets, no files, no
//! clock.

mod judge;
mod plan;
mod reply;
mod resolv_conf;
mod reverse;
mod silence;
mod zone;

pub use judge::{LONGEST_QUERY, Verdict, Way, judge};
pub use plan::{Plan, Routes};
pub use reply::{Expected, Reply, with_id};
pub use resolv_conf::{Ours, ResolvConf, give_back, is_taken, take_over};
pub use silence::Silence;
pub use zone::{BadName, Zone};
