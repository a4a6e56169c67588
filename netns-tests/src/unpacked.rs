//! Debian's packages that tests run without installing them.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Where a package lies, unpacked where it changes nothing.
///
/// # Errors
/// When it was not fetched.
pub fn unpacked(package: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/unpacked").join(package);
    ensure!(root.exists(), "{} is not there: `cargo xtask test` fetches it", root.display());
    Ok(root.canonicalize()?)
}
