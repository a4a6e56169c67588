//! `cargo xtask lab`: the network of the whole-system tests, to walk around in.

use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::{Impairment, Rate};

use crate::packages;

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One-way delay of the far link, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Share of the far link's packets that are lost, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Rate of the far link, in megabits a second
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// Opens `a - r - b`, with the link from `r` to `b` as bad as asked, until standard input ends.
pub(crate) fn run(args: Args) -> Result<()> {
    ensure!((0.0..=100.0).contains(&args.loss), "--loss {}: not a percentage", args.loss);
    packages::ensure(&[("ip", "iproute2"), ("ping", "iputils-ping"), ("nsenter", "util-linux")])?;
    let impairment = Impairment {
        delay: Duration::from_millis(args.delay),
        loss: args.loss / 100.0,
        rate: args.rate.map(Rate::mbit),
        ..Impairment::NONE
    };
    netns_tests::interactive((impairment != Impairment::NONE).then_some(impairment))
}
