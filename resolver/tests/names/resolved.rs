//! A host with systemd-resolved: the real one, on a bus of its own.

use anyhow::Result;
use netns_tests::{Process, unpacked, wait_until};

use super::world::{SOON, WORLD, World, asking, snapshot};

/// A system bus with the usual policy, and the package's own.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
 <type>system</type>
 <listen>unix:path=/run/dbus/system_bus_socket</listen>
 <auth>EXTERNAL</auth>
 <policy context="default">
  <allow user="*"/>
  <deny own="*"/>
  <deny send_type="method_call"/>
  <allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/>
  <allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/>
  <allow receive_type="method_return"/>
  <allow receive_type="error"/>
  <allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
 </policy>
 <includedir>/etc/dbus-1/system.d</includedir>
</busconfig>"#;

struct Resolved {
    world: World,
    library: String,
    package: String,
    _resolved: Process,
    _bus: Process,
}

impl Resolved {
    fn new(name: &str) -> Result<Self> {
        let package = unpacked("systemd-resolved")?;
        let package = package.display().to_string();
        let user = "systemd-resolve";
        let files = format!(
            "mount -t overlay none -o lowerdir=/etc,upperdir=$S/up,workdir=$S/work /etc\n\
             grep -q ^{user}: /etc/group || echo {user}:x:64996: >> /etc/group\n\
             grep -q ^{user}: /etc/passwd || echo {user}:x:64996:64996::/:/bin/false >> /etc/passwd\n\
             mkdir -p /run/systemd/resolve /etc/systemd/resolved.conf.d /etc/dbus-1/system.d\n\
             chown {user}: /run/systemd/resolve\n\
             printf '[Resolve]\\nDNS={WORLD}\\nFallbackDNS=\\nDomains=lan\\n' > /etc/systemd/resolved.conf\n\
             cp {package}/usr/share/dbus-1/system.d/* /etc/dbus-1/system.d/\n\
             cat > /etc/bus.conf <<'BUS'\n{BUS}\nBUS\n\
             ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf; KEEP=1\n"
        );
        let world = World::with(name, &files)?;
        let bus = world.spawn(&[
            "dbus-daemon",
            "--nofork",
            "--print-address=1",
            "--config-file=/etc/bus.conf",
        ])?;
        bus.wait_for_line("unix:path=", SOON)?;
        let library = unpacked("libsystemd-shared")?;
        let library = library.display();
        let library = world.shell(&format!("echo {library}/usr/lib/*/systemd"))?;
        let library = format!("LD_LIBRARY_PATH={}", library.trim());
        let program = format!("{package}/lib/systemd/systemd-resolved");
        let level = "SYSTEMD_LOG_LEVEL=info";
        let resolved = world.spawn(&["env", &library, level, &program])?;
        wait_until(SOON, "systemd-resolved is there", || {
            let asked = world.output(&["dig", "@127.0.0.53", "+short", "+tries=1", "www.example"]);
            asked.is_ok_and(|output| output.stdout.trim() == "192.0.2.1")
        });
        Ok(Self { world, library, package, _resolved: resolved, _bus: bus })
    }

    /// What systemd-resolved says of the mesh's interface.
    fn says(&self, of: &str) -> Result<String> {
        let program = format!("{}/usr/bin/resolvectl", self.package);
        let words = ["env", &self.library, &program, of, self.world.tun.name()];
        let output = self.world.run(&words)?.stdout;
        Ok(output.split_once("):").map_or("", |(_, said)| said).trim().to_owned())
    }
}

#[test]
fn systemd_resolved_asks_us_for_our_domains_only() -> Result<()> {
    let mut host = Resolved::new("resolved")?;
    let before = host.world.resolv_conf()?;
    let line = host.world.start()?;
    assert!(line.contains("mode: Resolved"), "{line}");
    assert_eq!(host.says("dns")?, "169.254.53.53");
    let domains = host.says("domain")?;
    assert!(domains.contains("home.mesh") && domains.contains("~64.100.in-addr.arpa"), "{domains}");
    assert_eq!(host.says("default-route")?, "no");
    let world = &host.world;
    assert_eq!(world.getent("web.home.mesh")?.as_deref(), Some("100.64.0.5"));
    // The search list comes to `resolv.conf` by systemd-resolved.
    wait_until(SOON, "short names are found", || {
        world.getent("web").is_ok_and(|found| found.as_deref() == Some("100.64.0.5"))
    });
    assert_eq!(world.getent("nas")?.as_deref(), Some("192.0.2.7"));
    assert_eq!(world.short(&["@127.0.0.53", "-x", "100.64.0.5"])?, "web.home.mesh.");
    assert_eq!(world.world_was_asked("home.mesh"), 0);
    // A name that has come is found as soon as its absence is forgotten.
    assert_eq!(world.getent("db.home.mesh")?, None);
    world.tell(&snapshot(2, &[("db", 6)]))?;
    wait_until(SOON, "the new name is found", || {
        world.getent("db.home.mesh").is_ok_and(|found| found.is_some())
    });
    host.world.stop()?;
    assert_eq!(host.says("dns")?, "");
    assert_eq!(host.says("domain")?, "");
    assert_eq!(host.world.resolv_conf()?, before);
    Ok(())
}

#[test]
fn systemd_resolved_forgets_us_after_a_kill() -> Result<()> {
    let mut host = Resolved::new("resolvedkill")?;
    host.world.tell(&asking(snapshot(2, &[("web", 5)]), "", WORLD))?;
    host.world.start()?;
    // The network has resolvers for everything: then all of it comes to us.
    assert_eq!(host.says("default-route")?, "yes");
    assert!(host.says("domain")?.contains("~."));
    assert_eq!(host.world.getent("www.example")?.as_deref(), Some("192.0.2.1"));
    host.world.kill()?;
    assert_eq!(host.says("dns")?, "169.254.53.53");
    assert!(host.world.restore()?.contains("Some(Resolved)"));
    assert_eq!(host.says("dns")?, "");
    assert_eq!(host.world.getent("nas")?.as_deref(), Some("192.0.2.7"));
    Ok(())
}
