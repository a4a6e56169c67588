//! Shell completions and manual pages of a program, made of its own command line. So they are always
//! those of the program that is there.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Command, Subcommand};
use clap_complete::Shell;

/// How our programs end; part of their help.
pub const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.";

/// The commands that every program of ours has.
#[derive(Clone, Debug, Subcommand)]
pub enum Manual {
    /// Print the completions of a shell
    ///
    /// For bash: `... completions bash > /usr/share/bash-completion/completions/...`, or `source <(...)`.
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a directory, one for each command
    Man {
        /// The directory, which is made if it is not there
        directory: PathBuf,
    },
}

impl Manual {
    /// Makes what was asked for, of this program.
    pub fn run(&self, mut program: Command) -> Result<()> {
        match self {
            Self::Completions { shell } => {
                let name = program.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut program, name, &mut script);
                std::io::stdout().write_all(&script).context("writing the completions")
            }
            Self::Man { directory } => std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(program, directory))
                .with_context(|| format!("writing manual pages to {}", directory.display())),
        }
    }
}
