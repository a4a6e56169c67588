//! The thread that owns the core and the port of lanes.
//!
//! A round: wait; read the clock, once; what the port has, switched at once; what connections say;
//! what time brings. Nothing here waits for anybody.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use proto::lane::{LANE_HEADER_LEN, LaneId, LaneMessage};
use proto::relay::{ClientFrame, Framing, Refusal, split_frame};
use proto::ticket::UnixSeconds;
use quinn_udp::EcnCodepoint;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::{mpsc, watch};

use super::hub_handle::{Bell, HubHandle, Join, Report, ToConnection, ToHub};
use super::udp::{Departure, RECEIVE_BATCH, Received, Run, Udp};
use crate::core::{
    ClientId, Command, Counters, Drop, Now, Output, Relay, Settings, Switch, Verdict,
};

/// Messages of connections in a round, so that lanes have their turn soon.
const MESSAGES: usize = 256;
/// Receives from the port in a round.
const RECEIVES: usize = 4;

struct Hub {
    relay: Relay,
    switch: Switch,
    lanes: Counters,
    udp: Option<Udp>,
    inbox: mpsc::Receiver<ToHub>,
    bell: Arc<Bell>,
    lines: HashMap<ClientId, mpsc::UnboundedSender<ToConnection>>,
    out: Output,
    now: Now,
    ended: bool,
}

/// Starts the hub's thread.
pub(super) fn start(settings: Settings, udp: Option<Udp>) -> Result<HubHandle> {
    let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")?;
    let bell = Arc::new(Bell { file, sleeping: AtomicBool::new(false) });
    let (end, ended) = watch::channel(false);
    let (handle, inbox) = HubHandle::new(bell.clone(), ended);
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let now = clock();
    let hub = Hub {
        relay: Relay::new(settings, &seed, now.at),
        switch: Switch::default(),
        lanes: Counters::default(),
        udp,
        inbox,
        bell,
        lines: HashMap::new(),
        out: Output::default(),
        now,
        ended: false,
    };
    std::thread::Builder::new()
        .name("relay-hub".to_owned())
        .spawn(move || {
            if let Err(error) = hub.run() {
                tracing::error!(%error, "the hub has failed");
            }
            // Whoever waited is gone if nobody hears it.
            let _ = end.send(true);
        })
        .context("starting the hub's thread")?;
    Ok(handle)
}

impl Hub {
    fn run(mut self) -> io::Result<()> {
        let mut received = Received::new();
        while !self.ended {
            let datagrams = self.wait()?;
            self.now = clock();
            if datagrams {
                self.receive(&mut received);
            }
            self.obey();
            if self.relay.poll_timeout().is_some_and(|due| due <= self.now.at) {
                let now = self.now;
                self.relay.handle_timeout(now, &mut self.out);
                self.apply();
            }
        }
        Ok(())
    }

