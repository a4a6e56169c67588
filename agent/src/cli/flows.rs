//! `nearwire flows`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;

use crate::wg::{self, Flows, Reply, Request};

/// Show the flows that an interface's policy knows, or follow what happens to them
///
/// A flow is what its first packet opened: a TCP connection, the datagrams between two UDP ports, an
/// echo and its replies. Without --follow: the flows of now, with what went each way. With it: each
/// start, end and denial from now on, until ctrl-C. Under pressure starts are sampled, and denials
/// are limited; what is not shown is counted.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// Show what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// One JSON object; with --follow, one for each event
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.follow {
            true => self.follow_flows()?,
            false => self.show()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self) -> anyhow::Result<()> {
        let Reply::Flows(flows) = wg::call(&self.interface, &Request::Flows)? else {
            bail!("the daemon answered something else");
        };
        if self.json {
            println!("{}", serde_json::to_string(&flows)?);
            return Ok(());
        }
        let Flows { flows, lost } = flows;
        for record in &flows {
            println!("{record}");
        }
        println!("{} flows", flows.len());
        for (what, count) in lost.iter().filter(|(_, count)| **count > 0) {
            println!("not reported: {count} {what}");
        }
        Ok(())
    }

    fn follow_flows(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        wg::listen(&self.interface, &Request::FollowFlows, |reply| {
            match reply {
                Reply::Flow(record) if self.json => {
                    writeln!(out, "{}", serde_json::to_string(&record)?)?;
                }
                Reply::Flow(record) => writeln!(out, "{record}")?,
                Reply::FlowsLost(lost) => {
                    eprintln!("nearwire: {lost} records were too many to show")
                }
                _ => bail!("the daemon answered something else"),
            }
            // Whoever reads a pipe wants the line now.
            out.flush()?;
            Ok(())
        })?;
        bail!("the daemon of {} has ended", self.interface)
    }
}
