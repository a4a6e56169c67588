//! Configurations, good and bad, as an operator meets them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser};
use proptest::prelude::*;
use proto::key::PublicKey;
use relay::server::{Lines, Options};

/// Every key: a good value, a bad one, what the refusal of the bad one says, and what else the good
/// one needs. As TOML.
const KEYS: &[(&str, &str, &str, &str, &str)] = &[
    ("quic", "\"[::]:443\"", "\"443\"", "socket address", ""),
    ("tls", "\"0.0.0.0:443\"", "\"relay.test:443\"", "socket address", ""),
    ("lanes", "\"192.0.2.1:3478\"", "\"[::]:3478\"", "no client can send to", ""),
    (
        "lane-addresses",
        "[\"203.0.113.1:3478\", \"[2001:db8::1]:3478\"]",
        "[\"0.0.0.0:3478\"]",
        "no client can send to",
        "lanes = \"[::]:3478\"\n",
    ),
    (
        "stun-other",
        "[\"203.0.113.9:3479\", \"[2001:db8::9]:3479\"]",
        "[\"203.0.113.9:3478\"]",
        "with the port of lanes",
        "lanes = \"[::]:3478\"\nlane-addresses = [\"203.0.113.1:3478\", \"[2001:db8::1]:3478\"]\n",
    ),
    ("xdp", "\"eth0,eth1\"", "\"lo\"", "not on `lo`", ""),
    ("admin", "\"127.0.0.1:9443\"", "9443", "expected socket address", ""),
    ("certificate", "\"c.pem\"", "7", "invalid type", "private-key = \"k.pem\"\n"),
    ("private-key", "\"k.pem\"", "7", "invalid type", "certificate = \"c.pem\"\n"),
    ("self-signed", "[\"relay.test\"]", "[]", "has no name", ""),
    ("acme-names", "[\"relay.test\"]", "[\"*.test\"]", "host names only", STATE),
    ("acme-state", "\"/var/lib/relay\"", "\"relay\"", "from the root on", NAMES),
    ("acme-contact", "\"a@relay.test\"", "\"relay.test\"", "mail address", ACME),
    ("acme-directory", "\"https://ca.test/dir\"", "\"http://ca.test\"", "https:// only", ACME),
    ("acme-root", "\"ca.pem\"", "7", "invalid type", ACME),
    ("acme-eab-id", "\"id\"", "7", "invalid type", EAB_KEY),
    ("acme-eab-key", "\"key\"", "7", "invalid type", EAB_ID),
    ("control-keys", "[KEY]", "[\"x\"]", "ID:KEY", ""),
    ("control", "\"https://control.test\"", "\"http://control.test\"", "not https://", TOKEN),
    ("control-token", "\"t\"", "7", "invalid type", CONTROL),
    ("control-ca", "\"c\"", "7", "invalid type", BOTH),
    ("mesh", "\"[::]:444\"", "\"444\"", "socket address", "region = \"r\"\nrelay-key = \"k\"\n"),
    ("region", "\"r\"", "7", "invalid type", "mesh = \"[::]:444\"\nrelay-key = \"k\"\n"),
    ("relay-key", "\"k\"", "7", "invalid type", "mesh = \"[::]:444\"\nregion = \"r\"\n"),
    ("clients", "10", "0", "say at least 1", ""),
    ("network-clients", "5", "0", "say at least 1", ""),
    ("client-rate", "1000", "0", "0 is too small", ""),
    ("network-rate", "1000", "-1", "-1 is too small", ""),
    ("lane-limit", "10", "600000", "numbers for 524288", ""),
    ("client-lanes", "2", "\"many\"", "a whole number", ""),
    ("lane-lifetime", "30", "4", "say at least 5", ""),
    ("queue-age", "100", "0", "say at least 1", ""),
    ("queue-bytes", "131072", "1000", "say at least 65919", ""),
    ("queue-total", "1000000", "1000", "say at least 524288", ""),
    ("idle", "30", "9", "say at least 10", ""),
    ("admission-time", "5", "0", "say at least 1", ""),
    ("admissions", "10", "0", "say at least 1", ""),
    ("source-admissions", "2", "0", "say at least 1", ""),
    ("drain-time", "100", "\"5s\"", "without quotes or a unit", ""),
];
const CONTROL: &str = "control = \"https://control.test\"\n";
const TOKEN: &str = "control-token = \"t\"\n";
const BOTH: &str = "control = \"https://control.test\"\ncontrol-token = \"t\"\n";
const NAMES: &str = "acme-names = [\"relay.test\"]\n";
const STATE: &str = "acme-state = \"/var/lib/relay\"\n";
const ACME: &str = "acme-names = [\"relay.test\"]\nacme-state = \"/var/lib/relay\"\n";
const EAB_KEY: &str =
    "acme-names = [\"relay.test\"]\nacme-state = \"/var/lib/relay\"\nacme-eab-key = \"key\"\n";
const EAB_ID: &str =
    "acme-names = [\"relay.test\"]\nacme-state = \"/var/lib/relay\"\nacme-eab-id = \"id\"\n";

