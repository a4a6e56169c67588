//! Packets that no honest stack would send, and some that it would.

/// The client's and the server's addresses inside the tunnel.
pub(crate) const CLIENT: [u8; 4] = [10, 9, 0, 1];
pub(crate) const SERVER: [u8; 4] = [10, 9, 0, 2];

/// An IPv4 packet from the client to the server; `fragment` is the field of flags and offset.
pub(crate) fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    v4_from(CLIENT, protocol, fragment, payload)
}

/// As [`v4`], from anybody: to the client if the server sends it.
pub(crate) fn v4_from(source: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).expect("a short payload").to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut packet =
        vec![0x45, 0, len[0], len[1], 0, 7, fragment[0], fragment[1], 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(if source == SERVER { CLIENT } else { SERVER });
    let words = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("few words");
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet to the server at fd09::2.
pub(crate) fn v6(source: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next, 64];
    packet.extend(source);
    packet.extend(fd09(2));
    packet.extend(payload);
    packet
}

/// fd09::`number`.
pub(crate) fn fd09(number: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfd, 0x09]);
    address[15] = number;
    address
}

/// A UDP header and a few bytes, to this port.
pub(crate) fn udp(port: u16) -> Vec<u8> {
    let mut segment = vec![0x30, 0x39];
    segment.extend(port.to_be_bytes());
    segment.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    segment
}

/// A TCP header to this port, with these flags.
pub(crate) fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = vec![0x30, 0x39];
    segment.extend(port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}