    /// Waits until there is something to do; says whether the port has something.
    fn wait(&mut self) -> io::Result<bool> {
        self.bell.sleeping.store(true, Ordering::SeqCst);
        let due = self.relay.poll_timeout();
        // A message that came before the flag was set rang no bell.
        let left = if self.inbox.is_empty() {
            due.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let bell = &self.bell.file;
        let mut fds = [
            PollFd::new(bell, PollFlags::IN),
            // Without a port the bell is watched twice, which does no harm.
            self.udp.as_ref().map_or_else(
                || PollFd::new(bell, PollFlags::IN),
                |udp| PollFd::from_borrowed_fd(udp.as_fd(), PollFlags::IN),
            ),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [rung, datagrams] = fds.map(|fd| !fd.revents().is_empty());
        self.bell.sleeping.store(false, Ordering::SeqCst);
        if rung {
            let mut count = [0; 8];
            // Nothing to read means that an earlier round has seen it.
            let _ = rustix::io::read(&self.bell.file, &mut count);
        }
        Ok(datagrams && self.udp.is_some())
    }

    fn receive(&mut self, received: &mut Received) {
        for _ in 0..RECEIVES {
            let count = match self.udp.as_ref().map(|udp| udp.receive(received)) {
                Some(Ok(count)) => count,
                Some(Err(error)) => {
                    tracing::debug!(%error, "receiving datagrams of lanes failed");
                    return;
                }
                None => return,
            };
            for run in received.runs(count) {
                self.switch_run(run);
            }
            if count < RECEIVE_BATCH {
                return;
            }
        }
    }

    /// Switches datagrams of one source: those of one lane together.
    fn switch_run(&mut self, run: Run<'_>) {
        let Run { from, local, ecn, stride, mut bytes } = run;
        while !bytes.is_empty() {
            let same = same_lane(bytes, stride);
            let (these, rest) = std::mem::take(&mut bytes).split_at_mut(same);
            bytes = rest;
            match LaneMessage::parse(&these[..stride.min(same)]) {
                Some(LaneMessage::Data(lane, _)) => self.data(lane, these, stride, from, ecn),
                Some(message) => self.message(&message, from, local),
                None => self.lanes.drop(Drop::LaneMalformed, 1),
            }
        }
    }

    fn data(
        &mut self,
        lane: LaneId,
        bytes: &mut [u8],
        stride: usize,
        from: SocketAddr,
        ecn: Option<EcnCodepoint>,
    ) {
        let count = bytes.len().div_ceil(stride);
        let payload = bytes.len() - count * LANE_HEADER_LEN;
        match self.switch.judge(lane, from, payload, self.now.at) {
            Verdict::Forward(forward) => {
                for datagram in bytes.chunks_mut(stride) {
                    datagram[4..LANE_HEADER_LEN].copy_from_slice(&forward.lane.get().to_be_bytes());
                }
                self.lanes.lane_packets += count as u64;
                self.lanes.lane_bytes += payload as u64;
                self.send(&Departure {
                    to: forward.to,
                    via: forward.via,
                    ecn,
                    segment: stride,
                    bytes,
                });
            }
            Verdict::Up => {
                let mut payload = Vec::with_capacity(payload);
                for datagram in bytes.chunks(stride) {
                    payload.extend_from_slice(&datagram[LANE_HEADER_LEN..]);
                }
                let (segment, at) = (stride - LANE_HEADER_LEN, self.now.at);
                let segment = segment.min(payload.len());
                self.relay.lane_data(lane, payload.into(), segment, at, &mut self.out);
                self.apply();
            }
            Verdict::Drop(reason) => self.lanes.drop(reason, count),
        }
    }

    fn message(&mut self, message: &LaneMessage<'_>, from: SocketAddr, local: Option<IpAddr>) {
        self.relay.lane_message(message, from, local, self.now.at, &mut self.out);
        self.apply();
    }

    fn send(&mut self, departure: &Departure<'_>) {
        let refused = self.udp.as_ref().map_or(0, |udp| udp.send(departure));
        self.lanes.drop(Drop::LaneSend, refused);
    }

    /// Takes what connections and operators say.
    fn obey(&mut self) {
        for _ in 0..MESSAGES {
            let Ok(message) = self.inbox.try_recv() else { return };
            let (now, out) = (self.now, &mut self.out);
            match message {
                ToHub::Join(join) => self.join(*join),
                ToHub::Renew(client, admitted) => self.relay.renew(client, &admitted, now, out),
                ToHub::Frames(client, bytes) => self.frames(client, bytes),
                ToHub::Datagram(client, frame) => self.datagram(client, &frame),
                ToHub::Written(client, bytes) => self.relay.written(client, bytes, now.at, out),
                ToHub::Refuse(client, why) => self.relay.refuse(client, why, now.at, out),
                ToHub::Left(client) => {
                    self.lines.remove(&client);
                    self.relay.leave(client, now.at, out);
                }
                ToHub::Report(reply) => {
                    let mut counters = self.relay.counters().clone();
                    counters.add(&self.lanes);
                    let (totals, bound) = (self.relay.totals(), self.switch.len());
                    // Who asked may have gone.
                    let _ = reply.send(Report { totals, counters, bound });
                }
                ToHub::Drain(within) => self.relay.drain(within, now.at, out),
            }
            self.apply();
        }
    }

    fn join(&mut self, join: Join) {
        let Join { admitted, way, line, reply } = join;
        let result = self.relay.join(&admitted, way, self.now, &mut self.out);
        if let Ok(client) = result {
            self.lines.insert(client, line);
        }
        // A connection that is gone by now tells it by its closed line.
        if reply.send(result).is_err()
            && let Ok(client) = result
        {
            self.lines.remove(&client);
            self.relay.leave(client, self.now.at, &mut self.out);
        }
    }

    /// Takes whole frames, each with its length.
    fn frames(&mut self, client: ClientId, bytes: Bytes) {
        let mut rest = &bytes[..];
        while let Ok(Some((frame, taken))) = split_frame(rest, Framing::Admitted) {
            match ClientFrame::parse(frame) {
                Ok(frame) => self.relay.frame(client, &frame, &bytes, self.now, &mut self.out),
                Err(_) => {
                    self.relay.refuse(client, Refusal::Malformed, self.now.at, &mut self.out);
                    return;
                }
            }
            rest = &rest[taken..];
        }
    }

    fn datagram(&mut self, client: ClientId, bytes: &Bytes) {
        // In a datagram only packets have their place: the others must not be lost.
        match ClientFrame::parse(bytes) {
            Ok(frame @ ClientFrame::Send(..)) => {
                self.relay.frame(client, &frame, bytes, self.now, &mut self.out);
            }
            _ => self.relay.refuse(client, Refusal::Malformed, self.now.at, &mut self.out),
        }
    }

    /// Does what the core wants done.
    fn apply(&mut self) {
        for command in self.out.commands.drain(..) {
            match command {
                Command::Deliver(client, delivery) => {
                    if let Some(line) = self.lines.get(&client) {
                        // A connection that has ended says so by itself.
                        let _ = line.send(ToConnection::Deliver(delivery));
                    }
                }
                Command::Close(client) => {
                    if let Some(line) = self.lines.remove(&client) {
                        let _ = line.send(ToConnection::Close);
                    }
                }
                Command::Switch(change) => self.switch.change(change, self.now.at),
                Command::End => self.ended = true,
            }
        }
        for made in std::mem::take(&mut self.out.datagrams) {
            let bytes = &made.bytes;
            let (to, via, segment) = (made.to, made.via, made.segment);
            self.send(&Departure { to, via, ecn: None, segment, bytes });
        }
    }
}

/// How many bytes at the front have the same header, in whole datagrams but for the last.
fn same_lane(bytes: &[u8], stride: usize) -> usize {
    let Some(header) = bytes.get(..LANE_HEADER_LEN) else {
        return stride.min(bytes.len());
    };
    let same = bytes.chunks(stride).take_while(|datagram| {
        // A datagram that is a header alone is malformed, so it is judged by itself.
        datagram.starts_with(header) && datagram.len() > LANE_HEADER_LEN
    });
    match same.count() {
        0 => stride.min(bytes.len()),
        // What is no data is answered one by one.
        _ if header[3] != 0 => stride.min(bytes.len()),
        count => (count * stride).min(bytes.len()),
    }
}

fn clock() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), wall: UnixSeconds(wall.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_of_one_lane_is_taken_together() {
        let datagram = |kind, lane, len: usize| {
            let mut bytes = vec![0xb7, 0x6e, 0x77, kind, 0, 0, 0, lane];
            bytes.resize(len, 9);
            bytes
        };
        let run = |datagrams: &[Vec<u8>]| same_lane(&datagrams.concat(), 20);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 1, 20), datagram(0, 1, 9)]), 49);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 1, 20), datagram(0, 1, 8)]), 40);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 2, 20)]), 20);
        assert_eq!(run(&[datagram(5, 1, 20), datagram(5, 1, 20)]), 20);
        assert_eq!(run(&[vec![1, 2, 3]]), 3);
        assert_eq!(run(&[datagram(0, 1, 8)]), 8);
    }
}
