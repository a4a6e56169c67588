//! What else could enforce the rules, and how it is told them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netns_tests::Host;

use super::dialects;
use super::rules::Rules;
use crate::bench::scratch::Scratch;
use crate::packages::Need;

/// How long the slowest may take over 100,000 rules.
const PATIENCE: Duration = Duration::from_secs(120);

/// The programs, and Debian's packages of them.
pub(super) const NEEDS: &[Need] = &[
    ("nft", "nftables"),
    ("iptables-nft-restore", "iptables"),
    ("iptables-legacy-restore", "iptables"),
    ("ipset", "ipset"),
];

/// A filter in the receiving host, of netfilter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// nftables with one set of concatenations, as its documentation advises.
    NftSet,
    /// nftables with a rule for each rule.
    NftPlain,
    /// Debian's iptables, which is iptables-nft: its rules are nftables' in the kernel.
    Iptables,
    /// iptables as it was: tables of its own in the kernel.
    IptablesLegacy,
    /// Debian's iptables with one rule that asks a set.
    Ipset,
}

impl Filter {
    pub(super) const ALL: [Self; 5] =
        [Self::NftSet, Self::NftPlain, Self::Iptables, Self::IptablesLegacy, Self::Ipset];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NftSet => "nftables, set",
            Self::NftPlain => "nftables, plain rules",
            Self::Iptables => "iptables (nf_tables)",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ipset => "iptables with ipset",
        }
    }

    /// Puts the rules in force for what comes in by an interface.
    pub(super) fn enforce(self, host: &Host, interface: &str, rules: &Rules) -> Result<()> {
        let scratch = Scratch::new()?;
        if self == Self::Ipset {
            let set = scratch.file("set", &dialects::ipset(rules))?;
            timed(host, ["ipset".as_ref(), "restore".as_ref(), "-f".as_ref(), set.as_path()])?;
        }
        let text = self.text(interface, rules);
        let file = scratch.file("rules", &text)?;
        self.restore(host, &file)?;
        Ok(())
    }

    /// The rules as this filter wants them told; of ipset, what goes beside the set.
    pub(super) fn text(self, interface: &str, rules: &Rules) -> String {
        match self {
            Self::NftSet => dialects::nft_set(rules, interface),
            Self::NftPlain => dialects::nft_plain(rules, interface),
            Self::Iptables | Self::IptablesLegacy => dialects::iptables(rules, interface),
            Self::Ipset => dialects::iptables_with_set(interface),
        }
    }

    /// Reads a file of rules, in place of those before; gives how long that took.
    pub(super) fn restore(self, host: &Host, file: &Path) -> Result<Duration> {
        let words: &[&str] = match self {
            Self::NftSet | Self::NftPlain => &["nft", "-f"],
            Self::Iptables | Self::Ipset => &["iptables-nft-restore"],
            Self::IptablesLegacy => &["iptables-legacy-restore"],
        };
        timed(host, words.iter().map(Path::new).chain([file]))
    }
}

/// Runs a program in a host to its good end; gives how long it took, from before it was started.
pub(super) fn timed<'a>(
    host: &Host,
    words: impl IntoIterator<Item = &'a Path>,
) -> Result<Duration> {
    let started = Instant::now();
    let process = host.spawn(words)?;
    let line = process.command_line().to_owned();
    let output = process.wait(PATIENCE)?;
    let took = started.elapsed();
    ensure!(output.status.success(), "{line}: {}{}", output.stdout, output.stderr);
    Ok(took)
}
