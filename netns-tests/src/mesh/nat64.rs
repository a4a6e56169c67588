//! Hosts of IPv6 alone, behind a router with NAT64 (tayga) and a DNS that leads there.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::hub::NAME;
use super::{Directory, Hub, MeshNode, Nat, PATIENCE};
use crate::{Host, Lab, unpacked};

/// By what hosts of IPv4 are reached.
pub(super) const PREFIX: &str = "2001:db8:64::/96";
/// The control plane, and what says that there is NAT64 (RFC 7050), by that prefix.
const NAMES: [(&str, &str); 2] =
    [(NAME, "2001:db8:64::10.255.0.1"), ("ipv4only.arpa", "2001:db8:64::192.0.0.170")];
const HOST: &str = "2001:db8:6::2/64";
const ROUTER: &str = "2001:db8:6::1";

impl Hub {
    /// As [`Hub::node_behind`], with a host that has no IPv4.
    pub(super) fn node_behind_nat64(&self, lab: &Lab, name: &str) -> Result<(MeshNode, Vec<Host>)> {
        let (host, router) = (lab.host(name)?, lab.router(&format!("{name}'s router"))?);
        lab.link(&host, &router).at_a(&[HOST]).at_b(&[&format!("{ROUTER}/64")]).veth()?;
        host.route("default", ROUTER)?;
        let outside = self.connect(lab, &router)?;
        router.run(["nft", &Nat::Nat64.rules(&outside, "")])?;
        let directory = Directory::new(&format!("{name}-nat64"))?;
        self.translate(&router, &directory)?;
        self.answer_names(&router)?;
        self.directories.borrow_mut().push(directory);
        let asks = format!("nameserver {ROUTER}\n");
        let mut node = MeshNode::start_asking(host, name, &self.programs, &asks)?;
        node.by_name = true;
        Ok((node, vec![router]))
    }

    fn translate(&self, router: &Host, directory: &Directory) -> Result<()> {
        let file = directory.file("tayga.conf");
        let text = format!(
            "tun-device nat64\nipv4-addr 192.168.255.1\nprefix {PREFIX}\n\
             dynamic-pool 192.168.255.0/24\ndata-dir {}\n",
            directory.0.display()
        );
        fs::write(&file, text)?;
        let tayga = unpacked("tayga")?.join("usr/sbin/tayga");
        let words = [tayga.as_path(), Path::new("--mktun"), Path::new("-c"), &file];
        router.run(words)?;
        router.ip(["link", "set", "nat64", "up"])?;
        router.ip(["route", "add", "192.168.255.0/24", "dev", "nat64"])?;
        router.ip(["-6", "route", "add", PREFIX, "dev", "nat64"])?;
        let mut command = router.command(tayga);
        command.args(["-d", "-c"]).arg(&file);
        let process = router.spawn_command(command)?;
        // It says nothing before it ends; its device has a carrier while it serves.
        router.await_carrier("nat64")?;
        self.services.borrow_mut().push(process);
        Ok(())
    }

    fn answer_names(&self, router: &Host) -> Result<()> {
        let mut command = router.command("dnsmasq");
        command.args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
        command.args(["--user=root", "--pid-file=", "--bind-interfaces"]);
        command.arg(format!("--listen-address={ROUTER}"));
        for (name, address) in NAMES {
            command.arg(format!("--address=/{name}/{address}"));
        }
        let process = router.spawn_command(command)?;
        process.wait_for_line("started", PATIENCE)?;
        self.services.borrow_mut().push(process);
        Ok(())
    }
}
