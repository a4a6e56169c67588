//! Relay frames as bytes and back, and bytes that are none.

use proptest::collection::vec;
use proptest::prelude::*;
use proto::key::PublicKey;
use proto::lane::{LaneId, LaneSecret};
use proto::relay::{
    Batch, ClientFrame, FrameError, Framing, LaneOpened, LaneRefused, MAX_FRAME, Proof, Refusal,
    RelayFrame, Welcome, finish_frame, split_frame, start_frame,
};
use proto::ticket::{ControlKeyId, NetworkId, SigningKey, Ticket, UnixSeconds};
use zeroize::Zeroizing;

const KEY: [u8; 32] = [0xaa; 32];

fn proof() -> Box<Proof> {
    let key = SigningKey::from_seed(&Zeroizing::new([1; 32])).expect("valid");
    let ticket = Ticket {
        network: NetworkId([2; 16]),
        node: PublicKey::from(KEY),
        identity: key.verifying_key(),
        not_after: UnixSeconds(3),
        node_rate: 4,
        network_rate: 5,
        lanes: 6,
    };
    Box::new(Proof { ticket: ticket.sign(ControlKeyId(7), &key), signature: [8; 64] })
}

/// Every frame of a node.
fn from_node(batch: Batch<'_>, number: u64) -> [ClientFrame<'_>; 9] {
    let key = PublicKey::from(KEY);
    [
        ClientFrame::Hello(1),
        ClientFrame::Proof(proof()),
        ClientFrame::Send(key, batch),
        ClientFrame::Home(true),
        ClientFrame::Home(false),
        ClientFrame::OpenLane(key),
        ClientFrame::CloseLane(LaneId::from_number(9).expect("valid")),
        ClientFrame::Ping(number),
        ClientFrame::Pong(number),
    ]
}

