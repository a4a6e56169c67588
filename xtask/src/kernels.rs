//! `cargo xtask kernels`: our tests on Debian's other kernels, and our tunnel against the
//! WireGuard of those kernels themselves.
//!
//! Each kernel runs in QEMU's software emulation over this machine's own root, mounted read-only
//! under a layer of memory. QEMU and all that talks to it live in one set of private namespaces
//! (network, mounts, processes): the machine's network never sees them, and the kernel ends them
//! all together, however this program ends.

mod guest;
mod image;
mod initramfs;
mod inside;
mod interop;
mod stream;
mod suites;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

pub(crate) use inside::{InsideArgs, run_inside};

use crate::{packages, process, workspace};

/// Arguments of `cargo xtask kernels`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel
    #[arg(long)]
    only: Option<Series>,
    /// Go on after a failure, and fail at the end
    #[arg(long)]
    keep_going: bool,
    /// Only what talks to the kernel's WireGuard, not the test programs
    #[arg(long, conflicts_with = "command")]
    interop: bool,
    /// The WireGuard that faces the kernel's; boringtun tells a fault of ours from one of the lab
    #[arg(long, value_enum, default_value_t = Subject::Nearwire)]
    subject: Subject,
    /// Run this in the guest instead, and exit with its code
    #[arg(last = true)]
    command: Vec<String>,
}

/// A kernel that Debian 12 offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }
}

/// A userspace WireGuard that can face the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    Nearwire,
    Boringtun,
}

/// What this runs beside our own programs.
const NEEDS: &[packages::Need] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("modprobe", "kmod"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("wg", "wireguard-tools"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// One thing done on each kernel, in namespaces of its own.
struct Pass {
    name: String,
    /// What `kernels-inside` is told.
    args: Vec<String>,
}

/// Runs every pass on every kernel.
pub(crate) fn run(args: Args) -> Result<()> {
    if !packages::is_root()? {
        bail!("private namespaces and network devices need root: run it with sudo");
    }
    packages::ensure(NEEDS)?;
    let mut failed = Vec::new();
    for series in Series::ALL.into_iter().filter(|s| args.only.is_none_or(|only| only == *s)) {
        let store = workspace::Metadata::read()?.target_directory.join("kernels");
        let image = image::ready(series, &store)?;
        let initrd = initramfs::ready(&image)?;
        println!("==> kernel {}", image.release);
        for pass in passes(&args)? {
            let start = Instant::now();
            let result = enter(&image, &initrd, &pass);
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("    {} {word} in {:.1} s", pass.name, start.elapsed().as_secs_f64());
            if let Err(error) = result {
                if let (Some(Exit(code)), false) = (error.downcast_ref(), args.command.is_empty()) {
                    std::process::exit(*code);
                }
                if !args.keep_going {
                    return Err(error).with_context(|| about(series, &pass));
                }
                eprintln!("    {error:#}");
                failed.push(about(series, &pass));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn about(series: Series, pass: &Pass) -> String {
    format!("{} on kernel {}", pass.name, series.name())
}

fn passes(args: &Args) -> Result<Vec<Pass>> {
    if !args.command.is_empty() {
        let mut inside = vec!["run".to_owned(), "--".to_owned()];
        inside.extend(args.command.iter().cloned());
        return Ok(vec![Pass { name: format!("`{}`", args.command.join(" ")), args: inside }]);
    }
    let mut passes = Vec::new();
    if !args.interop {
        for program in suites::programs()? {
            let mut inside = vec!["run".to_owned(), "--".to_owned()];
            inside.extend(program.command);
            passes.push(Pass { name: program.name, args: inside });
        }
    }
    let subject = subject(args.subject)?;
    let subject = subject.to_str().context("the path of the WireGuard to test is not UTF-8")?;
    passes.push(Pass {
        name: "the kernel's own WireGuard as the other end".to_owned(),
        args: ["interop", subject].map(str::to_owned).to_vec(),
    });
    Ok(passes)
}

/// The program to put in front of the kernel's WireGuard.
fn subject(which: Subject) -> Result<PathBuf> {
    match which {
        Subject::Nearwire => suites::nearwire(),
        Subject::Boringtun => {
            packages::from_crates("boringtun-cli", "boringtun-cli", packages::BORINGTUN)
        }
    }
}

/// The exit code of a pass that failed.
#[derive(Debug)]
struct Exit(i32);

impl std::error::Error for Exit {}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

/// Runs one pass in private namespaces. Whatever kills us ends `unshare`, whose end kills the
/// first process of the new process namespace, and with it all others in there.
fn enter(image: &image::Image, initrd: &Path, pass: &Pass) -> Result<()> {
    let own = env::current_exe().context("finding this program")?;
    let mut inside = Command::new("setpriv");
    inside.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"]);
    inside.args(["--kill-child=KILL", "--mount-proc"]).arg(own).arg("kernels-inside");
    inside.arg("--kernel").arg(&image.vmlinuz).arg("--initrd").arg(initrd);
    inside.arg("--scratch").arg(image.root.join("run")).args(&pass.args);
    let status =
        inside.status().with_context(|| format!("starting `{}`", process::line(&inside)))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => bail!(Exit(code)),
        None => bail!("{status}"),
    }
}
