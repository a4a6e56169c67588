//! Frames between relays as bytes and back, and bytes that are none.

use proptest::collection::vec;
use proptest::prelude::*;
use proto::key::PublicKey;
use proto::mesh::{Hello, MAX_NOTICES, MESH_DATA_HEADER_LEN, MeshFrame, Notice, Presence, RelayId};
use proto::relay::{Batch, ClientFrame, FrameError, Framing, RelayFrame, split_frame};
use proto::ticket::{NetworkId, SigningKey};

const NETWORK: NetworkId = NetworkId([2; 16]);

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("every seed is a key")
}

fn hello() -> Hello {
    Hello::new("here", RelayId(1), RelayId(2), &[3; 32], &signing_key(1))
}

fn notice(node: u8, presence: Presence) -> Notice {
    Notice { network: NETWORK, node: key(node), presence }
}

/// Every frame.
fn frames(batch: Batch<'_>, number: u64) -> Vec<MeshFrame<'_>> {
    let notices = vec![
        notice(1, Presence::Gone),
        notice(2, Presence::Connected(7)),
        notice(3, Presence::Home(u32::MAX)),
    ];
    vec![
        MeshFrame::Hello(Box::new(hello())),
        MeshFrame::Packets { network: NETWORK, from: key(1), to: key(2), batch },
        MeshFrame::Absent { network: NETWORK, from: key(1), to: key(2) },
        MeshFrame::Beat(number),
        MeshFrame::BeatBack(number),
        MeshFrame::Nodes(notices),
    ]
}

fn bytes(frame: &MeshFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

#[test]
fn layouts_are_what_the_page_says() {
    let batch = Batch::new(b"abcde", 2).expect("valid");
    let lens: Vec<_> = frames(batch, 1).iter().map(|frame| bytes(frame).len()).collect();
    assert_eq!(lens, [75, MESH_DATA_HEADER_LEN + 5, 81, 9, 9, 1 + 3 * 53]);
}

#[test]
fn the_protocols_do_not_understand_each_other() {
    let batch = Batch::single(b"x").expect("valid");
    for frame in frames(batch, 1) {
        let bytes = bytes(&frame);
        let unknown = FrameError::UnknownType(bytes[0]);
        assert_eq!(ClientFrame::parse(&bytes), Err(unknown));
        assert_eq!(RelayFrame::parse(&bytes), Err(unknown));
    }
    assert_eq!(MeshFrame::parse(&[7; 9]), Err(FrameError::UnknownType(7)));
    assert_eq!(MeshFrame::parse(&[]), Err(FrameError::Empty));
}

#[test]
fn a_hello_is_worth_nothing_elsewhere() {
    let (hello, public) = (hello(), signing_key(1).verifying_key());
    assert!(hello.is_by(&public, "here", &[3; 32]));
    assert!(!hello.is_by(&public, "there", &[3; 32]), "another region");
    assert!(!hello.is_by(&public, "here", &[4; 32]), "another connection");
    assert!(!hello.is_by(&signing_key(2).verifying_key(), "here", &[3; 32]), "another relay");
    let back = Hello { from: RelayId(2), to: RelayId(1), ..hello };
    assert!(!back.is_by(&public, "here", &[3; 32]), "sent back");
    let newer = Hello { version: 2, ..hello };
    assert!(!newer.is_by(&public, "here", &[3; 32]), "another version");
}

#[test]
fn notices_are_bounded() {
    let many = |count| bytes(&MeshFrame::Nodes(vec![notice(1, Presence::Gone); count]));
    assert!(MeshFrame::parse(&many(MAX_NOTICES)).is_ok());
    assert!(MeshFrame::parse(&many(MAX_NOTICES + 1)).is_err());
    assert!(MeshFrame::parse(&many(0)).is_err());
    // Who is gone is so for no time.
    let mut odd = many(1);
    odd[53] = 1;
    assert!(MeshFrame::parse(&odd).is_err());
}

#[test]
fn the_longest_frame_passes_a_stream_between_relays_only() {
    let payload = vec![7; proto::relay::MAX_PAYLOAD];
    let batch = Batch::new(&payload, 1400).expect("valid");
    let packets = bytes(&MeshFrame::Packets { network: NETWORK, from: key(1), to: key(2), batch });
    let length = u32::try_from(packets.len()).expect("short").to_be_bytes();
    let stream = [&length[..], &packets].concat();
    let split = |framing| split_frame(&stream, framing).map(|found| found.is_some());
    assert_eq!(split(Framing::Mesh), Ok(true));
    assert_eq!(split(Framing::Admitted), Err(FrameError::TooLong(packets.len())));
}

proptest! {
    #[test]
    fn frames_round_trip(payload in vec(any::<u8>(), 1..3000), segment in 1..3000_usize, n: u64) {
        let batch = Batch::new(&payload, segment).or(Batch::single(&payload)).expect("valid");
        for frame in frames(batch, n) {
            let bytes = bytes(&frame);
            prop_assert_eq!(MeshFrame::parse(&bytes), Ok(frame));
        }
    }

    #[test]
    fn a_frame_cut_short_is_no_frame(cut in 1..53_usize) {
        for frame in frames(Batch::single(b"x").expect("valid"), 1) {
            let mut bytes = bytes(&frame);
            bytes.truncate(bytes.len().saturating_sub(cut));
            prop_assert!(MeshFrame::parse(&bytes).is_err());
        }
    }

    #[test]
    fn what_is_read_is_what_is_written(body in vec(any::<u8>(), 0..300), kind in 60..74_u8) {
        let read = [&[kind][..], &body].concat();
        if let Ok(frame) = MeshFrame::parse(&read) {
            prop_assert_eq!(&bytes(&frame), &read);
        }
    }
}
