//! `nearwire policy`.

mod absent;
mod apply;
mod check;
mod diff;
mod explain;
mod input;
mod live;
mod status;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Command {
    Check(check::Args),
    Test(test::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Status(status::Args),
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(args) => input::answer(args.json, args.run()),
            Self::Test(args) => input::answer(args.json, args.run()),
            Self::Explain(args) => input::answer(args.json, args.run()),
            Self::Diff(args) => input::answer(args.json, args.run()),
            Self::Apply(args) => args.run(),
            Self::Status(args) => args.run(),
        }
    }
}
