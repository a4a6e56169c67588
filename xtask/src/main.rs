//! `cargo xtask`: everything that is done to this repository rather than by it.

mod arrows;
mod bad_input;
mod bench;
mod build_ebpf;
mod ci;
mod demo;
mod deny;
mod fuzz;
mod kernels;
mod lab;
mod leftovers;
mod matrix;
mod packages;
mod process;
mod sources;
mod steps;
mod test;
mod units;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show two nodes talking through the tunnel, on this machine
    Demo(demo::Args),
    /// Run everything CI runs; with FILTER, only the tests whose names contain it
    Test(test::Args),
    /// Run everything CI runs, with the time of each step
    Ci(ci::Args),
    /// Measure, and compare with what has to be reached
    Bench(bench::Args),
    /// Build the kernel programs into the object that the loader carries
    BuildEbpf(build_ebpf::Args),
    /// Fuzz the parsers of network bytes and configuration text
    Fuzz(fuzz::Args),
    /// Open a small network of nodes to play in
    Lab(lab::Args),
    /// Test on older kernels, and against the kernel's own WireGuard, in QEMU
    Kernels(kernels::Args),
    /// A part of `kernels` that runs inside its namespaces or its guest
    #[command(hide = true)]
    KernelsInside(kernels::InsideArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of contexts is for whoever typed the command; a backtrace is not.
            eprintln!("\nerror: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo(args) => demo::run(args),
        Task::Test(args) => test::run(args),
        Task::Ci(args) => ci::run(args),
        Task::Bench(args) => bench::run(args),
        Task::BuildEbpf(args) => build_ebpf::run(args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Lab(args) => lab::run(args),
        Task::Kernels(args) => kernels::run(args),
        Task::KernelsInside(args) => kernels::run_inside(args),
    }
}
