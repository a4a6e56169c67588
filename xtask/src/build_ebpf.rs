//! `cargo xtask build-ebpf`: builds the kernel half and writes the objects that `dataplane` embeds.
//!
//! The objects are committed, so that users need no eBPF toolchain; `--check` proves that they are
//! what the sources make. For that they must not depend on where they were built: paths are remapped,
//! crates are named without them (`dataplane-ebpf/rustc.sh`), and the debug sections, which hold more
//! of them, are stripped. BTF, which the loader needs, stays.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

/// Its LLVM must be the pinned compiler's: see `install_linker`.
const BPF_LINKER: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";
/// Where the objects are, from the root of the repository.
const OBJECTS: &str = "dataplane/ebpf";
/// Their names: those of the binaries in `dataplane-ebpf/Cargo.toml`.
const BINARIES: [&str; 3] = ["nearwire", "steering", "lanes"];

/// Build the eBPF objects.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write nothing; fail unless the committed objects are what the sources make.
    #[arg(long)]
    check: bool,
}

/// Builds the objects, and writes or compares them.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let root = root()?;
    let toolchain = Toolchain::pinned(&root)?;
    toolchain.add_components()?;
    let linker = install_linker(&root, &toolchain)?;
    let built = build(&root, &toolchain, &linker)?;
    for binary in BINARIES {
        let stripped = strip(&toolchain, &built.join(binary))?;
        let object = format!("{OBJECTS}/{binary}.bpf.o");
        let committed = root.join(&object);
        if args.check {
            compare(&stripped, &committed, &object)?;
        } else {
            fs::create_dir_all(root.join(OBJECTS))?;
            fs::copy(&stripped, &committed)
                .with_context(|| format!("cannot write {}", committed.display()))?;
            eprintln!("build-ebpf: wrote {object}");
        }
    }
    Ok(())
}

fn root() -> anyhow::Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask is not in a workspace")?.to_path_buf())
}

fn compare(built: &Path, committed: &Path, object: &str) -> anyhow::Result<()> {
    let fresh = fs::read(built)?;
    let old = fs::read(committed).with_context(|| {
        format!("cannot read {object}: write it with `cargo xtask build-ebpf` and commit it")
    })?;
    ensure!(
        fresh == old,
        "{object} ({} bytes) is not what the sources make ({} bytes, in {}): run `cargo xtask \
         build-ebpf` and commit the result",
        old.len(),
        fresh.len(),
        built.display(),
    );
    eprintln!("build-ebpf: {object} is what the sources make");
    Ok(())
}

/// The toolchain that `rust-toolchain.toml` pins. The objects are reproducible for one compiler only.
struct Toolchain {
    channel: String,
    sysroot: PathBuf,
    host: String,
}

impl Toolchain {
    fn pinned(root: &Path) -> anyhow::Result<Self> {
        let file = root.join("rust-toolchain.toml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let channel = text
            .lines()
            .find_map(|line| line.strip_prefix("channel = "))
            .map(|value| value.trim().trim_matches('"').to_owned())
            .with_context(|| format!("{} has no line `channel = ...`", file.display()))?;
        let rustc = |arguments: &[&str]| {
            let mut command = clean("rustup");
            command.args(["run", &channel, "rustc"]).args(arguments);
            output(&mut command)
        };
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
        let host = rustc(&["-vV"])?
            .lines()
            .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
            .context("`rustc -vV` does not name the host")?;
        Ok(Self { channel, sysroot, host })
    }

    /// `rust-src` to build `core` for a target that has none, `llvm-tools` to strip the object.
    fn add_components(&self) -> anyhow::Result<()> {
        let core = self.sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
        for (present, component) in [(core, "rust-src"), (self.objcopy(), "llvm-tools")] {
            if !present.exists() {
                eprintln!("build-ebpf: adding component {component} to {}", self.channel);
                run_command(clean("rustup").args([
                    "component",
                    "add",
                    component,
                    "--toolchain",
                    &self.channel,
                ]))?;
            }
        }
        Ok(())
    }

    fn objcopy(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-objcopy")
    }

    /// rustup's own shared LLVM, the one that this compiler emits bitcode with.
    fn libllvm(&self) -> anyhow::Result<PathBuf> {
        let lib = self.sysroot.join("lib");
        let mut found = Vec::new();
        for entry in fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("libLLVM") && name.contains(".so") {
                found.push(path);
            }
        }
        // The longest name is the library itself; a short one may be a linker script beside it.
        found.sort_by_key(|path| path.as_os_str().len());
        found.pop().with_context(|| format!("no libLLVM in {}", lib.display()))
    }
}

