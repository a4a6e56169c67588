//! The program as a person runs it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::scene::Directory;

/// Ends the program if a test does not.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearwire-control"));
    command.args(arguments);
    command
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Starts a server; gives it and its address.
fn serve(data: &Path) -> (Running, String) {
    serve_and_print(data, Stdio::null())
}

fn serve_and_print(data: &Path, to: Stdio) -> (Running, String) {
    let data = data.to_str().unwrap();
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    let mut server = Running(command.stderr(Stdio::piped()).stdout(to).spawn().unwrap());
    let said = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let mut lines = said.map(|line| line.unwrap());
    let line = lines.find(|line| line.contains("serving")).expect("it serves");
    let url = line.split("http://").nth(1).unwrap();
    let end = url.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(url.len());
    // Somebody has to read on, or it stops to write.
    std::thread::spawn(move || lines.for_each(drop));
    (server, format!("http://{}", &url[..end]))
}

#[test]
fn from_nothing_to_an_enrolment_key_and_through_a_backup() {
    let directory = Directory::new();
    let data = directory.0.join("data");
    let flags = ["--data", data.to_str().unwrap()];
    let (mut server, url) = serve(&data);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(data.join("seal.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let token = done(&program(&[&["token"], &flags[..]].concat()).output().unwrap());
    let admin = |arguments: &[&str]| {
        let mut command = program(&[&["admin"], arguments].concat());
        command.env("NEARWIRE_URL", &url).env("NEARWIRE_TOKEN", &token).output().unwrap()
    };
    assert!(done(&admin(&["networks", "create", "home"])).contains("name: home"));
    let key = done(&admin(&["keys", "create", "home", "--tag", "tag:web"]));
    assert!(key.contains("secret: nwk_"), "{key}");
    let policy = directory.0.join("policy.hujson");
    std::fs::write(&policy, "{ \"acls\": [ { \"action\": \"maybe\" } ] }").unwrap();
    let refused = admin(&["policy", "put", "home", policy.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("policy:1:"));
    let listed = done(&admin(&["networks", "list", "--json"]));
    assert!(listed.contains("\"name\": \"home\""), "{listed}");

    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    assert!(server.0.wait().unwrap().success());

    let backup = directory.0.join("backup");
    let backup = backup.to_str().unwrap();
    done(&program(&[&["backup"], &flags[..], &[backup]].concat()).output().unwrap());
    let other = directory.0.join("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(data.join("seal.key"), other.join("seal.key")).unwrap();
    let other_flags = ["--data", other.to_str().unwrap()];
    done(&program(&[&["restore"], &other_flags[..], &[backup]].concat()).output().unwrap());
    let again = program(&[&["restore"], &other_flags[..], &[backup]].concat()).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
    let verified = [&["audit", "verify"], &other_flags[..]].concat();
    assert!(done(&program(&verified).output().unwrap()).contains("all in place"));

    let (_server, url) = serve(&other);
    let mut list = program(&["admin", "keys", "list", "home", "--json"]);
    let list = list.env("NEARWIRE_URL", &url).env("NEARWIRE_TOKEN", &token).output().unwrap();
    assert!(done(&list).contains("tag:web"));
}

#[test]
fn the_first_steps_that_are_printed_lead_to_a_node() {
    let directory = Directory::new();
    let data = directory.0.join("data");
    let printed = directory.0.join("printed");
    let (server, url) = serve_and_print(&data, std::fs::File::create(&printed).unwrap().into());
    let printed = std::fs::read_to_string(printed).unwrap();
    // What is indented is to be typed; the last of it at another machine.
    let typed: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let (up, typed) = typed.split_last().unwrap();
    assert_eq!(*up, format!("nearwire up --control {url} --auth-key KEY"), "{printed}");
    assert_eq!(typed.len(), 4, "{printed}");
    let own = Path::new(env!("CARGO_BIN_EXE_nearwire-control")).parent().unwrap();
    let path = std::env::join_paths(
        [own.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("sh");
    shell.args(["-euc", &typed.join("\n")]);
    // "With the same configuration."
    shell.env("NEARWIRE_CONTROL_DATA", &data).env("PATH", path.unwrap());
    let said = done(&shell.output().unwrap());
    assert!(said.contains("name: home"), "{said}");
    let secret = said.lines().find_map(|line| line.strip_prefix("secret: ")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let enrolled = runtime.block_on(async {
        let client = control_client::Client::new(&url, &control_client::Trust::Host).unwrap();
        client.enrol(&crate::agent::request(secret, 1)).await.unwrap()
    });
    assert_eq!(enrolled.network.name, "home");
    // There is nothing to do any more, and nothing is printed.
    drop(server);
    let again = directory.0.join("again");
    let (_server, _) = serve_and_print(&data, std::fs::File::create(&again).unwrap().into());
    assert_eq!(std::fs::read_to_string(again).unwrap(), "");
}

#[test]
fn a_good_configuration_is_said_to_be_one() {
    let directory = Directory::new();
    let file = directory.0.join("control.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:8080\"\n").unwrap();
    let file = file.to_str().unwrap();
    let said = done(&program(&["check", file, "--json"]).output().unwrap());
    assert_eq!(said, format!("{{\"file\":\"{file}\",\"good\":true}}"));
    std::fs::write(file, "listen = \"127.0.0.1:8080\"\nlistens = 1\n").unwrap();
    let refused = program(&["check", file]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("line 2") && said.contains("listens"), "{said}");
}

#[test]
fn it_has_completions_and_manual_pages() {
    let directory = Directory::new();
    let script = done(&program(&["completions", "bash"]).output().unwrap());
    assert!(script.contains("nearwire__control"), "{script}");
    done(&program(&["man", directory.0.to_str().unwrap()]).output().unwrap());
    for page in ["nearwire-control.1", "nearwire-control-admin-policy-put.1"] {
        let text = std::fs::read_to_string(directory.0.join(page)).unwrap();
        assert!(text.starts_with(".ie"), "{page}: {text}");
    }
}

#[test]
fn it_does_not_start_without_its_seal_key_or_in_the_open() {
    let directory = Directory::new();
    let data = directory.0.join("data");
    let (mut server, _) = serve(&data);
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    server.0.wait().unwrap();
    let right = data.join("seal.key");
    std::fs::rename(&right, data.join("elsewhere")).unwrap();
    let refused = |arguments: &[&str]| {
        let mut command = program(arguments);
        let mut child = Running(command.stderr(Stdio::piped()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it runs: {arguments:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut said).unwrap();
        said
    };
    let data = data.to_str().unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    assert!(said.contains("seal.key") && said.contains("stay shut"), "{said}");
    // Another key than that with which the secrets were sealed.
    let another = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [5; 32]);
    std::fs::write(&right, another).unwrap();
    std::fs::set_permissions(&right, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    assert!(said.contains("not sealed with this key"), "{said}");
    let said = refused(&["serve", "--listen", "0.0.0.0:0", "--data", data]);
    assert!(said.contains("everybody could read along"), "{said}");
}
