//! Completions and manual pages, as the program itself makes them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::Command;

fn run(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nearwire")).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_shell_has_its_completions() {
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef nearwire"),
        ("fish", "complete -c nearwire"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = run(&["completions", shell]);
        assert!(script.contains(sign) && script.contains("advertise-routes"), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_with_what_it_takes() {
    let directory = std::env::temp_dir().join(format!("nearwire-man-{}", std::process::id()));
    run(&["man", directory.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let (all, up) = (page("nearwire.1"), page("nearwire-up.1"));
    page("nearwire-policy-explain.1");
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(all.contains("nearwire\\-up(1)"), "{all}");
    for word in ["\\-\\-advertise\\-routes", "\\-\\-json", "Exit codes: 0 connected"] {
        assert!(up.contains(word), "no {word} in {up}");
    }
}
