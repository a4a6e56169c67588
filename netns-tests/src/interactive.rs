//! A lab to walk around in, for `cargo xtask lab`.

use std::io::Read;

use anyhow::Result;

use crate::host::Host;
use crate::lab::Lab;
use crate::wire::Impairment;

/// Builds `a - r - b`, prints how to enter each host, and waits for the end of standard input.
/// With an impairment, the link from `r` to `b` has it, in both directions.
///
/// Ctrl-C needs no handler: the namespaces die with this process, however it ends.
///
/// # Errors
/// As [`Lab::new`], and when a link cannot be made.
pub fn interactive(impairment: Option<Impairment>) -> Result<()> {
    let lab = Lab::new("lab")?;
    let (a, r, b) = (lab.host("a")?, lab.router("r")?, lab.host("b")?);
    lab.link(&a, &r)
        .at_a(&["10.1.0.2/24", "fd00:1::2/64"])
        .at_b(&["10.1.0.1/24", "fd00:1::1/64"])
        .veth()?;
    let far = lab
        .link(&r, &b)
        .at_a(&["10.2.0.1/24", "fd00:2::1/64"])
        .at_b(&["10.2.0.2/24", "fd00:2::2/64"]);
    // Held to the end: dropping an impaired link unplugs it.
    let _wire = match impairment {
        Some(impairment) => Some(far.impaired(impairment, 0)?),
        None => {
            far.veth()?;
            None
        }
    };
    for (host, gateways) in [(&a, ["10.1.0.1", "fd00:1::1"]), (&b, ["10.2.0.1", "fd00:2::1"])] {
        for gateway in gateways {
            host.route("default", gateway)?;
        }
    }

    println!(
        "a 10.1.0.2 fd00:1::2  --  r  --  b 10.2.0.2 fd00:2::2\n\nEnter a host from another terminal, as root:"
    );
    for host in [&a, &r, &b] {
        println!("  {}   {}", host.name(), enter_command(host));
    }
    println!("\nCtrl-D or Ctrl-C ends the lab.");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn enter_command(host: &Host) -> String {
    format!("nsenter --net={} bash", host.namespace_path())
}