/// The options as flags and environment give them.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
}

/// A file that ends with its test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let name = format!("relay-config-{}-{}", std::process::id(), hex::encode(digest));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Another test may have had the same text.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn check(text: &str) -> (bool, String) {
    let file = File::new(text);
    let output = Command::new(env!("CARGO_BIN_EXE_nearwire-relay"))
        .arg("check")
        .arg(&file.0)
        .output()
        .expect("runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("text"))
}

fn key() -> String {
    format!("\"1:{}\"", PublicKey::from([9; 32]).to_base64())
}

/// What a whole configuration needs beside these lines.
fn rest_of(lines: &str) -> String {
    let mut rest = String::new();
    if !lines.contains("control-keys") {
        rest.push_str(&format!("control-keys = [{}]\n", key()));
    }
    if !["certificate", "self-signed", "acme-names", "acme-state"].iter().any(|k| lines.contains(k))
    {
        rest.push_str("self-signed = [\"relay.test\"]\n");
    }
    rest
}

#[test]
fn every_key_is_known_by_every_name_and_documented() {
    let documented = include_str!("../../docs/relay.md");
    let of_table: BTreeSet<String> = KEYS.iter().map(|(key, ..)| (*key).to_owned()).collect();
    let mut of_flags = BTreeSet::new();
    for flag in Flags::command().get_arguments() {
        let Some(name) = flag.get_long().filter(|name| *name != "help") else { continue };
        of_flags.insert(name.to_owned());
        let variable = format!("NEARWIRE_RELAY_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(&*variable));
        assert!(flag.get_help().is_some(), "--help does not explain {name}");
        let row = format!("| `{name}` |");
        assert!(documented.contains(&row), "docs/relay.md has no row {row}");
    }
    assert_eq!(of_table, of_flags, "the table of this test and the keys");
}

#[test]
fn every_key_is_read_alike_from_file_and_flag() {
    for (name, good, _, _, needs) in KEYS {
        let good = good.replace("KEY", &key());
        let lines = format!("{name} = {good}\n{needs}");
        let text = format!("{lines}{}", rest_of(&lines));
        let file = File::new(&text);
        let of_file = Options::read(&file.0).unwrap_or_else(|error| panic!("{text}: {error:#}"));
        // A list is given as its items with commas between them.
        let list = good.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let value = list.unwrap_or(&good).replace(['"', ' '], "");
        let flag = Flags::try_parse_from(["relay", &format!("--{name}"), &value]);
        let of_flag = flag.unwrap_or_else(|error| panic!("--{name} {value}: {error}")).options;
        let both = of_flag.clone().or(of_file.clone());
        let without =
            |options: Options| format!("{:?}", Options { lines: Lines::default(), ..options });
        assert_eq!(without(both), without(of_file.clone()), "{name}");
        assert_ne!(without(of_flag), without(Options::default()), "{name}");
        of_file.check().unwrap_or_else(|error| panic!("{text}: {error:#}"));
    }
    let everything: String = KEYS
        .iter()
        .filter(|(name, ..)| {
            !["certificate", "private-key", "lanes"].contains(name) && !name.starts_with("acme-")
        })
        .map(|(name, good, ..)| format!("{name} = {}\n", good.replace("KEY", &key())))
        .collect();
    let everything = format!("{everything}lanes = \"[::]:3478\"\n");
    let options = Options::parse(Path::new("relay.toml"), &everything);
    options.and_then(Options::check).expect("a good configuration");
}

#[test]
fn every_bad_value_is_refused_with_its_line_and_the_mend() {
    for (name, _, bad, what, needs) in KEYS {
        let lines = format!("{name} = {bad}\n{needs}");
        let text = format!("# the relay\n{}{lines}", rest_of(&lines));
        let at = text.lines().position(|line| line.starts_with(&format!("{name} ="))).expect("it");
        let (ok, said) = check(&text);
        let place = format!("line {}", at + 1);
        assert!(!ok && said.contains(&place) && said.contains(what), "{text}gave {said}");
        assert!(said.contains(name), "{text}gave {said}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let keys = format!("control-keys = [{}]\n", key());
    let cases = [
        ("quick = 1\n", "line 2", "unknown field `quick`"),
        ("lane-addresses = [\"192.0.2.1:1\"]\nself-signed = [\"a\"]\n", "line 2", "say where"),
        ("certificate = \"c.pem\"\n", "line 2", "`private-key` is not"),
        ("private-key = \"c.pem\"\n", "line 2", "`certificate` is not"),
        ("self-signed = [\"a\"]\nacme-state = \"/a\"\n", "line 3", "`acme-names` is not"),
        ("self-signed = [\"a\"]\nacme-names = [\"a.b\"]\n", "line 3", "exclude each other"),
        (
            "self-signed = [\"a\"]\nmesh = \"[::]:444\"\n",
            "line 3",
            "`region` and `relay-key` together",
        ),
        ("self-signed = [\"a\"]\ncontrol = \"https://a\"\n", "line 3", "`control-token` is not"),
        ("self-signed = [\"a\"]\ncontrol-token = \"t\"\n", "line 3", "`control` is not"),
        ("self-signed = [\"a\"]\ncontrol-ca = \"c\"\n", "line 3", "`control` is not"),
        (
            "self-signed = [\"a\"]\nstun-other = [\"192.0.2.9:9\"]\n",
            "line 3",
            "say where lanes are taken",
        ),
        (
            "self-signed = [\"a\"]\nlanes = \"192.0.2.1:8\"\nstun-other = [\"192.0.2.1:9\"]\n",
            "line 4",
            "no other IPv4",
        ),
        (
            "self-signed = [\"a\"]\nlanes = \"192.0.2.1:8\"\nstun-other = [\"[fd00::9]:9\"]\n",
            "line 4",
            "no other IPv6",
        ),
        (
            "self-signed = [\"a\"]\nlanes = \"192.0.2.1:8\"\nstun-other = [\"192.0.2.2:9\", \"192.0.2.3:9\"]\n",
            "line 4",
            "two addresses of IPv4",
        ),
        (
            "self-signed = [\"a\"]\nlanes = \"192.0.2.1:8\"\nstun-other = [\"0.0.0.0:9\"]\n",
            "line 4",
            "need an address",
        ),
        ("", "there is no certificate", "`acme-names`"),
        ("self-signed = [\"\"]\n", "line 2", "a host name or an address"),
        ("self-signed = [\"a b \u{fc}\"]\n", "line 2", "a host name or an address"),
        ("self-signed = [\"a\"]\nlanes = \"192.0.2.1:443\"\n", "line 3", "`quic`'s by [::]:443"),
        (
            "self-signed = [\"a\"]\nquic = \"192.0.2.1:5\"\nlanes = \"0.0.0.0:5\"\n\
             lane-addresses = [\"192.0.2.1:5\"]\n",
            "line 4",
            "`quic`'s by 192.0.2.1:5",
        ),
        ("self-signed = [\"a\"]\nadmin = \"127.0.0.1:443\"\n", "line 3", "`tls`'s by [::]:443"),
        (
            "self-signed = [\"a\"]\nlanes = \"192.0.2.1:8\"\nstun-other = [\"192.0.2.2:443\"]\n",
            "line 4",
            "`quic`'s by [::]:443",
        ),
        ("self-signed = [\"a\"]\nlanes = \"224.0.0.1:8\"\n", "line 3", "no address of a host"),
        (
            "self-signed = [\"a\"]\nlanes = \"[::]:8\"\nlane-addresses = [\"224.0.0.1:8\"]\n",
            "line 4",
            "no client can send to",
        ),
        (
            "self-signed = [\"a\"]\nlanes = \"0.0.0.0:8\"\nlane-addresses = [\"[fd00::1]:8\"]\n",
            "line 4",
            "takes no IPv6",
        ),
    ];
    for (lines, place, what) in cases {
        let (ok, said) = check(&format!("{keys}{lines}"));
        assert!(!ok && said.contains(place) && said.contains(what), "{lines:?} gave {said:?}");
    }
    let (ok, said) = check("self-signed = [\"relay.test\"]\n");
    assert!(!ok && said.contains("`control-keys` names no key"), "{said}");
    let keys = |keys: String| check(&format!("self-signed = [\"a\"]\ncontrol-keys = [{keys}]\n"));
    let other = key().replace("1:", "01:");
    let (ok, said) = keys(format!("{}, {other}", key()));
    assert!(!ok && said.contains("line 2") && said.contains("two keys with the id 1"), "{said}");
    // No point's way to be written; one by which anybody signs; no point.
    for bytes in [[255; 32], [0; 32], [7; 32]] {
        let (ok, said) = keys(format!("\"1:{}\"", PublicKey::from(bytes).to_base64()));
        assert!(!ok && said.contains("line 2") && said.contains("no public key"), "{said}");
    }
}

/// A file's text as it may come from a tired operator: keys with good values, bad ones and those of
/// others, whole lines, pieces of lines, and whatever else.
fn scribbled() -> impl Strategy<Value = String> {
    let at = 0..KEYS.len();
    let line = (at.clone(), at, 0..6_u8, any::<prop::sample::Index>(), "\\PC{0,12}").prop_map(
        |(at, other, kind, cut, noise)| {
            let (name, good, bad, _, needs) = KEYS[at];
            let value = [good, bad, KEYS[other].1, KEYS[other].2, &noise, "{"][usize::from(kind)];
            let line = format!("{name} = {}\n{needs}", value.replace("KEY", &key()));
            let cut = cut.index(8 * line.len());
            line.get(..cut.min(line.len())).map_or(noise, str::to_owned)
        },
    );
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_a_configuration_or_is_refused_in_words(text in scribbled(), more: String) {
        for text in [&text, &more] {
            let said = match Options::parse(Path::new("relay.toml"), text) {
                Ok(options) => options.check().map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = said {
                let words = format!("{error:#}");
                prop_assert!(words.contains(' ') && words.len() < 4_096 + 4 * text.len(), "{words}");
            } else {
                prop_assert!(text.contains("control-keys"), "{text}");
            }
        }
    }
}
