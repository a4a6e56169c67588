//! The part of `kernels` that runs as first process of its private namespaces.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use super::guest::{Guest, Spec};
use super::{interop, stream};

/// Arguments of the hidden `kernels-inside`.
#[derive(clap::Args)]
pub(crate) struct InsideArgs {
    #[arg(long)]
    kernel: Option<PathBuf>,
    #[arg(long)]
    initrd: Option<PathBuf>,
    #[arg(long)]
    scratch: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a command in a guest and exit with its code
    Run {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Talk to a guest's WireGuard through SUBJECT
    Interop { subject: PathBuf },
    /// Send what arrives back to where it came from; this runs in the guest
    Echo { port: u16 },
}

/// How long a guest's test program may run.
const TESTS: Duration = Duration::from_secs(240);

/// Does it.
pub(crate) fn run_inside(args: InsideArgs) -> Result<()> {
    let spec = |tap| -> Result<Spec> {
        let (kernel, initrd, scratch) = (args.kernel, args.initrd, args.scratch);
        let missing = "kernels-inside is a part of `cargo xtask kernels`: run that";
        Ok(Spec {
            kernel: kernel.context(missing)?,
            initrd: initrd.context(missing)?,
            scratch: scratch.context(missing)?,
            tap,
        })
    };
    match args.task {
        Task::Run { command } => {
            let guest = Guest::start(&spec(None)?, &in_guest(&command)?)?;
            match guest.finish(TESTS)? {
                0 => Ok(()),
                code => std::process::exit(code.into()),
            }
        }
        Task::Interop { subject } => interop::run(spec(Some(interop::TAP))?, &subject),
        Task::Echo { port } => stream::serve(port),
    }
}

/// A script that runs one command where we are, with our search path.
fn in_guest(command: &[String]) -> Result<String> {
    let here = std::env::current_dir().context("finding the working directory")?;
    let here = here.to_str().context("the working directory is not UTF-8")?;
    let path = std::env::var("PATH").context("reading $PATH")?;
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    if words.is_empty() {
        bail!("no command for the guest");
    }
    Ok(format!(
        "export PATH={} HOME=/root RUST_BACKTRACE=1\nulimit -l unlimited\nip link set lo up\n\
         cd {}\nmodprobe -a tun veth wireguard sch_ingress cls_bpf act_bpf\nexec {}\n",
        quoted(&path),
        quoted(here),
        words.join(" ")
    ))
}

/// A word that the shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_word_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
