//! Numbers of shards that cannot be.

use anyhow::Result;
use netns_tests::wireguard::{Implementation, Tunnel, nearwire_program, unique_interface};
use netns_tests::{Lab, Output};

use crate::star::{nearwire, shards};

/// The number of shards, as it is asked for at the start of a daemon.
fn start(words: &[&str]) -> Result<Output> {
    let lab = Lab::new("usage")?;
    let host = lab.host("h")?;
    let (program, name) = (nearwire_program()?, unique_interface("sh"));
    let all = [program.as_os_str(), "wg".as_ref(), "--foreground".as_ref(), name.as_ref()];
    let words = words.iter().map(std::ffi::OsStr::new);
    let output = host.output(all.into_iter().chain(words))?;
    assert!(!host.output(["ip", "link", "show", &name])?.status.success(), "{name} was made");
    Ok(output)
}

#[test]
fn a_start_with_a_wrong_number_is_a_wrong_use() -> Result<()> {
    for number in ["0", "257", "4294967296", "-1", "x", ""] {
        let output = start(&[&format!("--shards={number}")])?;
        assert_eq!(output.status.code(), Some(2), "{number}: {output:?}");
        assert!(output.stderr.contains("a number from 1 to 256"), "{}", output.stderr);
        assert!(output.stderr.contains("--shards"), "{}", output.stderr);
    }
    Ok(())
}

#[test]
fn a_change_to_a_wrong_number_is_refused_and_changes_nothing() -> Result<()> {
    let lab = Lab::new("refused")?;
    let host = lab.host("h")?;
    let builder = Tunnel::builder(Implementation::Nearwire).arg("--shards").arg("2");
    let tunnel = builder.start(&host)?;
    tunnel.configure(&["10.9.0.1/24"])?;
    for number in ["0", "257", "300", "4294967295"] {
        let output = nearwire(&tunnel, "shards", &[number])?;
        assert_eq!(output.status.code(), Some(1), "{number}: {output:?}");
        assert!(output.stderr.contains("1 to 256"), "{}", output.stderr);
    }
    for number in ["x", "4294967296", "-1"] {
        let output = nearwire(&tunnel, "shards", &["--", number])?;
        assert_eq!(output.status.code(), Some(2), "{number}: {output:?}");
    }
    assert_eq!(shards(&tunnel, None)?.count, 2);
    Ok(())
}

#[test]
fn one_queue_is_one_queue_for_good() -> Result<()> {
    let lab = Lab::new("one")?;
    let host = lab.host("h")?;
    let builder = Tunnel::builder(Implementation::Nearwire).arg("--shards").arg("1");
    let tunnel = builder.start(&host)?;
    tunnel.configure(&["10.9.0.1/24"])?;
    let output = nearwire(&tunnel, "shards", &["2"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // What would mend it.
    assert!(output.stderr.contains("--shards 2"), "{}", output.stderr);
    assert!(output.stderr.contains(tunnel.name()), "{}", output.stderr);
    assert_eq!(shards(&tunnel, None)?.count, 1);
    assert_eq!(shards(&tunnel, Some(1))?.count, 1);
    assert!(tunnel.process().is_running());
    Ok(())
}
