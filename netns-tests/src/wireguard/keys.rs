//! Keys, made by `wg`, and handed to it without a file in the file system.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

/// A private key and its public one, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key.
    pub private: String,
    /// The public key.
    pub public: String,
}

impl KeyPair {
    /// A fresh pair.
    ///
    /// # Errors
    /// Without `wg`.
    pub fn generate() -> Result<Self> {
        let private = wg("genkey", "")?;
        let public = wg("pubkey", &private)?;
        Ok(Self { private, public })
    }
}

/// A fresh preshared key, in base64.
///
/// # Errors
/// Without `wg`.
pub fn preshared_key() -> Result<String> {
    wg("genpsk", "")
}

/// Text that other programs can read at a path, as long as this lives: for `wg set ... private-key`
/// and configuration files.
#[derive(Debug)]
pub struct KeyFile(File);

impl KeyFile {
    /// Holds the text.
    ///
    /// # Errors
    /// When the kernel gives no memory file.
    pub fn new(text: &str) -> Result<Self> {
        let mut file = File::from(memfd_create("key", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        Ok(Self(file))
    }

    /// Where it can be read.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

fn wg(subcommand: &str, input: &str) -> Result<String> {
    let mut wg = Command::new("wg")
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("wg not found; on Debian: apt-get install wireguard-tools")?;
    if let Some(mut stdin) = wg.stdin.take() {
        // Those that read nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = wg.wait_with_output()?;
    ensure!(output.status.success(), "wg {subcommand}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
