//! A machine whose first process is systemd: units run there as they are shipped.
//!
//! It has this machine's files, and what it writes is gone with it. Its processes, mounts and control
//! groups are its own; its network is its host's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::host::Host;
use crate::mesh::{Directory, PATIENCE};
use crate::process::{Output, Process};
use crate::wait::holds_within;

/// From Debian's package of that name.
const SYSTEMD: &str = "/lib/systemd/systemd";
/// How long what a unit does may take.
const LONG: Duration = Duration::from_secs(60);

/// In a mount namespace of its own: a control group for the machine, and its disk. Nothing but what
/// is asked for starts: no unit of this machine's is wanted by another.
const BEFORE: &str = r#"
cd "$0"
mkdir cgroups disk root
mount -t cgroup2 cgroup2 cgroups
mkdir "cgroups/$1"
echo $$ > "cgroups/$1/cgroup.procs"
umount cgroups
mount -t tmpfs -o mode=755 disk disk
mkdir disk/upper disk/work
mount -t overlay -o lowerdir=/,upperdir=disk/upper,workdir=disk/work root root
rm -rf root/etc/systemd/system root/lib/systemd/system/*.wants
cp -rL files/. root
exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -ec "$2" "$0"
"#;

/// As the machine's first process.
const INSIDE: &str = r#"
cd "$0/root"
mount -t proc proc proc
# What is the kernel's is the host's, too.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount --rbind /dev dev
for fresh in run tmp var/lib; do mount -t tmpfs -o mode=755 fresh $fresh; done
hostname machine
pivot_root . mnt
cd /
umount -l mnt
exec env -i container=nearwire-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=machine.target --log-target=null --show-status=no
"#;

/// The control group goes when the last process of it has.
const AFTER: &str = r#"
cd "$0"
mkdir -p cgroups
mount -t cgroup2 cgroup2 cgroups
for try in $(seq 100); do
    find "cgroups/$1" -depth -type d -exec rmdir {} + 2> errors && exit
    sleep 0.1
done
cat errors
exit 1
"#;

/// What is started; units are asked for by name.
const TARGET: &str = "[Unit]\nDefaultDependencies=no\n";

/// See the module.
#[derive(Debug)]
pub struct Machine {
    /// Its network.
    pub host: Host,
    process: Process,
    /// Its first process, as it is numbered here.
    first: String,
    units: Vec<String>,
    directory: Directory,
}

impl Machine {
    /// Starts one on a host, with these programs in `/usr/bin`, and these units.
    ///
    /// # Errors
    /// Without systemd, or when it does not start.
    pub fn boot(host: Host, programs: &[PathBuf], units: &[PathBuf]) -> Result<Self> {
        ensure!(Path::new(SYSTEMD).exists(), "no {SYSTEMD}: install Debian's package systemd");
        let directory = Directory::new("machine")?;
        let names = lay_out(&directory.file("files"), programs, units)?;
        let mut command = host.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", BEFORE]);
        command.arg(&directory.0).arg(group(&directory)).arg(INSIDE);
        let process = host.spawn_command(command)?;
        let first = String::new();
        let mut machine = Self { host, process, first, units: names, directory };
        let outer = machine.process.id();
        let booted = holds_within(PATIENCE, || {
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
            children.unwrap_or_default().trim().clone_into(&mut machine.first);
            let state = || machine.output(&["systemctl", "is-system-running"]);
            !machine.first.is_empty() && state().is_ok_and(|state| state.stdout == "running\n")
        });
        ensure!(booted, "systemd does not start: {}", machine.process.output_so_far());
        Ok(machine)
    }

    /// Runs a program on it, to whatever end.
    ///
    /// # Errors
    /// When it cannot start or does not end in time.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.host.command("nsenter");
        command.args(["--target", &self.first, "--mount", "--pid", "--uts", "--ipc", "--cgroup"]);
        command.args(words);
        self.host.spawn_command(command)?.wait(LONG)
    }

    /// As [`Self::output`], to a good end; gives what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        ensure!(output.status.success(), "{words:?}: {}{}", output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// A file of it, as it is found here.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first))
    }

    /// What a unit has said.
    #[must_use]
    pub fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.file(&log_of(unit))).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for unit in &self.units {
                eprintln!("--- {unit}\n{}\n---", self.log(unit));
            }
        }
        // All that runs there ends with it. It may have ended before.
        let _ = self.process.signal(Signal::KILL);
        let mut tidy = self.host.command("unshare");
        tidy.args(["--mount", "sh", "-c", AFTER])
            .arg(&self.directory.0)
            .arg(group(&self.directory));
        let tidied = self.host.spawn_command(tidy).and_then(|tidy| tidy.wait(PATIENCE));
        if !tidied.is_ok_and(|tidied| tidied.status.success()) {
            eprintln!("the control group {} is left", group(&self.directory));
        }
    }
}

/// The files that are its own. Gives the names of its units.
fn lay_out(files: &Path, programs: &[PathBuf], units: &[PathBuf]) -> Result<Vec<String>> {
    let (bin, etc) = (files.join("usr/bin"), files.join("etc/systemd/system"));
    for directory in [&bin, &etc] {
        fs::create_dir_all(directory)?;
    }
    fs::write(etc.join("machine.target"), TARGET)?;
    for program in programs {
        put_into(program, &bin)?;
    }
    let mut names = Vec::new();
    for unit in units {
        let name = put_into(unit, &etc)?;
        let log = log_of(&name);
        // There is no journal.
        let text = format!("[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n");
        fs::create_dir_all(etc.join(format!("{name}.d")))?;
        fs::write(etc.join(format!("{name}.d/log.conf")), text)?;
        names.push(name);
    }
    Ok(names)
}

fn log_of(unit: &str) -> String {
    format!("/run/{unit}.log")
}

/// Has it copied there when the disk is made; gives its name.
fn put_into(file: &Path, directory: &Path) -> Result<String> {
    let file = fs::canonicalize(file).with_context(|| format!("looking at {}", file.display()))?;
    let name = file.file_name().context("a file has a name")?;
    symlink(&file, directory.join(name))?;
    Ok(name.to_string_lossy().into_owned())
}

/// The machine's control group, below the root.
fn group(directory: &Directory) -> String {
    directory.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
