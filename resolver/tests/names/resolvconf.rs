//! A host on which a `resolvconf` keeps the file: Debian's two, unpacked over the host's own files.

use anyhow::Result;
use netns_tests::unpacked;

use super::world::{OURS, World};

/// What both have in common: the package's programs, and what DHCP has said.
fn world(name: &str, package: &str, before: &str) -> Result<World> {
    let files = format!(
        "U={}; mkdir -p $S/usr; cp -a $U/sbin $U/lib $S/usr/\n\
         mount -t overlay none -o lowerdir=$S/usr:/usr /usr\n\
         mount -t overlay none -o lowerdir=$U/etc:/etc,upperdir=$S/up,workdir=$S/work /etc\n\
         KEEP=1; {before}\n\
         printf 'nameserver 10.9.0.1\\nsearch lan\\n' | resolvconf -a eth0.dhcp\n",
        unpacked(package)?.display()
    );
    World::with(name, &files)
}

fn all(world: &mut World, mode: &str) -> Result<()> {
    let before = world.resolv_conf()?;
    assert!(before.contains("nameserver 10.9.0.1"), "{before}");
    let line = world.start()?;
    assert!(line.contains(&format!("mode: {mode}")), "{line}");
    let told = world.resolv_conf()?;
    let first = told.lines().find(|line| line.starts_with("nameserver"));
    assert_eq!(first, Some(&*format!("nameserver {OURS}")), "{told}");
    assert_eq!(world.getent("web")?.as_deref(), Some("100.64.0.5"));
    assert_eq!(world.getent("nas")?.as_deref(), Some("192.0.2.7"));
    // We ask whom DHCP names, not ourselves.
    assert_eq!(world.short(&["www.example"])?, "192.0.2.1");
    world.stop()?;
    assert_eq!(world.resolv_conf()?, before);
    world.start()?;
    world.kill()?;
    assert!(world.restore()?.contains(mode));
    assert_eq!(world.resolv_conf()?, before);
    Ok(())
}

#[test]
fn openresolv_is_told() -> Result<()> {
    all(&mut world("openresolv", "openresolv", "true")?, "Openresolv")
}

#[test]
fn debians_resolvconf_is_told() -> Result<()> {
    let before = "mkdir -p /run/resolvconf/interface; touch /run/resolvconf/enable-updates\n\
                  ln -sf /run/resolvconf/resolv.conf /etc/resolv.conf";
    all(&mut world("resolvconf", "resolvconf", before)?, "Resolvconf")
}
