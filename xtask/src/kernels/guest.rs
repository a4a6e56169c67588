//! One QEMU with one kernel, running one script.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::initramfs::ROOT_TAG;
use crate::process::{self, Owned};

/// What to boot, and where to write.
pub(crate) struct Spec {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// A directory for this guest's files.
    pub(crate) scratch: PathBuf,
    /// A TAP to be the guest's network, if it has one.
    pub(crate) tap: Option<&'static str>,
}

/// How often to boot when the guest dies before its command starts: emulation does, rarely.
const BOOTS: u32 = 3;
/// A boot takes 3-7 s.
const BOOT: Duration = Duration::from_secs(60);

/// A guest whose script has started. Dropping it is pulling its plug.
pub(crate) struct Guest {
    qemu: Owned,
    scratch: PathBuf,
    /// How much of the script's output was passed on.
    shown: u64,
}

impl Guest {
    /// Boots until the script starts.
    pub(crate) fn start(spec: &Spec, script: &str) -> Result<Self> {
        for boot in 1..=BOOTS {
            let mut guest = Self::boot(spec, script)?;
            if guest.has_started()? {
                return Ok(guest);
            }
            eprintln!("    boot {boot} of {BOOTS} died before its command; its console ended:");
            eprintln!("{}", tail(&spec.scratch.join("console")));
        }
        bail!("the guest does not boot: the whole console is in {}", spec.scratch.display())
    }

    /// Passes the script's output on until it ends, and returns its exit code.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<u8> {
        let over = process::until(
            limit,
            || {
                self.show()?;
                let code = self.exit_code()?;
                if code.is_none() && self.qemu.ended()?.is_some() && self.exit_code()?.is_none() {
                    bail!(
                        "the guest died under its command; its console ended:\n{}",
                        tail(&self.scratch.join("console"))
                    );
                }
                Ok(code)
            },
            || "the guest's command does not end".to_owned(),
        );
        self.show()?;
        over
    }

    /// Fails when the script has ended, which it should not have.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self.exit_code()? {
            None => Ok(()),
            Some(code) => {
                self.show()?;
                bail!("the guest's script ended early with exit code {code}")
            }
        }
    }

    /// Passes on what the script printed since the last time.
    pub(crate) fn show(&mut self) -> Result<()> {
        let path = self.scratch.join("output");
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(&path)?;
            file.seek(SeekFrom::Start(self.shown))?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok(text)
        };
        let text = read().with_context(|| format!("reading {}", path.display()))?;
        self.shown += text.len() as u64;
        std::io::stdout().write_all(&text).context("passing the guest's output on")
    }

    fn boot(spec: &Spec, script: &str) -> Result<Self> {
        let scratch = &spec.scratch;
        fs::create_dir_all(scratch).with_context(|| format!("making {}", scratch.display()))?;
        for file in ["console", "output", "status"] {
            let file = scratch.join(file);
            fs::write(&file, "").with_context(|| format!("clearing {}", file.display()))?;
        }
        let file = scratch.join("script");
        fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
        let qemu = Owned::spawn(&mut qemu(spec, &file)?)?;
        Ok(Self { qemu, scratch: scratch.clone(), shown: 0 })
    }

    /// Whether the script came to start; otherwise the guest is dead, or as good as.
    fn has_started(&mut self) -> Result<bool> {
        let deadline = Instant::now() + BOOT;
        while Instant::now() < deadline {
            let status = self.status()?;
            if let Some((_, why)) = status.split_once("gave up: ") {
                bail!("the guest found {}", why.trim_end());
            }
            if status.contains("started\n") {
                return Ok(true);
            }
            if self.qemu.ended()?.is_some() {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }

    fn exit_code(&self) -> Result<Option<u8>> {
        let status = self.status()?;
        let Some((_, code)) = status.split_once("exit ") else {
            return Ok(None);
        };
        // Half a line is no answer yet.
        let Some(code) = code.strip_suffix('\n') else {
            return Ok(None);
        };
        let code = code.parse().with_context(|| format!("the guest's exit code is `{code}`"))?;
        Ok(Some(code))
    }

    fn status(&self) -> Result<String> {
        let file = self.scratch.join("status");
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }
}

/// The command line of one QEMU.
fn qemu(spec: &Spec, script: &Path) -> Result<Command> {
    // Unpacked from a package: `lib/modules` lies beside `boot`.
    let root = spec.kernel.parent().and_then(Path::parent).context("a kernel outside of a tree")?;
    let modules = root.join("lib/modules");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.stdin(Stdio::null());
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    // One thread for both CPUs: steadier than the parallel kind, and tests see two.
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=single", "-smp", "2", "-m", "2048"]);
    qemu.args(["-cpu", "max,la57=off"]);
    qemu.arg("-kernel").arg(&spec.kernel).arg("-initrd").arg(&spec.initrd);
    qemu.arg("-append").arg(format!(
        "console=ttyS0 8250.nr_uarts=4 panic=-1 mitigations=off tsc=reliable random.trust_cpu=on \
         nearwire.script={} nearwire.modules={}",
        script.display(),
        modules.display()
    ));
    for file in ["console", "output", "status"] {
        qemu.arg("-serial").arg(format!("file:{}", spec.scratch.join(file).display()));
    }
    qemu.arg("-virtfs").arg(format!(
        "local,path=/,mount_tag={ROOT_TAG},security_model=none,readonly=on,multidevs=remap"
    ));
    qemu.args(["-device", "virtio-rng-pci"]);
    if let Some(tap) = spec.tap {
        qemu.arg("-netdev").arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"));
        qemu.args(["-device", "virtio-net-pci,netdev=net"]);
    }
    Ok(qemu)
}

/// The last lines of a file, for an error message.
fn tail(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
