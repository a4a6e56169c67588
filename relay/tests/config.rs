//! Configurations, good and bad, as an operator meets them.

use std::process::Command;

use proto::key::PublicKey;

fn check(text: &str) -> (bool, String) {
    let directory = std::env::temp_dir().join(format!("relay-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let file = directory.join(hex::encode(digest));
    std::fs::write(&file, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_nearwire-relay"))
        .arg("check")
        .arg(&file)
        .output()
        .expect("runs");
    std::fs::remove_file(&file).expect("removes the file");
    // The last one leaves the directory empty; before that it cannot be removed.
    let _ = std::fs::remove_dir(&directory);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("text"))
}

fn good() -> String {
    let key = PublicKey::from([7; 32]).to_base64();
    format!("control-keys = [\"1:{key}\"]\nself-signed = [\"relay.test\"]\n")
}

#[test]
fn every_key_is_read() {
    let text = format!(
        "{}quic = \"[::]:443\"\ntls = \"0.0.0.0:443\"\nlanes = \"[::]:3478\"\n\
         lane-addresses = [\"203.0.113.1:3478\", \"[2001:db8::1]:3478\"]\n\
         admin = \"127.0.0.1:9443\"\nmesh = \"[::]:444\"\n\
         region = \"region.toml\"\nrelay-key = \"relay.key\"\nclients = 10\nnetwork-clients = 5\nclient-rate = 1000\n\
         network-rate = 1000\nlane-limit = 10\nclient-lanes = 2\nlane-lifetime = 30\n\
         queue-age = 100\nqueue-bytes = 65536\nqueue-total = 100000\nidle = 30\n\
         admission-time = 5\nadmissions = 10\nsource-admissions = 2\ndrain-time = 100\n",
        good()
    );
    let (ok, said) = check(&text);
    assert!(ok && said.contains("is a good configuration"), "{said}");
}

#[test]
fn an_error_names_its_place_and_the_mend() {
    let cases = [
        ("quick = 1\n", "line 3", "unknown field `quick`"),
        ("clients = \"many\"\n", "line 3", "invalid type"),
        ("quic = \"443\"\n", "line 3", "socket address"),
        ("lanes = \"[::]:3478\"\n", "`lane-addresses`", "no client can send to"),
        ("lane-addresses = [\"192.0.2.1:1\"]\n", "`lanes` is not", "say where"),
        ("certificate = \"c.pem\"\n", "`private-key` is not", "`certificate` is set"),
        ("mesh = \"[::]:444\"\n", "`region` is not set", "`relay-key` together"),
        ("lane-lifetime = 1\n", "`lane-lifetime`", "below 5"),
        ("queue-bytes = 1000\n", "`queue-bytes`", "longest batch"),
    ];
    for (line, place, what) in cases {
        let (ok, said) = check(&format!("{}{line}", good()));
        assert!(!ok && said.contains(place) && said.contains(what), "{line:?} gave {said:?}");
    }
    let (ok, said) = check("self-signed = [\"relay.test\"]\n");
    assert!(!ok && said.contains("`control-keys` names no key"), "{said}");
    let (ok, said) = check("control-keys = [\"x\"]\n");
    assert!(!ok && said.contains("line 1") && said.contains("ID:KEY"), "{said}");
    let key = PublicKey::from([7; 32]).to_base64();
    let (ok, said) = check(&format!("control-keys = [\"1:{key}\"]\n"));
    assert!(!ok && said.contains("there is no certificate"), "{said}");
}
