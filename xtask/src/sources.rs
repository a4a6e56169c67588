//! What sources may say: `unsafe` only where it has a reason, no clock or I/O in the cores.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::arrows::{CORE_MODULES, CORES, NOT_NAMED};
use crate::workspace;

/// Where `unsafe` may stand, and why. A directory stands for all that is in it.
const UNSAFE: &[(&str, &str)] = &[
    ("dataplane-ebpf/", "kernel memory is reached by pointers that the verifier checks"),
    ("dataplane/", "map values are plain bytes to the kernel, and attaching takes raw sockets"),
    ("agent/src/io/sys.rs", "ioctl and setsockopt of TUN and UDP have no safe wrapper"),
    ("netns-tests/src/sys.rs", "ioctl, unshare and pre_exec have no safe form"),
    ("netns-tests/src/packet_socket.rs", "rustix takes addresses of its own kinds only by pointer"),
    ("netns-tests/src/socket_option.rs", "rare socket options have no safe form"),
];

/// What a core takes as an argument instead.
const NOT_IN_CORES: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

/// Checks every source; the remark says how many there are.
pub(crate) fn check() -> Result<String> {
    let root = workspace::root()?;
    let mut files = Vec::new();
    for entry in list(&root)? {
        // A crate is a directory with a manifest; build products and tools have none.
        if entry.join("Cargo.toml").is_file() {
            sources(&entry, &mut files)?;
        }
    }
    let mut wrong = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().into_owned();
        let in_shell = CORE_MODULES.iter().any(|module| name.starts_with(module));
        let is_core = CORES.iter().any(|core| name.starts_with(&format!("{}/src/", core.name)));
        let mut found = Vec::new();
        if !UNSAFE.iter().any(|(place, _)| name.starts_with(place)) {
            found.extend(unsafe_lines(&text));
        }
        let names: &[&[&str]] = match (is_core, in_shell) {
            (_, true) => &[NOT_IN_CORES, NOT_NAMED],
            (true, false) => &[NOT_IN_CORES],
            (false, false) => &[],
        };
        if !name.ends_with("/tests.rs") && !name.contains("/tests/") {
            found.extend(impure_lines(&text, &names.concat()));
        }
        wrong.extend(found.into_iter().map(|(line, what)| format!("{name}:{line}: {what}")));
    }
    if wrong.is_empty() {
        return Ok(format!("{} files", files.len()));
    }
    bail!("{}", wrong.join("\n"))
}

/// Every `.rs` under a crate.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for path in list(dir)? {
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, into)?;
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("listing {}", dir.display()))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The lines that hold code, numbered, without comments and string literals.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    (1..).zip(text.lines()).map(|(number, line)| {
        let mut code = String::new();
        let mut quoted = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                // A quote as a character literal opens no string.
                '"' if !code.ends_with('\'') => quoted = !quoted,
                '/' if !quoted && chars.peek() == Some(&'/') => break,
                _ if quoted => {}
                _ => code.push(c),
            }
        }
        (number, code)
    })
}

fn unsafe_lines(text: &str) -> Vec<(usize, String)> {
    let says = |code: &str| {
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    let what = "`unsafe` outside the places that sources.rs gives a reason for";
    code(text).filter(|(_, code)| says(code)).map(|(n, _)| (n, what.to_owned())).collect()
}

/// Clock and I/O outside of test code: a test may well need an `Instant` to start from.
fn impure_lines(text: &str, not: &[&str]) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    // Inside an item under `#[cfg(test)]`: its braces so far.
    let mut test: Option<i64> = None;
    for (number, code) in code(text) {
        let opened = count(&code, '{');
        let depth = opened - count(&code, '}');
        if let Some(before) = test {
            let now = before + depth;
            let over = now == 0 && (opened > 0 || before > 0 || code.trim_end().ends_with(';'));
            test = (!over).then_some(now);
        } else if code.trim() == "#[cfg(test)]" {
            test = Some(0);
        } else if let Some(what) = not.iter().find(|what| code.contains(**what)) {
            wrong.push((number, format!("`{what}` in a core")));
        }
    }
    wrong
}

fn count(code: &str, what: char) -> i64 {
    code.chars().filter(|c| *c == what).fold(0, |sum, _| sum + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: Vec<(usize, String)>) -> Vec<usize> {
        found.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text = "// unsafe { }\n#![forbid(unsafe_code)]\nlet a = \"unsafe {\";\nunsafe { b() };";
        assert_eq!(lines(unsafe_lines(text)), [4]);
    }

    #[test]
    fn clocks_are_found_outside_of_tests_only() {
        let text = "let t = Instant::now();\n\
                    #[cfg(test)]\nmod tests {\n  fn a() {\n    Instant::now();\n  }\n}\n\
                    #[cfg(test)]\nmod more_tests;\n\
                    let u = Instant::now();";
        assert_eq!(lines(impure_lines(text, NOT_IN_CORES)), [1, 10]);
    }
}
