//! Who takes part.

use std::path::PathBuf;

use anyhow::Result;
use netns_tests::Host;
use netns_tests::wireguard::{Implementation, Tunnel};

use super::Options;
use crate::{packages, workspace};

/// By what names they go in the report.
pub(super) const NEARWIRE: &str = "nearwire";
pub(super) const WIREGUARD_GO: &str = "wireguard-go";
pub(super) const BORINGTUN: &str = "boringtun-cli";
pub(super) const GOTATUN: &str = "gotatun";
pub(super) const LINK: &str = "bare veth";

/// The other tunnels.
pub(super) const PEERS: [&str; 3] = [WIREGUARD_GO, BORINGTUN, GOTATUN];

/// Those, and the bare link: what nearwire is measured beside.
pub(super) const OTHERS: [&str; 4] = [WIREGUARD_GO, BORINGTUN, GOTATUN, LINK];

/// A tunnel, or the bare link that no tunnel can outdo.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    /// None for the bare link.
    pub(super) tunnel: Option<Recipe>,
}

impl Contestant {
    /// The same, told to look for the next packet before it sleeps, if it can.
    pub(super) fn busy_polling(&self) -> Option<Self> {
        let mut tunnel = self.tunnel.clone().filter(|_| self.name == NEARWIRE)?;
        tunnel.arguments.extend(["--busy-poll", "100"].map(str::to_owned));
        Some(Self { name: self.name, tunnel: Some(tunnel) })
    }
}

/// How a tunnel is started.
#[derive(Clone)]
pub(super) struct Recipe {
    implementation: Implementation,
    program: Option<PathBuf>,
    arguments: Vec<String>,
}

impl Recipe {
    fn of(implementation: Implementation) -> Self {
        Self { implementation, program: None, arguments: Vec::new() }
    }

    pub(super) fn start<'h>(&self, host: &'h Host) -> Result<Tunnel<'h>> {
        let mut builder = Tunnel::builder(self.implementation);
        if let Some(program) = &self.program {
            builder = builder.program(program);
        }
        for argument in &self.arguments {
            builder = builder.arg(argument);
        }
        builder.start(host)
    }
}

/// Builds ours and makes the others available. One that cannot be had is noted and stays away.
pub(super) fn gather(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Contestant>> {
    packages::ensure(packages::FOR_TUNNELS)?;
    let ours = Recipe {
        program: Some(options.binary.clone().map_or_else(workspace::build_nearwire, Ok)?),
        arguments: options.nearwire_args.split_whitespace().map(str::to_owned).collect(),
        ..Recipe::of(Implementation::Nearwire)
    };
    let mut field = vec![Contestant { name: NEARWIRE, tunnel: Some(ours) }];
    let others = [
        (WIREGUARD_GO, Some(Implementation::WireguardGo)),
        (BORINGTUN, Some(Implementation::Boringtun)),
        (GOTATUN, Some(Implementation::Gotatun)),
        (LINK, None),
    ];
    for (name, implementation) in others {
        if !options.beside.is_empty() && !options.beside.iter().any(|wanted| wanted == name) {
            notes.push(format!("{name} took no part, --beside left it out"));
            continue;
        }
        match implementation.map_or(Ok(()), provide) {
            Ok(()) => field.push(Contestant { name, tunnel: implementation.map(Recipe::of) }),
            Err(error) => {
                eprintln!("{name} cannot take part: {error:#}");
                notes.push(format!("{name} took no part, it could not be installed: {error:#}"));
            }
        }
    }
    Ok(field)
}

fn provide(implementation: Implementation) -> Result<()> {
    match implementation {
        Implementation::Nearwire => Ok(()),
        Implementation::WireguardGo => packages::ensure(&[("wireguard-go", "wireguard-go")]),
        Implementation::Boringtun => {
            packages::from_crates("boringtun-cli", "boringtun-cli", packages::BORINGTUN).map(drop)
        }
        Implementation::Gotatun => {
            packages::from_crates("gotatun", "gotatun-cli", "0.10.2").map(drop)
        }
    }
}
