//! Single datagrams for different destinations, in one call: segmentation serves only one destination.

use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::{Departure, Udp};

impl Udp {
    /// Sends, to each destination in this order; gives how many datagrams the network did not take.
    pub(in crate::server) fn send_all<'a>(
        &self,
        departures: impl Iterator<Item = Departure<'a>>,
    ) -> usize {
        let mut refused = 0;
        let mut singles: Vec<Departure<'a>> = Vec::new();
        for next in departures {
            let alone = next.bytes.len() > next.segment || next.ecn != self.mark;
            // One call has one source; and what is sent alone overtakes those that wait.
            if singles.first().is_some_and(|first| first.via != next.via)
                || (alone && singles.iter().any(|single| single.to == next.to))
            {
                refused += self.send_singles(&singles);
                singles.clear();
            }
            if alone {
                refused += self.send(&next);
            } else {
                singles.push(next);
            }
        }
        refused + self.send_singles(&singles)
    }

    fn send_singles(&self, singles: &[Departure<'_>]) -> usize {
        let via = match singles {
            [] => return 0,
            [one] => return self.send(one),
            [first, ..] => self.source(first.via),
        };
        let bytes: Vec<_> = singles.iter().map(|single| [IoSlice::new(single.bytes)]).collect();
        let to: Vec<_> = singles
            .iter()
            .map(|single| Some(SockaddrStorage::from(self.on_the_wire(single.to))))
            .collect();
        let (mut done, mut refused) = (0, 0);
        while done < singles.len() {
            match self.send_some(&bytes[done..], &to[done..], via) {
                Ok(sent @ 1..) => done += sent,
                // A full buffer stays full for the others too.
                Err(Errno::EAGAIN) => return refused + (singles.len() - done),
                // It is the first that cannot be sent; the next may.
                Ok(0) | Err(_) => {
                    refused += self.send(&singles[done]);
                    done += 1;
                }
            }
        }
        refused
    }

    /// Sends the first ones; gives how many.
    fn send_some(
        &self,
        bytes: &[[IoSlice<'_>; 1]],
        to: &[Option<SockaddrStorage>],
        via: Option<IpAddr>,
    ) -> nix::Result<usize> {
        let (v4, v6);
        let (room, source) = match via {
            None => (None, None),
            Some(IpAddr::V4(ip)) => {
                let ipi_spec_dst = in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: in_addr { s_addr: 0 } };
                (Some(cmsg_space!(in_pktinfo)), Some(ControlMessage::Ipv4PacketInfo(&v4)))
            }
            Some(IpAddr::V6(ip)) => {
                let ipi6_addr = in6_addr { s6_addr: ip.octets() };
                v6 = in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                (Some(cmsg_space!(in6_pktinfo)), Some(ControlMessage::Ipv6PacketInfo(&v6)))
            }
        };
        let mut headers = MultiHeaders::preallocate(bytes.len(), room);
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        Ok(sendmmsg(fd, &mut headers, bytes, to, source.as_slice(), flags)?.count())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;

    use super::*;

    fn received(at: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        at.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = [0; 2048];
        let (len, from) = at.recv_from(&mut bytes).unwrap();
        (bytes[..len].to_vec(), from)
    }

    /// Several to each destination's own socket; one of them cannot be sent.
    fn all_but_one_arrive(listen: &str, at: &str, via: Option<IpAddr>) {
        let udp = Udp::open(listen.parse().unwrap(), "lanes").unwrap();
        let receivers: Vec<_> = (0..40).map(|_| UdpSocket::bind(at).unwrap()).collect();
        let bytes: Vec<_> = (0..40_u8).map(|n| vec![n; 100 + usize::from(n)]).collect();
        let good = receivers.iter().zip(&bytes).map(|(receiver, bytes)| Departure {
            to: receiver.local_addr().unwrap(),
            via,
            ecn: None,
            segment: bytes.len(),
            bytes,
        });
        let mut departures: Vec<_> = good.collect();
        // Nothing can be sent to port 0.
        let to = SocketAddr::new(departures[0].to.ip(), 0);
        departures.insert(7, Departure { to, via, ecn: None, segment: 100, bytes: &bytes[0] });
        assert_eq!(udp.send_all(departures.into_iter()), 1);
        for (receiver, bytes) in receivers.iter().zip(&bytes) {
            let (got, from) = received(receiver);
            assert_eq!(&got, bytes);
            assert_eq!(from.port(), udp.local_address().unwrap().port());
            assert!(via.is_none_or(|via| via == from.ip()), "{from}");
        }
    }

    #[test]
    fn many_at_once_do_not_overtake_single_ones() {
        let udp = Udp::open("127.0.0.1:0".parse().unwrap(), "lanes").unwrap();
        let receivers: Vec<_> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let bytes: Vec<_> = (0..8_u8).map(|n| vec![n; 100]).collect();
        let many = bytes[2..6].concat();
        let all = [&bytes[0], &bytes[1], &many, &bytes[6], &bytes[7]];
        let departures = all.iter().flat_map(|bytes| {
            receivers.iter().map(|receiver| Departure {
                to: receiver.local_addr().unwrap(),
                via: None,
                ecn: None,
                segment: 100,
                bytes,
            })
        });
        assert_eq!(udp.send_all(departures), 0);
        for receiver in &receivers {
            for bytes in &bytes {
                assert_eq!(&received(receiver).0, bytes);
            }
        }
    }

    #[test]
    fn each_destination_has_its_own() {
        let v4 = Some([127, 0, 0, 9].into());
        all_but_one_arrive("0.0.0.0:0", "127.0.0.1:0", None);
        all_but_one_arrive("0.0.0.0:0", "127.0.0.1:0", v4);
        all_but_one_arrive("[::]:0", "127.0.0.1:0", v4);
        all_but_one_arrive("[::]:0", "[::1]:0", Some(std::net::Ipv6Addr::LOCALHOST.into()));
    }
}
