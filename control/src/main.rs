//! `nearwire-control`: the control plane. `nearwire-control --help` explains it.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::cli::main()
}
