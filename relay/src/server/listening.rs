//! Why a port could not be had, and what to do.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// An error of opening the socket at this address, which `key` of the configuration names.
pub(super) fn failed(error: Error, address: SocketAddr, key: &str) -> anyhow::Error {
    let mend = match error.kind() {
        ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, which the unit for systemd gives"
                .to_owned()
        }
        ErrorKind::AddrInUse => {
            format!("; `ss -tulnp 'sport = :{}'` says who has it", address.port())
        }
        ErrorKind::AddrNotAvailable => {
            "; no interface of this host has the address: `ip address` shows which it has"
                .to_owned()
        }
        _ => String::new(),
    };
    let reason = format!("{error}{mend}");
    anyhow::Error::msg(reason).context(format!("listening on {address} (`{key}`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_mended_says_how() {
        let says = |kind: ErrorKind, mend: &str| {
            let error = failed(kind.into(), "[::]:443".parse().unwrap(), "tls");
            let words = format!("{error:#}");
            assert!(words.starts_with("listening on [::]:443 (`tls`): "), "{words}");
            assert!(words.contains(mend), "{words}");
        };
        says(ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE");
        says(ErrorKind::AddrInUse, "'sport = :443'");
        says(ErrorKind::AddrNotAvailable, "`ip address`");
        says(ErrorKind::OutOfMemory, "memory");
    }
}
