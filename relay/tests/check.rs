//! `check` calls good what `run` would run, and nothing else: with the files that a configuration names.

use std::path::PathBuf;
use std::process::{Command, Output};

use proto::key::PublicKey;
use relay::server::make_key;

/// A directory with all that a configuration can name; it ends with its test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("relay-check-{name}-{}", std::process::id());
        let files = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&files.0).expect("a directory");
        let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()]).expect("made");
        files.write("c.pem", &made.cert.pem());
        files.write("k.pem", &made.signing_key.serialize_pem());
        files.write("token", "a-token\n");
        files.write("eab", "c2VjcmV0\n");
        let own = make_key(&files.0.join("relay.key")).expect("a key");
        let relay = format!("[[relay]]\nid = 1\nkey = \"{own}\"\nmesh = \"192.0.2.1:444\"\n");
        files.write("region.toml", &format!("name = \"here\"\n{relay}"));
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }

    /// The program, there.
    fn relay(&self, words: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        // One that serves is ended, and has failed then.
        let mut command = Command::new("timeout");
        command.arg("30").arg(env!("CARGO_BIN_EXE_nearwire-relay")).args(words);
        command.current_dir(&self.0).envs(environment.iter().copied());
        let Output { status, stdout, stderr } = command.output().expect("runs");
        let said = String::from_utf8([stdout, stderr].concat()).expect("text");
        assert_ne!(status.code(), Some(124), "{words:?} went on: {said}");
        (status.success(), said)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Best effort: it is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key() -> String {
    format!("1:{}", PublicKey::from([9; 32]).to_base64())
}

const CERTIFICATE: &str = "certificate = \"c.pem\"\nprivate-key = \"k.pem\"\n";
const SELF_SIGNED: &str = "self-signed = [\"relay.test\"]\n";
const REGION: &str =
    "mesh = \"127.0.0.1:0\"\nregion = \"region.toml\"\nrelay-key = \"relay.key\"\n";
const CONTROL: &str =
    "control = \"https://127.0.0.1:9\"\ncontrol-token = \"token\"\ncontrol-ca = \"c.pem\"\n";
const EXTERNAL: &str = "acme-names = [\"relay.test\"]\nacme-state = \"/nonexistent/acme\"\n\
    acme-root = \"c.pem\"\nacme-eab-id = \"id\"\nacme-eab-key = \"eab\"\n";

#[test]
fn a_file_that_is_missing_or_holds_something_else_is_named() {
    let files = Files::new("files");
    let local = "quic = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n";
    for (text, named) in [
        (CERTIFICATE.to_owned(), &["c.pem", "k.pem"][..]),
        (format!("{SELF_SIGNED}{REGION}"), &["region.toml", "relay.key"]),
        (format!("{SELF_SIGNED}{CONTROL}"), &["token", "c.pem"]),
        (EXTERNAL.to_owned(), &["c.pem", "eab"]),
    ] {
        files.write("relay.toml", &format!("control-keys = [\"{}\"]\n{local}{text}", key()));
        let (good, said) = files.relay(&["check", "relay.toml"], &[]);
        assert!(good && said.contains("is a good configuration"), "{text}gave {said}");
        for name in named {
            let was = std::fs::read_to_string(files.0.join(name)).expect("it is there");
            let refused = |what: &str| {
                for words in [["check", "relay.toml"], ["--config", "relay.toml"]] {
                    let (good, said) = files.relay(&words, &[]);
                    let what = format!("{words:?} with {name} {what}, of {text}gave {said}");
                    assert!(!good && said.contains(name), "{what}");
                }
            };
            // Written over, so that a secret's mode stays.
            files.write(name, "no\nsuch thing\n");
            refused("of another kind");
            files.write(name, &was);
            let away = files.0.join("away");
            std::fs::rename(files.0.join(name), &away).expect("renamed");
            refused("missing");
            std::fs::rename(away, files.0.join(name)).expect("renamed back");
        }
    }
}

#[test]
fn check_makes_nothing() {
    let files = Files::new("nothing");
    let acme = EXTERNAL.replace("/nonexistent/acme", &files.0.join("acme").to_string_lossy());
    files.write("relay.toml", &format!("control-keys = [\"{}\"]\n{acme}", key()));
    let (good, said) = files.relay(&["check", "relay.toml"], &[]);
    assert!(good, "{said}");
    assert!(!files.0.join("acme").exists());
}

#[test]
fn an_interface_that_is_not_there_is_not_foretold() {
    let files = Files::new("interface");
    let lanes = "lanes = \"127.0.0.1:3478\"\nxdp = \"nosuch0\"\n";
    files.write("relay.toml", &format!("control-keys = [\"{}\"]\n{SELF_SIGNED}{lanes}", key()));
    let (good, said) = files.relay(&["check", "relay.toml"], &[]);
    assert!(good && said.contains("in user space"), "{said}");
    assert!(!said.contains("by the kernel"), "{said}");
}

#[test]
fn flags_and_environment_count_as_they_do_at_a_start() {
    let files = Files::new("environment");
    files.write("relay.toml", &format!("{SELF_SIGNED}lanes = \"127.0.0.1:0\"\n"));
    let (good, said) = files.relay(&["check", "relay.toml"], &[]);
    assert!(!good && said.contains("names no key"), "{said}");
    let (key, names) = (key(), "NEARWIRE_RELAY_CONTROL_KEYS");
    for (words, environment) in [
        (&["check", "relay.toml"][..], &[(names, &*key)][..]),
        (&["check", "relay.toml", "--control-keys", &key], &[]),
        (&["check"], &[(names, &key), ("NEARWIRE_RELAY_CONFIG", "relay.toml")]),
        (&["check"], &[(names, &key), ("NEARWIRE_RELAY_SELF_SIGNED", "relay.test")]),
        // Set to nothing is not set.
        (
            &["check", "relay.toml", "--control-keys", &key],
            &[("NEARWIRE_RELAY_ADMIN", ""), ("NEARWIRE_RELAY_ACME_NAMES", ""), (names, "")],
        ),
    ] {
        let (good, said) = files.relay(words, environment);
        assert!(good && said.contains("is a good configuration"), "{words:?} gave {said}");
    }
    // A flag counts before the file, for better or worse.
    let flags = ["check", "relay.toml", "--control-keys", &key, "--lanes", "0.0.0.0:0"];
    let (good, said) = files.relay(&flags, &[]);
    assert!(!good && said.contains("`lanes` is 0.0.0.0:0"), "{said}");
}

#[test]
fn the_unit_checks_what_it_starts_and_starts_again() {
    let unit = include_str!("../nearwire-relay.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let file = value("ExecStart").rsplit(' ').next().expect("a file").to_owned();
    assert!(value("ExecStartPre").ends_with(&format!(" check {file}")));
    // Five starts within ten seconds are the last, by systemd's own limit.
    assert!(value("RestartSec").parse::<u32>().expect("seconds") >= 2);
}
