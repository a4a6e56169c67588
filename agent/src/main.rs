//! `nearwire`: a WireGuard node. This is its command line; `nearwire --help` explains it.

mod cli;
mod io;
mod mesh;
mod wg;

fn main() -> std::process::ExitCode {
    cli::run()
}
