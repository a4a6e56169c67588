//! Bad input for every endpoint of the control plane: schemathesis, on its own OpenAPI document.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::packages;
use crate::{process, workspace};

const SCHEMATHESIS: &str = "4.32.5";
/// Longer than either round may take, in seconds.
const AT_MOST: &str = "60";
/// Inputs for each operation.
const EXAMPLES: &str = "12";

/// Each request comes from elsewhere: bad credentials are among the inputs, and one address would
/// be locked out.
const HOOKS: &str = "\
import itertools

import schemathesis

numbers = itertools.count(1 << 24)


@schemathesis.hook
def before_call(context, case, kwargs):
    address = \".\".join(str(byte) for byte in next(numbers).to_bytes(4, \"big\"))
    case.headers[\"X-Forwarded-For\"] = address
";
/// A fault of the server is an answer of 5xx; what the document does not say is no good either.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance";
/// What is deleted is asked no more, so that comes last.
const ROUNDS: [&str; 2] = ["--exclude-method", "--include-method"];

/// Ends the server, and takes its data away.
struct Server {
    child: Child,
    data: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// Asks a live server what no program of ours would. The remark says by what.
pub(crate) fn check() -> Result<Option<String>> {
    packages::ensure(&[("python3", "python3-venv")])?;
    let target = workspace::Metadata::read()?.target_directory;
    let schemathesis = installed(&target)?;
    // Built by the step before.
    let control = target.join("debug").join("nearwire-control");
    let data = target.join(format!("bad-input-{}", std::process::id()));
    let mut serve = Command::new(&control);
    serve.args(["serve", "--behind-proxy", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = serve.spawn().context("starting nearwire-control")?;
    let mut server = Server { child, data };
    let url = url(&mut server)?;
    let mut token = Command::new(&control);
    token.args(["token", "--data"]).arg(&server.data);
    let token = process::stdout(&mut token).context("making a token")?.trim().to_owned();
    let admin = |arguments: &[&str]| {
        let mut admin = Command::new(&control);
        admin.arg("admin").args(arguments);
        process::stdout(admin.env("NEARWIRE_URL", &url).env("NEARWIRE_TOKEN", &token))
    };
    admin(&["networks", "create", "home"])?;
    let made = |words: &[&str]| -> Result<Value> {
        let text = admin(&[words, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    };
    let key = made(&["keys", "create", "home", "--tag", "tag:server"])?;
    let mut join = Command::new(target.join("debug").join("control-load"));
    join.args(["join", "--url", &url]);
    join.env("NEARWIRE_AUTH_KEY", key["secret"].as_str().context("a key without a secret")?);
    let node = process::stdout(&mut join).context("enrolling a node")?.trim().to_owned();
    let other = made(&["tokens", "create", "--scope", "audit:read"])?;
    // What is asked of things that are not there finds little.
    let configuration = format!(
        "[parameters]\n\"path.network\" = \"home\"\n\"path.node\" = \"{node}\"\n\
         \"path.token\" = {}\n",
        other["token"]["id"]
    );
    for (name, text) in [("hooks.py", HOOKS), ("schemathesis.toml", &configuration)] {
        fs::write(server.data.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    for round in ROUNDS {
        let mut ask = Command::new("timeout");
        ask.arg(AT_MOST).arg(&schemathesis).args(["run", &format!("{url}/api/v1/openapi.json")]);
        ask.args(["--checks", CHECKS, round, "DELETE"]);
        ask.args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES]);
        ask.args(["--seed", "7", "--workers", "2", "--request-timeout", "10", "--no-color"]);
        ask.args(["--header", &format!("Authorization: Bearer {token}")]);
        ask.env("SCHEMATHESIS_HOOKS", "hooks").current_dir(&server.data);
        process::run(&mut ask).context("schemathesis found an answer that is no good")?;
    }
    Ok(Some(format!("schemathesis {SCHEMATHESIS}")))
}

/// In a venv of its own, once.
fn installed(target: &Path) -> Result<PathBuf> {
    let venv = target.join(format!("schemathesis-{SCHEMATHESIS}"));
    let program = venv.join("bin").join("schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut install = Command::new(venv.join("bin").join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    process::run(install.arg(format!("schemathesis=={SCHEMATHESIS}")))
        .context("schemathesis comes from PyPI: look at the network")?;
    Ok(program)
}

/// What the server says of its address. All else that it says is read and dropped.
fn url(server: &mut Server) -> Result<String> {
    let said = server.child.stderr.take().context("it says nothing")?;
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("serving")).context("it does not serve")?;
    let rest = line.split("http://").nth(1).context("it names no address")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(rest.len());
    let url = format!("http://{}", &rest[..end]);
    std::thread::spawn(move || lines.for_each(drop));
    Ok(url)
}
