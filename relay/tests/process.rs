//! The program as a service runs it: started, told to end, ended.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use rustix::process::{Pid, Signal, kill_process};

/// Ends the program if a test does not.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(flags: &[&str]) -> Running {
    run(&mut command(flags))
}

fn run(command: &mut Command) -> Running {
    Running(command.stderr(Stdio::piped()).spawn().expect("starts"))
}

fn command(flags: &[&str]) -> Command {
    let key = format!("1:{}", PublicKey::from([9; 32]).to_base64());
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearwire-relay"));
    command.args(["--control-keys", &key, "--self-signed", "relay.test", "--drain-time", "600000"]);
    command.args(["--quic", "127.0.0.1:0", "--tls", "127.0.0.1:0"]).args(flags);
    command
}

#[test]
fn it_says_where_it_serves_and_ends_when_told() {
    let mut relay = start(&["--lanes", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut said = BufReader::new(relay.0.stderr.take().expect("its words")).lines();
    let line = said.by_ref().map(|line| line.expect("text")).find(|line| line.contains("serving"));
    let line = line.expect("it serves");
    for what in ["quic", "tls", "lanes", "admin", "certificate_sha256"] {
        assert!(line.contains(what), "no {what} in {line:?}");
    }
    let pid = Pid::from_child(&relay.0);
    kill_process(pid, Signal::TERM).expect("is told");
    // Nobody is there to wait for.
    let status = ended(&mut relay);
    assert!(status.success(), "{status}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let said = failure(start(&["--admin", &address]));
    assert!(said.contains(&address) && said.contains("`admin`"), "{said}");
}

#[test]
fn who_opens_the_admin_address_to_all_is_warned() {
    let mut relay = start(&["--admin", "0.0.0.0:0"]);
    let mut said = BufReader::new(relay.0.stderr.take().expect("its words")).lines();
    let mut warned = false;
    let serves = said.by_ref().map(|line| line.expect("text")).any(|line| {
        warned |= line.contains("may end the relay");
        line.contains("serving")
    });
    assert!(serves && warned);
}

fn ended(relay: &mut Running) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = relay.0.try_wait().expect("waits") {
            return status;
        }
        assert!(Instant::now() < deadline, "it runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What it says as it ends by itself.
fn failure(mut relay: Running) -> String {
    ended(&mut relay);
    let mut said = String::new();
    let mut words = relay.0.stderr.take().expect("its words");
    std::io::Read::read_to_string(&mut words, &mut said).expect("text");
    said
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    // None of them can be had, so it says which it wanted.
    let taken = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [file, environment, flag] =
        taken.each_ref().map(|port| port.local_addr().expect("an address").to_string());
    let path = std::env::temp_dir().join(format!("nearwire-relay-{}.toml", std::process::id()));
    std::fs::write(&path, format!("admin = \"{file}\"\n")).expect("a file");
    let config = ["--config", path.to_str().expect("UTF-8")];
    let by_file = failure(start(&config));
    let by_environment = failure(run(command(&config).env("NEARWIRE_RELAY_ADMIN", &environment)));
    let flags = [&config[..], &["--admin", &flag]].concat();
    let by_flag = failure(run(command(&flags).env("NEARWIRE_RELAY_ADMIN", &environment)));
    std::fs::remove_file(&path).expect("it is there");
    for (said, wanted) in [(by_file, &file), (by_environment, &environment), (by_flag, &flag)] {
        assert!(said.contains(wanted), "not {wanted} but {said}");
    }
}

#[test]
fn it_has_completions_and_manual_pages() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nearwire-relay")).args(words).output();
        let output = output.expect("runs");
        assert!(output.status.success(), "{words:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&["completions", "fish"]).contains("complete -c nearwire-relay"));
    let directory = std::env::temp_dir().join(format!("nearwire-relay-{}", std::process::id()));
    run(&["man", directory.to_str().expect("UTF-8")]);
    let page = std::fs::read_to_string(directory.join("nearwire-relay-status.1"));
    std::fs::remove_dir_all(&directory).expect("it is there");
    assert!(page.expect("a page").contains("status"));
}
