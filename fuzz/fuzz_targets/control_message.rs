//! What nodes and the control plane say to each other: whatever comes, it is a message or an error,
//! and a message that is written and read again is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::control::{
    ChallengeRequest, EnrolRequest, Frame, Netmap, RenewRequest, Report, RevocationFrame, SessionRequest,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = EnrolRequest::parse(bytes) {
        let text = serde_json::to_vec(&request).expect("what was read can be written");
        let again = EnrolRequest::parse(&text).expect("what was written can be read");
        assert_eq!(request.is_proven(), again.is_proven());
    }
    let _ = ChallengeRequest::parse(bytes);
    let _ = SessionRequest::parse(bytes);
    let _ = RenewRequest::parse(bytes);
    let _ = Report::parse(bytes);
    if let Ok(frame) = RevocationFrame::parse(bytes) {
        let text = serde_json::to_vec(&frame).expect("what was read can be written");
        assert_eq!(RevocationFrame::parse(&text).expect("what was written can be read"), frame);
    }
    // A stream: each line is a frame, applied to what the ones before made.
    let mut netmap: Option<Netmap> = None;
    for frame in bytes.split(|byte| *byte == b'\n').filter_map(|line| Frame::parse(line).ok()) {
        if let Some(snapshot) = frame.snapshot {
            netmap = Some(snapshot.into());
        }
        if let (Some(netmap), Some(delta)) = (&mut netmap, frame.delta) {
            let _ = netmap.apply(delta);
        }
    }
});