/// Every frame of a relay.
fn from_relay(batch: Batch<'_>, number: u64) -> Vec<RelayFrame<'_>> {
    let key = PublicKey::from(KEY);
    let lane = LaneId::from_number(9).expect("valid");
    let opened = |addresses: &[&str]| LaneOpened {
        peer: key,
        lane,
        secret: LaneSecret::from([3; 16]),
        lifetime: 30,
        addresses: addresses.iter().map(|a| a.parse().expect("valid")).collect(),
    };
    let welcome = Welcome { until: UnixSeconds(number), rate: number, lanes: 7, idle: 30 };
    let mut frames = vec![
        RelayFrame::Challenge(1, [4; 32]),
        RelayFrame::Welcome(welcome),
        RelayFrame::Received(key, batch),
        RelayFrame::PeerGone(key),
        RelayFrame::LaneOpened(opened(&[])),
        RelayFrame::LaneOpened(opened(&["192.0.2.1:3478", "[2001:db8::1]:3478"])),
        RelayFrame::LaneRefused(key, LaneRefused::PeerAbsent),
        RelayFrame::LaneClosed(lane),
        RelayFrame::Drain(5000),
        RelayFrame::Ping(number),
        RelayFrame::Pong(number),
    ];
    frames.extend(Refusal::ALL.map(RelayFrame::Refused));
    frames
}

fn bytes_of_client(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

fn bytes_of_relay(frame: &RelayFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

#[test]
fn layouts_are_what_the_page_says() {
    let batch = Batch::new(b"abcde", 2).expect("valid");
    let key = PublicKey::from(KEY);
    let sent = bytes_of_client(&ClientFrame::Send(key, batch));
    assert_eq!(sent, [&[3][..], &KEY, &[0, 2], b"abcde"].concat());
    let received = bytes_of_relay(&RelayFrame::Received(key, batch));
    assert_eq!(received, [&[18][..], &KEY, &[0, 2], b"abcde"].concat());
    let lens = from_node(batch, 1).map(|frame| bytes_of_client(&frame).len());
    assert_eq!(lens, [3, 245, 40, 2, 2, 33, 5, 9, 9]);
    let lens: Vec<_> = from_relay(batch, 1).iter().map(|f| bytes_of_relay(f).len()).collect();
    assert_eq!(lens[..11], [35, 23, 40, 33, 55, 91, 34, 5, 5, 9, 9]);
}

#[test]
fn refusals_are_in_their_places() {
    for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal.index(), place);
    }
}

#[test]
fn a_frame_has_its_direction() {
    let batch = Batch::single(b"x").expect("valid");
    for frame in from_relay(batch, 1) {
        if !matches!(frame, RelayFrame::Ping(_) | RelayFrame::Pong(_)) {
            let bytes = bytes_of_relay(&frame);
            let unknown = Err(FrameError::UnknownType(bytes[0]));
            assert_eq!(ClientFrame::parse(&bytes), unknown);
        }
    }
    assert_eq!(RelayFrame::parse(&[1, 0, 1]), Err(FrameError::UnknownType(1)));
    assert_eq!(RelayFrame::parse(&[]), Err(FrameError::Empty));
}

#[test]
fn a_stranger_cannot_announce_a_long_frame() {
    let length = |len: usize| u32::try_from(len).expect("valid").to_be_bytes();
    let split = |len, framing| split_frame(&length(len), framing).map(|_| ());
    assert_eq!(split(256, Framing::Admission), Ok(()));
    assert_eq!(split(257, Framing::Admission), Err(FrameError::TooLong(257)));
    assert_eq!(split(MAX_FRAME, Framing::Admitted), Ok(()));
    assert_eq!(split(MAX_FRAME + 1, Framing::Admitted), Err(FrameError::TooLong(MAX_FRAME + 1)));
    assert_eq!(split(0, Framing::Admitted), Err(FrameError::Empty));
}

proptest! {
    #[test]
    fn frames_round_trip(payload in vec(any::<u8>(), 1..3000), segment in 1..3000_usize, n: u64) {
        let batch = Batch::new(&payload, segment).or(Batch::single(&payload)).expect("valid");
        for frame in from_node(batch, n) {
            let bytes = bytes_of_client(&frame);
            prop_assert_eq!(ClientFrame::parse(&bytes), Ok(frame));
        }
        for frame in from_relay(batch, n) {
            let bytes = bytes_of_relay(&frame);
            prop_assert_eq!(RelayFrame::parse(&bytes), Ok(frame));
        }
    }

    #[test]
    fn a_frame_cut_short_is_no_frame(cut in 1..40_usize) {
        let batch = Batch::single(b"x").expect("valid");
        for frame in from_node(batch, 1) {
            let mut bytes = bytes_of_client(&frame);
            bytes.truncate(bytes.len().saturating_sub(cut));
            prop_assert!(ClientFrame::parse(&bytes).is_err());
        }
        for frame in from_relay(batch, 1) {
            let mut bytes = bytes_of_relay(&frame);
            bytes.truncate(bytes.len().saturating_sub(cut));
            // Without one of its addresses a lane is still a lane.
            let shorter = matches!(frame, RelayFrame::LaneOpened(_)) && cut % 18 == 0;
            prop_assert!(shorter || RelayFrame::parse(&bytes).is_err());
        }
    }

    #[test]
    fn what_is_read_is_what_is_written(bytes in vec(any::<u8>(), 0..300), kind in 0..30_u8) {
        let bytes = [&[kind][..], &bytes].concat();
        if let Ok(frame) = ClientFrame::parse(&bytes) {
            prop_assert_eq!(&bytes_of_client(&frame), &bytes);
        }
        if let Ok(frame) = RelayFrame::parse(&bytes)
            && !matches!(frame, RelayFrame::LaneOpened(_))
        {
            prop_assert_eq!(&bytes_of_relay(&frame), &bytes);
        }
    }

    #[test]
    fn a_stream_may_come_in_any_pieces(payload in vec(any::<u8>(), 1..500), piece in 1..50_usize) {
        let frames = from_node(Batch::single(&payload).expect("valid"), 7);
        let mut stream = Vec::new();
        for frame in &frames {
            let start = start_frame(&mut stream);
            frame.write(&mut stream);
            finish_frame(&mut stream, start);
        }
        let (mut held, mut read) = (Vec::new(), 0);
        for piece in stream.chunks(piece) {
            held.extend_from_slice(piece);
            while let Some((frame, taken)) = split_frame(&held, Framing::Admitted).expect("valid") {
                prop_assert_eq!(&ClientFrame::parse(frame).expect("valid"), &frames[read]);
                read += 1;
                held.drain(..taken);
            }
        }
        prop_assert_eq!((read, held.len()), (frames.len(), 0));
    }
}
