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

#[cfg(test)]
mod tests {
    use std::process::{Command as Process, Stdio};

    use clap::CommandFactory as _;

    use super::*;

    /// A program
    #[derive(clap::Parser)]
    #[command(name = "program", version, after_help = EXIT_CODES)]
    struct Program {
        #[command(subcommand)]
        command: Manual,
    }

    #[test]
    fn each_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("nearwire-man-{}", std::process::id()));
        Manual::Man { directory: directory.clone() }.run(Program::command()).unwrap();
        let mut pages: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|page| page.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        let page = std::fs::read_to_string(directory.join("program.1")).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(pages, ["program-completions.1", "program-man.1", "program.1"]);
        assert!(page.contains("Exit codes: 0 done"), "{page}");
    }

    #[test]
    fn bash_can_read_its_completions() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Program::command(), "program", &mut script);
        let mut bash = Process::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(&script).unwrap();
        assert!(bash.wait().unwrap().success());
        assert!(String::from_utf8(script).unwrap().contains("completions"));
    }

    /// As `nearwire` has it, which takes any other word for an interface's name.
    #[derive(clap::Parser)]
    struct Bare {
        #[command(subcommand)]
        command: Any,
    }

    #[derive(clap::Subcommand)]
    enum Any {
        #[command(flatten)]
        Manual(Manual),
        #[command(external_subcommand)]
        Bare(Vec<String>),
    }

    #[test]
    fn the_commands_are_found_beside_a_bare_word() {
        use clap::Parser as _;
        let parsed = |word| Bare::parse_from(["program", word, "bash"]).command;
        assert!(matches!(parsed("completions"), Any::Manual(Manual::Completions { .. })));
        assert!(matches!(parsed("man"), Any::Manual(Manual::Man { .. })));
        assert!(matches!(parsed("wg0"), Any::Bare(words) if words == ["wg0", "bash"]));
    }
}
