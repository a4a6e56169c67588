//! A host that has nothing but its `/etc/resolv.conf`.

use anyhow::Result;
use netns_tests::wait_until;

use super::world::{BEFORE, OURS, SOON, World, snapshot};

#[test]
fn programs_find_names_and_the_file_comes_back() -> Result<()> {
    let mut world = World::new("file")?;
    assert_eq!(world.getent("web")?, None);
    let line = world.start()?;
    assert!(line.contains("mode: File"), "{line}");
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    assert_eq!(world.getent("web.home.mesh")?.as_deref(), Some("100.64.0.5"));
    // The host's own search list and resolver still count.
    assert_eq!(world.getent("nas")?.as_deref(), Some("192.0.2.7"));
    assert_eq!(world.getent("www.example")?.as_deref(), Some("192.0.2.1"));
    assert!(world.resolv_conf()?.contains(&format!("\nnameserver {OURS}\n")));
    world.stop()?;
    assert_eq!(world.resolv_conf()?, BEFORE);
    assert_eq!(world.getent("www.example")?.as_deref(), Some("192.0.2.1"));
    assert_eq!(world.shell("ls /etc | grep ^resolv.conf")?.trim(), "resolv.conf");
    Ok(())
}

#[test]
fn a_kill_loses_nothing() -> Result<()> {
    let mut world = World::new("kill")?;
    world.start()?;
    world.kill()?;
    assert_ne!(world.resolv_conf()?, BEFORE);
    assert!(world.restore()?.contains("Some(File)"));
    assert_eq!(world.resolv_conf()?, BEFORE);
    assert!(world.restore()?.contains("None"));
    // Without that, the next start does it; what the administrator wrote meanwhile stays.
    world.start()?;
    world.kill()?;
    world.shell("echo options rotate >> /etc/resolv.conf")?;
    world.start()?;
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    world.stop()?;
    assert_eq!(world.resolv_conf()?, format!("{BEFORE}options rotate\n"));
    // Where somebody has put another file in its place, that one counts.
    world.start()?;
    world.kill()?;
    world.shell("echo nameserver 10.9.0.1 > /etc/resolv.conf")?;
    world.restore()?;
    assert_eq!(world.resolv_conf()?, "nameserver 10.9.0.1\n");
    Ok(())
}

#[test]
fn a_file_that_others_write_is_taken_again() -> Result<()> {
    let mut world = World::new("again")?;
    world.shell("echo nameserver 10.9.0.9 > /etc/resolv.conf")?;
    world.start()?;
    // As a DHCP client does.
    world.shell("printf 'nameserver 10.9.0.1\\nsearch lan\\n' > /etc/resolv.conf")?;
    wait_until(SOON, "it is taken again", || {
        world.resolv_conf().is_ok_and(|text| text.contains(OURS))
    });
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    assert_eq!(world.getent("nas")?.as_deref(), Some("192.0.2.7"));
    world.stop()?;
    assert_eq!(world.resolv_conf()?, "nameserver 10.9.0.1\nsearch lan\n");
    Ok(())
}

#[test]
fn a_mounted_file_is_written_in_its_place() -> Result<()> {
    // As `ip netns exec` does with /etc/netns, and container engines.
    let mount = "touch $S/resolv.conf; mount --bind $S/resolv.conf /etc/resolv.conf";
    let mut world = World::with("mounted", mount)?;
    world.start()?;
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    world.stop()?;
    assert_eq!(world.resolv_conf()?, BEFORE);
    Ok(())
}

#[test]
fn without_a_mesh_the_host_is_as_it_was() -> Result<()> {
    let mut world = World::new("without")?;
    world.start()?;
    let mut none = snapshot(2, &[]);
    none.dns.domain.clear();
    world.tell(&none)?;
    assert_eq!(world.resolv_conf()?, BEFORE);
    world.tell(&snapshot(3, &[("web", 5)]))?;
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_is_named() -> Result<()> {
    let mut world = World::with(
        "readonly",
        "touch $S/resolv.conf; echo nameserver 10.9.0.1 > $S/resolv.conf; KEEP=1\n\
         mount --bind $S/resolv.conf /etc/resolv.conf; mount -o remount,bind,ro /etc/resolv.conf\n",
    )?;
    let error = world.start().expect_err("it cannot be").to_string();
    assert!(error.contains("/etc/resolv.conf") && error.contains("read-only"), "{error}");
    Ok(())
}
