//! The units of systemd: whether it understands them, and how much they leave to their programs.
//! That the programs run by them is shown by `netns-tests/tests/units.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{packages, process, workspace};

/// A unit, and the exposure that `systemd-analyze security` may give it, in tenths.
const UNITS: [(&str, &str); 3] = [
    // Root, for what it has to do with the host's network and names.
    ("agent/nearwire.service", "30"),
    ("relay/nearwire-relay.service", "20"),
    ("control/nearwire-control.service", "16"),
];
/// What they start.
const PROGRAMS: [&str; 3] = ["nearwire", "nearwire-relay", "nearwire-control"];

/// A directory that goes with its owner.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        // It is among what is built.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Looks at all of them. The remark says by what.
pub(crate) fn check() -> Result<Option<String>> {
    packages::ensure(&[("systemd-analyze", "systemd")])?;
    let here = workspace::root()?;
    let target = workspace::Metadata::read()?.target_directory;
    let root = Root(target.join(format!("units-{}", std::process::id())));
    lay_out(&root.0, &here)?;
    let names = UNITS.map(|(unit, _)| unit.rsplit('/').next().unwrap_or(unit));
    let mut verify = analyze(&["verify", "--man=no", "--root"]);
    let output = verify.arg(&root.0).args(names).output().context("starting systemd-analyze")?;
    // What it does not know it passes over, with a word.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "systemd-analyze verify: {said}");
    for (unit, most) in UNITS {
        let mut security = analyze(&["security", "--no-pager", "--offline=true", "--threshold"]);
        process::quietly(security.arg(most).arg(here.join(unit))).with_context(|| {
            let score = format!("{}.{}", &most[..1], &most[1..]);
            format!("{unit} leaves more to its program than it did: more than {score}")
        })?;
    }
    let version = process::stdout(&mut analyze(&["--version"]))?;
    Ok(version.lines().next().map(str::to_owned))
}

/// A file system with systemd's own units, ours, and something to start.
fn lay_out(root: &Path, here: &Path) -> Result<()> {
    let (units, bin) = (root.join("etc/systemd/system"), root.join("usr/bin"));
    for directory in [&units, &bin, &root.join("lib/systemd"), &root.join("bin")] {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let own = root.join("lib/systemd/");
    process::run(Command::new("cp").args(["-r", "/lib/systemd/system"]).arg(own))?;
    for (unit, _) in UNITS {
        process::run(Command::new("cp").arg(here.join(unit)).arg(&units))?;
    }
    for program in PROGRAMS.map(|name| bin.join(name)).into_iter().chain([root.join("bin/kill")]) {
        fs::write(&program, "")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn analyze(words: &[&str]) -> Command {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(words);
    analyze
}
