//! Who is measured: a relay, and the way that packets take through it.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use netns_tests::Process;

use super::load::Target;
use super::programs::Programs;
use super::scene::{Cable, Listens, RELAY, Scene};
use super::switch;
use crate::bench::samples::NEARWIRE;
use crate::bench::scratch::Scratch;
use crate::process;

/// Who and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Contestant {
    /// A lane, switched by the kernel
    LaneXdp,
    /// A lane, switched in user space
    Lane,
    /// Our QUIC
    Quic,
    /// Our TLS on TCP
    Tls,
    /// Channel data over UDP
    Coturn,
    /// iroh-relay without TLS, as `--dev` has it
    Iroh,
    /// iroh-relay with TLS
    IrohTls,
}

pub(super) const COTURN: &str = "coturn";
pub(super) const IROH: &str = "iroh-relay --dev (no TLS)";
pub(super) const IROH_TLS: &str = "iroh-relay, TLS";

impl Contestant {
    pub(super) const ALL: [Self; 7] =
        [Self::LaneXdp, Self::Coturn, Self::Lane, Self::Iroh, Self::Quic, Self::IrohTls, Self::Tls];

    /// Whose number it is.
    pub(super) const fn who(self) -> &'static str {
        match self {
            Self::LaneXdp | Self::Lane | Self::Quic | Self::Tls => NEARWIRE,
            Self::Coturn => COTURN,
            Self::Iroh => IROH,
            Self::IrohTls => IROH_TLS,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LaneXdp => "lane in XDP",
            Self::Lane => "lane in userspace",
            Self::Quic => "QUIC",
            Self::Tls => "TLS on TCP",
            other => other.who(),
        }
    }

    /// As `relay-load` calls it.
    const fn way(self) -> &'static str {
        match self {
            Self::LaneXdp | Self::Lane => "lane",
            Self::Quic => "quic",
            Self::Tls => "tls",
            Self::Coturn => "turn",
            Self::Iroh => "iroh",
            Self::IrohTls => "iroh-tls",
        }
    }

    const fn at(self) -> Listens {
        match self {
            Self::LaneXdp | Self::Lane | Self::Quic | Self::Tls => Listens::Tcp(443),
            Self::Coturn => Listens::Udp(3478),
            Self::Iroh => Listens::Tcp(3340),
            Self::IrohTls => Listens::Tcp(3443),
        }
    }

    /// What it has to be measured with: each that at which it is best.
    const fn cable(self) -> Cable {
        match self {
            Self::LaneXdp => Cable::Wire,
            _ => Cable::Veth,
        }
    }

    /// Raises it in namespaces of its own, and has it measured.
    pub(super) fn measured<T>(
        self,
        programs: &Programs,
        more: &[&str],
        work: impl FnOnce(&Target<'_>) -> Result<T>,
    ) -> Result<T> {
        let scene = Scene::new(self.cable())?;
        let scratch = Scratch::new()?;
        let mut arguments: Vec<String> = more.iter().map(|&more| more.to_owned()).collect();
        if self == Self::LaneXdp {
            arguments.push(format!("--xdp={}", scene.devices[0]));
        }
        let process = self.start(programs, &scene, &scratch, arguments)?;
        if self == Self::LaneXdp {
            // The relay would go on without, which is another contestant.
            let link = scene.relay.ip(["-details", "link", "show", "dev", &scene.devices[0]])?;
            let attached = link.stdout.contains("prog/xdp");
            ensure!(attached, "not attached: {}", process.output_so_far());
        }
        let (way, at) = (self.way(), self.at());
        work(&Target { scene: &scene, process: Some(&process), way, at })
            .with_context(|| self.name())
    }

    fn start(
        self,
        programs: &Programs,
        scene: &Scene,
        scratch: &Scratch,
        more: Vec<String>,
    ) -> Result<Process> {
        let (program, mut arguments) = match self {
            Self::Coturn => (programs.coturn()?, coturn(scratch)),
            Self::Iroh | Self::IrohTls => {
                (programs.iroh()?, iroh(programs, scratch, self == Self::IrohTls)?)
            }
            Self::LaneXdp => (programs.nearwire.as_path(), nearwire(programs)?),
            _ => (
                programs.nearwire.as_path(),
                [nearwire(programs)?, vec!["--xdp=off".to_owned()]].concat(),
            ),
        };
        arguments.extend(more);
        scene.start(program, &arguments, self.at())
    }
}

fn nearwire(programs: &Programs) -> Result<Vec<String>> {
    let load = |argument| process::stdout(std::process::Command::new(&programs.load).arg(argument));
    let control_key = load("control-key")?.trim().to_owned();
    let mut arguments = vec![
        format!("--quic={RELAY}:443"),
        format!("--tls={RELAY}:443"),
        format!("--lanes={RELAY}:{}", switch::PORT),
        format!("--control-keys={control_key}"),
    ];
    // Limits are not what is measured here; pings of idle connections neither.
    let wide = [
        "--self-signed=relay.test",
        "--clients=40000",
        "--network-clients=40000",
        "--client-rate=100000000000",
        "--lane-limit=110000",
        "--lane-lifetime=600",
        "--admissions=4096",
        "--source-admissions=4096",
        "--idle=600",
    ];
    arguments.extend(wide.map(str::to_owned));
    Ok(arguments)
}

fn coturn(scratch: &Scratch) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-n", "--lt-cred-mech", "-u", "u:p", "-r", "test", "--no-tls", "--no-dtls", "--no-cli"]
            .map(str::to_owned)
            .into();
    arguments.push(format!("--listening-ip={RELAY}"));
    arguments.push(format!("--relay-ip={RELAY}"));
    arguments.push(format!("--pidfile={}", scratch.path().join("coturn.pid").display()));
    arguments.push("--log-file=stdout".to_owned());
    arguments
}

fn iroh(programs: &Programs, scratch: &Scratch, tls: bool) -> Result<Vec<String>> {
    let mut text = format!("http_bind_addr = \"{RELAY}:3340\"\nenable_metrics = false\n");
    if tls {
        let mut certificate = std::process::Command::new(&programs.load);
        process::quietly(certificate.arg("certificate").arg(scratch.path()))?;
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| scratch.path().join(name));
        text += &format!(
            "[tls]\nhttps_bind_addr = \"{RELAY}:3443\"\ncert_mode = \"Manual\"\n\
             manual_cert_path = \"{}\"\nmanual_key_path = \"{}\"\n",
            cert.display(),
            key.display()
        );
    }
    let file = scratch.file("iroh.toml", &text)?;
    let mut arguments = vec!["--config-path".to_owned(), file.display().to_string()];
    arguments.extend((!tls).then(|| "--dev".to_owned()));
    Ok(arguments)
}
