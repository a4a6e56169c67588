//! A relay's own key, in a file that only its owner may read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::SigningKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;

/// Makes a relay's secret key in a new file, which only its owner may read; gives the public key as
/// text, for the region's file. A file that is there stays, and its public key is given.
pub fn make_key(file: &Path) -> Result<String> {
    if !file.exists() {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new()
            .fill(seed.as_mut())
            .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
        let mut text = Zeroizing::new(BASE64_STANDARD.encode(seed.as_ref()));
        text.push('\n');
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing the key to {}", file.display()))?;
    }
    Ok(BASE64_STANDARD.encode(read(file)?.verifying_key().0))
}

/// Reads a relay's secret key.
pub(super) fn read(file: &Path) -> Result<SigningKey> {
    let shown = file.display();
    let mode = fs::metadata(file)
        .with_context(|| {
            format!("reading the key {shown} (`nearwire-relay key {shown}` makes it)")
        })?
        .mode();
    ensure!(
        mode & 0o077 == 0,
        "the key {shown} may be read by others (its mode is {:o}): `chmod 600 {shown}`",
        mode & 0o777
    );
    let text = fs::read(file).with_context(|| format!("reading the key {shown}"))?;
    let text = Zeroizing::new(text);
    // One byte more than a key: the decoder wants room for the padding's group.
    let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
    let len = BASE64_STANDARD.decode_slice(text.trim_ascii(), bytes.as_mut()).ok();
    let seed = len.filter(|len| *len == KEY_LEN).and_then(|_| bytes.first_chunk());
    let seed = seed.map(|seed| Zeroizing::new(*seed));
    seed.as_ref()
        .and_then(SigningKey::from_seed)
        .with_context(|| format!("the key {shown} is not 44 characters of base64"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_only() {
        let directory = std::env::temp_dir().join(format!("relay-key-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("relay.key");
        let public = make_key(&file).unwrap();
        assert_eq!(make_key(&file).unwrap(), public);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = format!("{:#}", read(&file).err().unwrap());
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(format!("{:#}", read(&file).err().unwrap()).contains("44 characters"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
