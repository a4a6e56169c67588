//! Several shards in one hub, each with peers of its own: what changes while traffic flows, where
//! packets are worked on, and what is refused.

mod overload;
mod port;
mod refusals;
mod reshard;
mod star;
mod steering;

use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
/// For a transfer on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(90);
/// Long enough for an echo between two hosts that talk, short enough to be spent in vain.
const MOMENT: Duration = Duration::from_millis(500);