/// bpf-linker, linked against rustup's LLVM through a private prefix: it then needs no LLVM
/// packages and can never disagree with the compiler about bitcode.
fn install_linker(root: &Path, toolchain: &Toolchain) -> anyhow::Result<PathBuf> {
    let tools = root.join(".tools");
    let linker = tools.join("bin/bpf-linker");
    if linker.exists() && runs_as(&linker, BPF_LINKER) {
        return Ok(linker);
    }
    eprintln!("build-ebpf: building bpf-linker {BPF_LINKER} into .tools (once, about 3 minutes)");
    let prefix = tools.join("llvm");
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib)?;
    let link = lib.join("libLLVM.so");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    symlink(toolchain.libllvm()?, &link)
        .with_context(|| format!("cannot make {}", link.display()))?;

    let rpath = format!("-Clink-arg=-Wl,-rpath,{}/lib", toolchain.sysroot.display());
    run_command(
        clean("rustup")
            .args(["run", &toolchain.channel, "cargo", "install", "bpf-linker"])
            .args(["--version", BPF_LINKER, "--locked", "--force"])
            .args(["--no-default-features", "--features", "llvm-22"])
            .arg("--root")
            .arg(&tools)
            // Out of the way of the outer cargo's lock on the target directory.
            .env("CARGO_TARGET_DIR", root.join("target/bpf-linker"))
            .env("LLVM_PREFIX", &prefix)
            .env("CARGO_ENCODED_RUSTFLAGS", rpath),
    )?;
    ensure!(
        runs_as(&linker, BPF_LINKER),
        "{} was built but does not run: remove .tools and try again",
        linker.display()
    );
    Ok(linker)
}

fn runs_as(linker: &Path, version: &str) -> bool {
    output(clean(linker).arg("--version")).is_ok_and(|text| text.contains(version))
}

/// Returns the directory of what was built.
fn build(root: &Path, toolchain: &Toolchain, linker: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("build-ebpf: building dataplane-ebpf for {TARGET}");
    let crate_dir = root.join("dataplane-ebpf");
    let target_dir = root.join("target/ebpf");
    let mut flags: Vec<OsString> =
        ["-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"].map(Into::into).into();
    flags.push(join("-Clinker=", linker, ""));
    for (from, to) in [
        (root.to_path_buf(), "/nearwire"),
        (cargo_home()?, "/cargo"),
        (toolchain.sysroot.clone(), "/rust"),
    ] {
        flags.push(join("--remap-path-prefix=", &from, &format!("={to}")));
    }
    run_command(
        clean("rustup")
            .args(["run", &toolchain.channel, "cargo", "build"])
            .args(["--locked", "--release", "-Zbuild-std=core", "--target"])
            .arg(TARGET)
            .current_dir(&crate_dir)
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("RUSTC_WRAPPER", crate_dir.join("rustc.sh"))
            // `-Zbuild-std` on the stable compiler: for this build alone.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\x1f"))),
    )?;
    Ok(target_dir.join(TARGET).join("release"))
}

fn strip(toolchain: &Toolchain, built: &Path) -> anyhow::Result<PathBuf> {
    let stripped = built.with_extension("bpf.o");
    run_command(Command::new(toolchain.objcopy()).arg("--strip-debug").arg(built).arg(&stripped))?;
    Ok(stripped)
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

fn join(before: &str, path: &Path, after: &str) -> OsString {
    let mut joined = OsString::from(before);
    joined.push(path);
    joined.push(after);
    joined
}

/// A command without what the outer cargo sets for its own children and what would change the
/// inner one's compiler, flags or libraries.
fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let outer =
            ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_PKG_", "CARGO_MANIFEST_"];
        if outer.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    for name in [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(name);
    }
    command
}

fn run_command(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{status}: {command:?}");
    Ok(())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{}: {command:?}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
