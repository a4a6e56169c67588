//! STUN, as ordinary clients of others ask it (coturn's), and what answers weigh.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use netns_tests::udp_socket;
use proto::stun::{Change, request, request_from};

use super::scene::{HOSTS, LANES, Machine, RELAYS, start};

/// The relay's addresses towards the other host serve as the second ones.
const SECOND_PORT: u16 = 3479;

/// A relay whose lanes listen at all its addresses, or at one, with second addresses.
fn with_second(name: &str, flags: &[&str]) -> Machine {
    let [v4, v6] = second();
    let second = format!("{v4},{v6}");
    start(name, &[], &[&["--stun-other", &second], flags].concat())
}

fn second() -> [SocketAddr; 2] {
    RELAYS[1].map(|ip| SocketAddr::new(ip.parse().expect("an address"), SECOND_PORT))
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

fn asker(relay: &Machine, family: usize) -> UdpSocket {
    let socket = udp_socket(&relay.hosts[0].host, at(HOSTS[0][family], 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

/// What comes back, and from where.
fn asked(socket: &UdpSocket, to: SocketAddr, question: &[u8]) -> (Vec<u8>, SocketAddr) {
    socket.send_to(question, to).expect("asks");
    let mut bytes = [0; 2048];
    let (len, from) = socket.recv_from(&mut bytes).expect("an answer");
    (bytes[..len].to_vec(), from)
}

/// What a program of the left host says.
fn said(relay: &Machine, words: &[&str]) -> String {
    let output = relay.hosts[0].host.run(words.iter().copied()).expect("an answer");
    output.stdout + &output.stderr
}

#[test]
fn ordinary_clients_are_answered_by_the_kernel_and_by_user_space() {
    for flags in [&[][..], &["--xdp", "off"]] {
        let relay = start("relay-stun", &[], flags);
        assert_eq!(
            relay.status()["lane_switch"],
            if flags.is_empty() { "xdp" } else { "userspace" }
        );
        for (family, ip) in RELAYS[0].into_iter().enumerate() {
            let said = said(&relay, &["turnutils_stunclient", "-p", "3478", ip]);
            assert!(said.contains(HOSTS[0][family]), "{said}");
        }
        assert!(relay.number("/counters/stun_answers") >= 2, "{}", relay.status());
    }
}

#[test]
fn a_client_without_a_nat_finds_none_by_both_families() {
    let relay = with_second("relay-stun-second", &[]);
    assert_eq!(relay.status()["lane_switch"], "xdp");
    for (family, ip) in RELAYS[0].into_iter().enumerate() {
        let own = HOSTS[0][family];
        let said = said(&relay, &["turnutils_natdiscovery", "-m", "-f", "-L", own, ip]);
        for verdict in
            ["No NAT! (Endpoint Independent Mapping)", "NAT with Endpoint Independent Filtering!"]
        {
            assert!(said.contains(verdict), "{said}");
        }
    }
}

#[test]
fn an_answer_comes_from_each_of_four_addresses() {
    for flags in [&[][..], &["--xdp", "off"]] {
        let relay = with_second("relay-stun-four", flags);
        for family in [0, 1] {
            let ips = [RELAYS[0][family], RELAYS[1][family]];
            let ports = [LANES, SECOND_PORT];
            let socket = asker(&relay, family);
            for (place, change) in (0..16).map(|n| ((n & 1, n >> 1 & 1), (n & 4 != 0, n & 8 != 0)))
            {
                let (ip, port) = place;
                let asks = Change { ip: change.0, port: change.1 };
                let question = request_from(&[7; 12], asks);
                let (answer, from) = asked(&socket, at(ips[ip], ports[port]), &question);
                let place =
                    at(ips[ip ^ usize::from(change.0)], ports[port ^ usize::from(change.1)]);
                assert_eq!(from, place, "{ip} {port} {asks:?}");
                let told = proto::stun::answer(&answer, &[7; 12]).expect("an answer");
                assert_eq!(told.seen, socket.local_addr().expect("bound"));
                assert_eq!(told.other, Some(at(ips[1 - ip], ports[1 - port])));
            }
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_and_answers_weigh_little() {
    let padded = {
        let mut padded = request(&[7; 12]);
        padded[2..4].copy_from_slice(&1204_u16.to_be_bytes());
        padded.extend([0, 0x26, 1200_u16.to_be_bytes()[0], 1200_u16.to_be_bytes()[1]]);
        padded.resize(20 + 1204, 0);
        padded
    };
    let mut port = request(&[7; 12]);
    port[3] = 8;
    port.extend([0, 0x27, 0, 4, 0, 9, 0, 0]);
    let change = request_from(&[7; 12], Change { ip: true, port: true });
    for (second, relay) in
        [(false, start("relay-stun-420", &[], &[])), (true, with_second("relay-stun-420", &[]))]
    {
        for family in [0, 1] {
            let (socket, to) = (asker(&relay, family), at(RELAYS[0][family], LANES));
            for (question, unknown) in [(&padded, 0x26), (&port, 0x27), (&change, 3)] {
                let (answer, from) = asked(&socket, to, question);
                let refused = unknown != 3 || !second;
                assert_eq!(answer[..2], if refused { [1, 0x11] } else { [1, 1] });
                if refused {
                    assert_eq!(from, to);
                    assert_eq!(answer[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
                    assert_eq!(answer[28..], [0, 10, 0, 2, 0, unknown, 0, 0]);
                }
            }
            let (answer, _) = asked(&socket, to, &request(&[7; 12]));
            let longest = [[32, 44], [56, 92]][usize::from(second)][family];
            assert_eq!(answer.len(), longest);
        }
    }
}

#[test]
fn a_network_of_askers_is_given_few_answers_at_the_second_addresses_too() {
    let relay = with_second("relay-stun-rate", &[]);
    let socket = asker(&relay, 0);
    for _ in 0..400 {
        socket.send_to(&request(&[7; 12]), second()[0]).expect("asks");
    }
    socket.send_to(b"no STUN", second()[0]).expect("sends");
    relay.until("/drops/stun_rate", 1);
    relay.until("/drops/lane_malformed", 1);
}
