//! `nearwire restore-names`.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::daemon::State;
use super::format::Format;

/// Give the host its own resolvers back, after a daemon that was killed
///
/// The next daemon does it too, and a daemon that ends does it itself. systemd's unit calls this when
/// the daemon has ended, however it did.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    format: Format,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let paths = resolver::Paths::of_host(&self.state.state);
        let restored = runtime.block_on(resolver::restore(&paths))?;
        self.format.print(&json!({ "restored": restored }), |_| match restored {
            Some(mode) => println!("the host's own resolvers are back ({mode:?})"),
            None => println!("there is nothing to give back"),
        })
    }
}
