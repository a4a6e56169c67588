//! The matrix: whole-system tests once more, with other shards and offloads than the default.
//!
//! A cell is some variables of the environment. Tests hand theirs on to every `nearwire` that they
//! start, `wg-quick`'s too, and it reads them where the command line says nothing.

use anyhow::Result;
use clap::ValueEnum;

use crate::steps::{Run, Step};
use crate::test;

/// What runs in the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Matrix {
    /// Nothing
    #[default]
    None,
    /// The tests that send packets through tunnels
    PacketPath,
    /// All whole-system tests
    All,
}

/// The test targets of the packet path.
const PACKET_PATH: [&str; 4] = ["transparent", "interop", "drops", "policy"];
/// They wait for timers that no cell changes, or move gigabytes for the sake of the other end.
const LONG: [&str; 6] =
    ["--skip", "by_the_clock", "--skip", "is_found_again", "--skip", "a_gigabyte_arrives_as_sent"];

const MEND: &str = "run the failed test alone, with the variables of this cell";

/// With offload and a shard for each core, the default, all tests run anyway.
const CELLS: [Step; 3] = [
    Step {
        name: "matrix: NEARWIRE_SHARDS=1 NEARWIRE_NO_OFFLOAD=false",
        mend: MEND,
        work: |run| cell(run, "1", "false"),
    },
    Step {
        name: "matrix: NEARWIRE_SHARDS=1 NEARWIRE_NO_OFFLOAD=true",
        mend: MEND,
        work: |run| cell(run, "1", "true"),
    },
    Step {
        name: "matrix: NEARWIRE_SHARDS=2 NEARWIRE_NO_OFFLOAD=true",
        mend: MEND,
        work: |run| cell(run, "2", "true"),
    },
];

/// The steps: one for each cell, if there is anything to run in it.
pub(crate) fn steps(matrix: Matrix) -> impl Iterator<Item = Step> {
    CELLS.into_iter().filter(move |_| matrix != Matrix::None)
}

fn cell(run: &Run, shards: &str, no_offload: &str) -> Result<Option<String>> {
    let mut which = vec!["-p", test::SYSTEM];
    let mut extra = vec![test::SIDE_BY_SIDE];
    if run.matrix == Matrix::PacketPath {
        which.extend(PACKET_PATH.into_iter().flat_map(|target| ["--test", target]));
        extra.extend(LONG);
    }
    let variables = [("NEARWIRE_SHARDS", shards), ("NEARWIRE_NO_OFFLOAD", no_offload)];
    test::tests(run, &which, &extra, &variables)
}
