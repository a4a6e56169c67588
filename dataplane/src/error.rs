//! Why the kernel's half could not be made to do something.

use std::error::Error as StdError;
use std::path::PathBuf;

use dataplane_common::ShardId;

use crate::XdpMode;

/// An error of the data plane. Its text names the thing, the reason (with the verifier's log, where
/// there is one) and the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused the object or one of its maps.
    #[error("cannot load the eBPF object: {reason}: {LOAD_MEND}")]
    Load {
        /// The kernel's reason.
        reason: String,
    },
    /// The kernel refused a program.
    #[error("cannot load the eBPF program {program}: {reason}: {LOAD_MEND}")]
    Program {
        /// The program.
        program: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// The embedded object is not the one that this code was written for.
    #[error(
        "the embedded eBPF object has no {name} of the expected kind: rebuild it with `cargo xtask \
         build-ebpf`"
    )]
    Object {
        /// The missing map or program.
        name: &'static str,
    },
    /// The programs could not be attached.
    #[error(
        "cannot attach the policy to {interface}: tcx: {tcx}; clsact: {clsact}: check that the \
         interface exists and that the process has CAP_NET_ADMIN; clsact needs CONFIG_NET_CLS_BPF"
    )]
    Attach {
        /// The interface.
        interface: String,
        /// Why not by tcx.
        tcx: String,
        /// Why not by clsact.
        clsact: String,
    },
    /// The switch of lanes could not be attached.
    #[error(
        "cannot attach the lane switch to {interface} in {mode} mode: {reason}: check that the \
         interface exists, is not `lo`, and that no other XDP program is on it (`ip link show`); \
         where the driver has no XDP or the MTU is too large for it, generic mode will do, slower"
    )]
    AttachXdp {
        /// The interface.
        interface: String,
        /// In which mode.
        mode: XdpMode,
        /// The kernel's reason.
        reason: String,
    },
    /// The policy could not be pinned, or what was pinned could not be taken over.
    #[error("cannot {action} {}: {reason}", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The pinned object, or the directory.
        path: PathBuf,
        /// The kernel's reason, and the mend.
        reason: String,
    },
    /// A map could not be read or written.
    #[error(
        "cannot {action} the eBPF map {map}: {reason}: check that the process has CAP_BPF and that \
         its memory limit leaves room for it"
    )]
    Map {
        /// The map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// The policy needs more entries than a table may have.
    #[error(
        "the policy needs {entries} entries of one table, more than {limit}: merge rules whose \
         sources, destinations or ports overlap"
    )]
    TooLarge {
        /// How many it needs.
        entries: usize,
        /// How many there may be.
        limit: u32,
    },
    /// A socket could not be made a shard's own.
    #[error(
        "cannot steer datagrams to the socket of shard {}: {reason}: it must be bound, in an \
         SO_REUSEPORT group of two or more, and no other shard's",
        shard.0
    )]
    ShardSocket {
        /// The shard.
        shard: ShardId,
        /// The kernel's reason.
        reason: String,
    },
    /// A group of sockets could not be put under the program.
    #[error(
        "cannot steer the datagrams of a socket group: {reason}: the socket must be in an \
         SO_REUSEPORT group of two or more"
    )]
    SocketGroup {
        /// The kernel's reason.
        reason: String,
    },
    /// A program could not be run on a packet.
    #[error("cannot run {program} on {length} bytes: {reason}: a test packet has 14 bytes or more")]
    Run {
        /// The program.
        program: &'static str,
        /// The length of the packet.
        length: usize,
        /// The kernel's reason.
        reason: String,
    },
}

const LOAD_MEND: &str =
    "run as root (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN), on Linux 5.15 or newer";

impl Error {
    /// The error in one line: of what the kernel's verifier has written, only what it objects to.
    #[must_use]
    pub fn summary(&self) -> String {
        let whole = self.to_string();
        let Some((head, log)) = whole.split_once(VERIFIER) else { return whole };
        let is_telling = |line: &&str| {
            !line.trim().is_empty() && !line.starts_with("processed ") && !line.contains(LOAD_MEND)
        };
        let said = log.lines().rfind(is_telling).unwrap_or("nothing more").trim();
        format!("{head} The verifier: {said}: {LOAD_MEND}")
    }
}

/// What aya writes before the verifier's log.
const VERIFIER: &str = " Verifier output:";

/// An error with all its causes: aya's messages leave the kernel's own out.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_of_the_verifiers_log_what_it_objects_to() {
        let log = "0: R1=ctx()\n0: (b7) r0 = 2\nmisaligned access off 3 size 4\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0";
        let reason = format!("the call returned EACCES.{VERIFIER} {log}");
        let short = Error::Program { program: "lanes", reason }.summary();
        let whole = "cannot load the eBPF program lanes: the call returned EACCES. The verifier: \
                     misaligned access off 3 size 4: ";
        assert_eq!(short, format!("{whole}{LOAD_MEND}"));
        let other = Error::Object { name: "LANES" };
        assert_eq!(other.summary(), other.to_string());
    }
}
