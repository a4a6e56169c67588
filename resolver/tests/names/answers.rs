//! What is answered, asked by `dig` in a namespace; the world is a dnsmasq.

use std::time::Instant;

use anyhow::Result;
use netns_tests::wait_until;

use super::world::{NOBODY, OURS, SOON, WORLD, World, asking, dnsmasq, snapshot};

#[test]
fn names_of_the_mesh_are_answered_and_the_rest_is_forwarded() -> Result<()> {
    let mut world = World::new("answers")?;
    world.start()?;
    for way in ["+notcp", "+tcp"] {
        assert_eq!(world.short(&["WEB.home.mesh", way])?, "100.64.0.5");
        assert_eq!(world.short(&["web.home.mesh", "AAAA", way])?, "fd00:7::5");
        assert_eq!(world.short(&["-x", "100.64.0.5", way])?, "web.home.mesh.");
        assert_eq!(world.short(&["-x", "fd00:7::1", way])?, "host.home.mesh.");
        assert_eq!(world.short(&["www.example", way])?, "192.0.2.1");
        let unknown = world.dig(&["nobody.home.mesh", way])?;
        assert!(unknown.contains("status: NXDOMAIN") && unknown.contains(" aa "), "{unknown}");
    }
    assert!(world.dig(&["x.other.mesh"])?.contains("status: NXDOMAIN"));
    assert!(world.dig(&["-x", "100.64.0.77"])?.contains("status: NXDOMAIN"));
    assert_eq!(world.world_was_asked("mesh"), 0);
    assert_eq!(world.world_was_asked("in-addr.arpa"), 0);
    assert!(world.world_was_asked("www.example") > 0);
    // Names come and go with the network.
    world.tell(&snapshot(2, &[("db", 6)]))?;
    assert_eq!(world.short(&["db.home.mesh"])?, "100.64.0.6");
    assert!(world.dig(&["web.home.mesh"])?.contains("status: NXDOMAIN"));
    Ok(())
}

#[test]
fn long_answers_come_whole_over_tcp_and_options_pass() -> Result<()> {
    let mut world = World::new("long")?;
    world.start()?;
    let cut = world.dig(&["long.example", "TXT", "+notcp", "+ignore", "+noedns"])?;
    assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
    let whole = world.dig(&["long.example", "TXT"])?;
    assert!(whole.contains("ANSWER: 1") && !whole.contains(" tc "), "{whole}");
    assert!(whole.matches("xxxxx").count() > 20, "{whole}");
    // The other end's options come back as it sent them.
    let options = world.dig(&["www.example", "+bufsize=1400", "+dnssec"])?;
    assert!(options.contains("EDNS: version: 0, flags: do"), "{options}");
    Ok(())
}

#[test]
fn a_domain_may_have_resolvers_of_its_own() -> Result<()> {
    let mut world = World::new("split")?;
    // The host's own resolver is nobody; the network names one for a domain.
    world.shell(&format!("echo nameserver {NOBODY} > /etc/resolv.conf"))?;
    world.tell(&asking(snapshot(2, &[]), "example", WORLD))?;
    world.start()?;
    assert_eq!(world.short(&["www.example"])?, "192.0.2.1");
    assert!(world.dig(&["nas.lan"])?.contains("status: SERVFAIL"));
    world.tell(&asking(snapshot(3, &[]), "", WORLD))?;
    assert_eq!(world.short(&["nas.lan"])?, "192.0.2.7");
    Ok(())
}

#[test]
fn a_silent_resolver_is_asked_last() -> Result<()> {
    let mut world = World::new("silent")?;
    world.shell(&format!(
        "printf 'nameserver {NOBODY}\\nnameserver {WORLD}\\n' > /etc/resolv.conf"
    ))?;
    world.start()?;
    let started = Instant::now();
    assert_eq!(world.short(&["www.example"])?, "192.0.2.1");
    assert!(started.elapsed().as_millis() >= 700);
    // It is known to be silent once its time is over; then nobody waits for it.
    wait_until(SOON, "the silent one is passed over", || {
        let started = Instant::now();
        world.short(&["nas.lan"]).is_ok_and(|answer| answer == "192.0.2.7")
            && started.elapsed().as_millis() < 500
    });
    Ok(())
}

#[test]
fn strangers_get_no_answer() -> Result<()> {
    let mut world = World::new("strangers")?;
    world.start()?;
    world.world.route(&format!("{OURS}/32"), "10.9.0.2")?;
    // A host takes what comes for an address of its own, whatever the interface.
    let at = format!("@{OURS}");
    for way in ["+notcp", "+tcp"] {
        let asked = ["dig", &at, "web.home.mesh", "+tries=1", "+timeout=1", way];
        let output = world.world.output(asked)?;
        assert!(!output.status.success(), "{}", output.stdout);
        assert!(!output.stdout.contains("100.64.0.5"), "{}", output.stdout);
    }
    assert_eq!(world.short(&["web.home.mesh"])?, "100.64.0.5");
    // They came as far as to us.
    let said = world.tell(&snapshot(2, &[]))?;
    assert!(said.contains("answered: 1,") && !said.contains("strangers: 0"), "{said}");
    Ok(())
}

#[test]
fn a_loop_ends() -> Result<()> {
    let mut world = World::new("loop")?;
    world.shell("echo nameserver 127.0.0.1 > /etc/resolv.conf")?;
    // It asks us, and we are told to ask it.
    let server = format!("--server={OURS}");
    let words = dnsmasq("127.0.0.1", &[&server]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let other = world.spawn(&words)?;
    other.wait_for_line("started", SOON)?;
    world.start()?;
    let started = Instant::now();
    let failed = world.dig(&["round.example"])?;
    assert!(failed.contains("status: SERVFAIL"), "{failed}");
    assert!(started.elapsed().as_secs() < 6);
    let log = other.output_so_far();
    let asked = log.lines().filter(|line| line.contains("query[A] round.example")).count();
    assert!((1..=8).contains(&asked), "asked {asked} times:\n{log}");
    assert_eq!(world.short(&["web.home.mesh"])?, "100.64.0.5");
    Ok(())
}
