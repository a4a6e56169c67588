//! Interface names, and the sockets that are named after them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

const UAPI_DIRECTORY: &str = "/var/run/wireguard";
/// Where an interface's socket may lie: `wg`'s, and nearwire's own.
const SOCKET_DIRECTORIES: [&str; 2] = [UAPI_DIRECTORY, "/var/run/nearwire"];
/// How long an answer of the configuration socket may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An interface name that no other test uses: sockets are shared by all namespaces.
#[must_use]
pub fn unique_interface(prefix: &str) -> String {
    interface_name(prefix, next_number())
}

/// Removes what a killed daemon of this interface left.
pub fn remove_sockets(interface: &str) {
    for directory in SOCKET_DIRECTORIES {
        // Gone already, if it ended well.
        let _ = std::fs::remove_file(socket_path(directory, interface));
    }
}

/// Where `wg` looks for an interface's socket.
pub(super) fn uapi_path(interface: &str) -> PathBuf {
    socket_path(UAPI_DIRECTORY, interface)
}

fn socket_path(directory: &str, interface: &str) -> PathBuf {
    Path::new(directory).join(format!("{interface}.sock"))
}

/// Counts what has to be unique in this process.
pub(super) fn next_number() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Process ids have up to 22 bits, so this fits the kernel's 15 characters.
pub(super) fn interface_name(prefix: &str, count: u32) -> String {
    format!("{prefix}{:x}n{count:x}", std::process::id())
}

/// Sends one request, without its closing empty line, and reads the whole answer.
pub(super) fn ask(path: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(format!("{}\n\n", request.trim_end_matches('\n')).as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\n\n") {
        let len = stream.read(&mut buffer)?;
        ensure!(len > 0, "the answer ended: {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..len]);
    }
    Ok(String::from_utf8(answer)?)
}
