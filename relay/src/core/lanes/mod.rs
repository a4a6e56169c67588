//! Lanes: two ends each, which prove their addresses; and the table by which data is switched.

mod cookie;
mod lane;
mod switch;

pub(super) use cookie::Cookies;
pub(super) use lane::{BoundTo, Lanes, Side, client_place, network_place};
pub use switch::{Forward, LaneEntry, Switch, SwitchChange, Verdict};
