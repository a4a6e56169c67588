//! `cargo xtask test`: the tests of the workspace, and proof that they left nothing behind.

use anyhow::{Result, bail};

use crate::leftovers::{self, Machine};
use crate::matrix::{self, Matrix};
use crate::packages;
use crate::steps::{self, Run, Step};
use crate::{ci, process, workspace};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests whose names contain this, and none of the other checks
    filter: Option<String>,
    /// What runs once more in each cell of the matrix (shards x offload); without this, the tests of
    /// the packet path or, with a filter, none
    #[arg(long, value_enum, value_name = "WHICH")]
    matrix: Option<Matrix>,
}

/// The one crate whose tests build whole networks.
pub(crate) const SYSTEM: &str = "netns-tests";

/// More than there are cores: most of the whole-system tests wait for clocks.
pub(crate) const SIDE_BY_SIDE: &str = "--test-threads=4";

pub(crate) const BUILD: Step = Step {
    name: "build everything that is tested",
    mend: "mend what the compiler names",
    work: |run| {
        // Programs and tests by one command: by two, each would have crates built with features of its
        // own, and everything under us twice.
        process::run(workspace::cargo()?.args(["build", "--workspace", "--all-targets"]))?;
        run.before = Some(Machine::look()?);
        Ok(None)
    },
};

pub(crate) const QUICK: Step = Step {
    name: "unit, property and eBPF tests",
    mend: "run the failed test alone: `cargo xtask test NAME`",
    work: |run| tests(run, &["--workspace", "--exclude", SYSTEM], &[], &[]),
};

pub(crate) const WHOLE_SYSTEM: Step = Step {
    name: "whole-system tests in network namespaces",
    mend: "run the failed test alone: `cargo xtask test NAME`",
    work: |run| tests(run, &["-p", SYSTEM], &[SIDE_BY_SIDE], &[]),
};

pub(crate) const NOTHING_LEFT: Step = Step {
    name: "nothing is left behind",
    mend: "find the test that started it and give it an owner that ends it",
    work: |run| {
        let Some(before) = &run.before else {
            bail!("nobody looked at the machine before the tests");
        };
        leftovers::check(before).map(|()| None)
    },
};

/// Runs what CI runs or, with a filter, the tests that match.
pub(crate) fn run(args: Args) -> Result<()> {
    need_root()?;
    let Some(filter) = args.filter else {
        return ci::everything(args.matrix.unwrap_or(Matrix::PacketPath));
    };
    install()?;
    let matrix = args.matrix.unwrap_or(Matrix::None);
    let mut run = Run { filter: Some(filter), matrix, ..Run::default() };
    let mut list = vec![BUILD, QUICK, WHOLE_SYSTEM];
    list.extend(matrix::steps(matrix));
    list.push(NOTHING_LEFT);
    let (done, result) = steps::run(&list, &mut run);
    steps::summarise(&done);
    result
}

/// Installs what tests run beside our own programs.
pub(crate) fn install() -> Result<Option<String>> {
    packages::ensure(packages::FOR_TESTS)?;
    packages::unpack(packages::UNPACKED)?;
    packages::from_crates("boringtun-cli", "boringtun-cli", packages::BORINGTUN)?;
    Ok(None)
}

/// Refuses early, with the reason.
pub(crate) fn need_root() -> Result<()> {
    if !packages::is_root()? {
        bail!(
            "the tests make network namespaces, TUN devices and load eBPF programs: \
             run them as root (`sudo -E env PATH=\"$PATH\" cargo xtask test`)"
        );
    }
    Ok(())
}

/// `cargo test` with our own additions and a cell's variables; the remark says how many passed.
pub(crate) fn tests(
    run: &Run,
    which: &[&str],
    extra: &[&str],
    variables: &[(&str, &str)],
) -> Result<Option<String>> {
    let mut test = workspace::cargo()?;
    test.arg("test").args(which).arg("--no-fail-fast");
    test.env("PATH", packages::path_with_tools()?);
    test.env(leftovers::MARK, leftovers::mark()).envs(variables.iter().copied());
    test.arg("--").args(&run.filter).args(extra);
    let mut count = Count::default();
    process::watch(&mut test, |line| count.add(line))?;
    if run.filter.is_none() && count.passed == 0 {
        bail!("not one test ran");
    }
    Ok(Some(format!("{} passed, {} ignored", count.passed, count.ignored)))
}

/// What the test programs' own last lines add up to.
#[derive(Default)]
struct Count {
    passed: u64,
    ignored: u64,
}

impl Count {
    /// Takes `test result: ok. 3 passed; 0 failed; 1 ignored; ...` and passes over other lines.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let result = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in result.split("; ") {
            match part.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                Some(_) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn counts_add_up_over_test_programs() {
        let mut count = Count::default();
        count.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        count.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured");
        count.add("test some::name ... ok");
        assert_eq!((count.passed, count.ignored), (7, 1));
    }
}
