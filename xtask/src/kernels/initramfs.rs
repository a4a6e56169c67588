//! The first file system of a guest: busybox, the modules it takes to reach the host's root over
//! 9p, and a script that goes there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::image::Image;
use crate::{packages, process};

/// What has to be there before the host's root is; the rest comes from the kernel's own tree.
const FIRST: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// The tag by which the guest names the host's root.
pub(crate) const ROOT_TAG: &str = "root";

/// Builds it and returns its path.
pub(crate) fn ready(image: &Image) -> Result<PathBuf> {
    let tree = image.root.join("initramfs");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("clearing {}", tree.display()))?;
    }
    for dir in ["bin", "dev", "proc", "lower", "rw", "system", "modules"] {
        let dir = tree.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let busybox = packages::find("busybox").context("busybox has gone")?;
    fs::copy(&busybox, tree.join("bin/busybox")).context("copying busybox")?;
    let mut order = String::new();
    for module in modules(image)? {
        let name = unpack(&module, &tree.join("modules"))?;
        order += &format!("{name}\n");
    }
    write(&tree.join("modules/order"), &order)?;
    let init = tree.join("init");
    write(&init, &INIT.replace("@TAG@", ROOT_TAG))?;
    process::run(Command::new("chmod").arg("755").arg(&init))?;
    pack(&tree, &image.root.join("initrd"))
}

/// The files of [`FIRST`] and all they need, in the order to load them.
fn modules(image: &Image) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in FIRST {
        let mut show = Command::new("modprobe");
        show.args(["--show-depends", "--set-version", &image.release, "--dirname"]);
        show.arg(&image.root).arg(module);
        // `insmod FILE` a line, or `builtin NAME` for what the kernel has in itself.
        for line in process::stdout(&mut show)?.lines() {
            let file = line.trim().strip_prefix("insmod ").map(PathBuf::from);
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    Ok(files)
}

/// Puts a module into `dir` as plain `.ko` and returns its file name.
fn unpack(module: &Path, dir: &Path) -> Result<String> {
    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (plain, tool) = match name.rsplit_once('.') {
        Some((plain, "xz")) => (plain.to_owned(), "xz"),
        Some((plain, "zst")) => (plain.to_owned(), "zstd"),
        Some((_, "ko")) => (name, "cat"),
        Some(_) | None => bail!("{}: a module packed in an unknown way", module.display()),
    };
    let to = dir.join(&plain);
    let file = File::create(&to).with_context(|| format!("making {}", to.display()))?;
    let mut unpack = Command::new(tool);
    if tool != "cat" {
        unpack.args(["-d", "-c"]);
    }
    process::run(unpack.arg(module).stdout(Stdio::from(file)))?;
    Ok(plain)
}

/// Packs the tree as the kernel reads it.
fn pack(tree: &Path, to: &Path) -> Result<PathBuf> {
    let pack = "find . | cpio --quiet --create --format newc --owner 0:0 > \"$1\"";
    process::run(Command::new("sh").args(["-c", pack, "sh"]).arg(to).current_dir(tree))?;
    Ok(to.to_path_buf())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// The first process of a guest.
///
/// ttyS0 is the kernel's console. What the command prints goes to ttyS1; on ttyS2 stand `started`
/// and then `exit CODE`, or `gave up: WHY`, and nothing else.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
give_up() { echo "gave up: $1" > /dev/ttyS2; $b poweroff -f; }
for module in $($b cat /modules/order); do
  $b insmod /modules/$module || give_up "no module $module"
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose @TAG@ /lower \
  || give_up "no root over 9p"
$b mount -t tmpfs tmpfs /rw
$b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /system \
  || give_up "no layer over the root"
for option in $($b cat /proc/cmdline); do
  case $option in
    nearwire.script=*) script=${option#*=} ;;
    nearwire.modules=*) modules=${option#*=} ;;
  esac
done
$b umount /proc
$b mount -t proc proc /system/proc
$b mount -t sysfs sysfs /system/sys
$b mount -t devtmpfs dev /system/dev
$b mkdir -p /system/dev/pts /system/dev/shm
$b mount -t devpts -o ptmxmode=666 devpts /system/dev/pts
$b mount -t tmpfs tmpfs /system/dev/shm
$b mount -t tmpfs tmpfs /system/run
$b mount -t bpf bpf /system/sys/fs/bpf
$b mount -t cgroup2 cgroup2 /system/sys/fs/cgroup
$b mount -t debugfs debugfs /system/sys/kernel/debug
$b mkdir -p /system/lib/modules
$b mount --bind /system$modules /system/lib/modules || give_up "no modules"
$b stty -F /system/dev/ttyS1 raw
$b stty -F /system/dev/ttyS2 raw
echo started > /system/dev/ttyS2
$b chroot /system /bin/sh "$script" < /dev/null > /system/dev/ttyS1 2>&1
code=$?
echo "exit $code" > /system/dev/ttyS2
$b poweroff -f
"#;
