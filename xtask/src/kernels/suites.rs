//! Which test programs run in the guests, and where cargo puts them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{process, workspace};

/// Tests that ask something of the kernel: a package, one of its test targets or all, a filter.
struct Suite {
    package: &'static str,
    target: Option<&'static str>,
    filter: &'static str,
}

const SUITES: &[Suite] = &[
    Suite { package: "dataplane", target: None, filter: "" },
    Suite { package: "netns-tests", target: Some("policy"), filter: "" },
];

/// A test program, with its arguments.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
}

/// Builds the suites and names their programs.
pub(crate) fn programs() -> Result<Vec<Program>> {
    // Whole-system tests start it, and look for it beside themselves.
    nearwire()?;
    let mut programs = Vec::new();
    for suite in SUITES {
        let mut build = workspace::cargo()?;
        build.args(["test", "-p", suite.package, "--no-run", "--message-format=json"]);
        if let Some(target) = suite.target {
            build.args(["--test", target]);
        }
        let built: Vec<_> = built(&mut build)?.into_iter().filter(|b| b.profile.test).collect();
        if built.is_empty() {
            bail!("{} has no test program: is the table in suites.rs old?", suite.package);
        }
        for artifact in built {
            let Some(program) = artifact.executable else { continue };
            let program = program.to_str().context("the target directory is not UTF-8")?;
            let mut command = vec![program.to_owned(), "--test-threads=1".to_owned()];
            command.extend((!suite.filter.is_empty()).then(|| suite.filter.to_owned()));
            let name = format!("tests of {} ({})", suite.package, artifact.target.name);
            programs.push(Program { name, command });
        }
    }
    Ok(programs)
}

/// Builds `nearwire` and returns its path.
pub(crate) fn nearwire() -> Result<PathBuf> {
    let mut build = workspace::cargo()?;
    build.args(["build", "-p", "agent", "--bin", "nearwire", "--message-format=json"]);
    let mut built = built(&mut build)?.into_iter();
    let program = built.find_map(|artifact| artifact.executable);
    program.context("building `agent` made no program `nearwire`")
}

/// What cargo says of one thing that it built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Runs a build and returns the programs that came of it.
fn built(build: &mut std::process::Command) -> Result<Vec<Artifact>> {
    let messages = process::stdout(build)?;
    // Messages of other kinds lack these fields.
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Ok(artifacts.filter(|artifact| artifact.executable.is_some()).collect())
}
