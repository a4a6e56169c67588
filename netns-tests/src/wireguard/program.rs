//! Where the programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::Host;

/// A userspace WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implementation {
    /// Ours.
    Nearwire,
    /// The reference one, from Debian.
    WireguardGo,
    /// Cloudflare's.
    Boringtun,
    /// Mullvad's, for benches.
    Gotatun,
}

impl Implementation {
    /// Those that tests run against, ours first.
    pub const ALL: [Self; 3] = [Self::Nearwire, Self::WireguardGo, Self::Boringtun];

    /// Two letters that interface names start with.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Nearwire => "nw",
            Self::WireguardGo => "go",
            Self::Boringtun => "bt",
            Self::Gotatun => "gt",
        }
    }

    /// The command that serves `interface` in `host`, in the foreground.
    pub(super) fn command(
        self,
        host: &Host,
        interface: &str,
        nearwire: Option<&Path>,
    ) -> Result<Command> {
        Ok(match self {
            Self::Nearwire => {
                let program = nearwire.map_or_else(nearwire_program, |path| Ok(path.into()))?;
                let mut command = host.command(program);
                command.args(["wg", "--foreground", interface]);
                // What a test leaves pinned would stay on the machine.
                command.env("NEARWIRE_PIN_DIR", "none");
                command
            }
            Self::WireguardGo => {
                let program = in_path("wireguard-go")
                    .context("wireguard-go not found; on Debian: apt-get install wireguard-go")?;
                let mut command = host.command(program);
                command.args(["-f", interface]).env("WG_PROCESS_FOREGROUND", "1");
                command
            }
            Self::Gotatun => {
                let mut command = host.command(cargo_program("gotatun", "gotatun-cli")?);
                command.args(["-f", "--disable-drop-privileges", interface]);
                command
            }
            Self::Boringtun => {
                let mut command = host.command(cargo_program("boringtun-cli", "boringtun-cli")?);
                command.args(["-f", "--disable-drop-privileges", interface]);
                command
            }
        })
    }
}

/// The `nearwire` that was built beside the running test, or the one that `NEARWIRE_BIN` names.
///
/// # Errors
/// When there is none; the message says how to build it.
pub fn nearwire_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NEARWIRE_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("NEARWIRE_BIN={} is no file", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let profile = match directory.parent() {
        // Tests and benches lie one deeper than what people run.
        Some(parent) if directory.ends_with("deps") => parent,
        _ => directory,
    };
    let program = profile.join("nearwire");
    if !program.is_file() {
        bail!(
            "{} not found; build it with `cargo build -p agent`, or set NEARWIRE_BIN",
            program.display()
        );
    }
    Ok(program)
}

/// A program that `cargo xtask` installs from crates.io.
fn cargo_program(program: &str, package: &str) -> Result<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin").join(program);
    if tools.is_file() {
        return Ok(tools);
    }
    in_path(program).with_context(|| {
        format!(
            "{program} not found; `cargo xtask` installs it, or: \
             cargo install --root .tools {package}"
        )
    })
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
