//! The shell of an impaired link: two TAPs and one thread that carries frames between them by the
//! schedule of a [`Wire`] in each direction.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::wire::{Counters, Impairment, Wire};

/// Frames read from one TAP before the other, and the clock, have their turn.
const BATCH: usize = 64;
/// Frames due within this time of each other go in one wake-up: a rate of some hundred Mbit/s must
/// not cost a sleep a frame. Frames are late by this at most, never early.
const WAKE_EVERY: Duration = Duration::from_micros(100);
/// The largest frame a TAP hands out.
const FRAME_LIMIT: usize = 65536 + 18;

/// One of the two ways along a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first host to the second.
    AToB,
    /// From the second host to the first.
    BToA,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::AToB, Self::BToA];
}

/// A link whose behaviour can be changed while it runs. The interfaces are gone when it is dropped.
#[derive(Debug)]
pub struct ImpairedLink {
    /// The interface in the first host.
    pub device_a: String,
    /// The interface in the second host.
    pub device_b: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ImpairedLink {
    pub(crate) fn start(
        taps: [File; 2],
        [device_a, device_b]: [String; 2],
        impairment: Impairment,
        seed: u64,
    ) -> Result<Self> {
        let lane = |seed| Lane { wire: Wire::new(impairment), rng: SmallRng::seed_from_u64(seed) };
        let shared = Arc::new(Shared {
            lanes: Mutex::new(Lanes {
                // The two directions draw from unlike sequences.
                lanes: [lane(seed), lane(!seed)],
                stop: false,
            }),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let carrier = Carrier {
            taps,
            shared: Arc::clone(&shared),
            buffer: vec![0; FRAME_LIMIT],
            arrived: Vec::with_capacity(BATCH),
            leaving: Vec::with_capacity(BATCH),
        };
        let thread = std::thread::Builder::new()
            .name("impaired link".to_owned())
            .spawn(move || carrier.run())
            .context("a thread for an impaired link")?;
        Ok(Self { device_a, device_b, shared, thread: Some(thread) })
    }

    /// Changes both directions.
    ///
    /// # Panics
    /// If a probability lies outside `0.0..=1.0`.
    pub fn set(&self, impairment: Impairment) {
        for direction in Direction::BOTH {
            self.set_direction(direction, impairment);
        }
    }

    /// Changes one direction.
    ///
    /// # Panics
    /// If a probability lies outside `0.0..=1.0`.
    pub fn set_direction(&self, direction: Direction, impairment: Impairment) {
        self.change(|lanes| {
            let now = Instant::now();
            lanes.of(direction).wire.set(impairment, now);
        });
    }

    /// Cuts both directions, silently (the interfaces keep their carrier), or mends them.
    pub fn set_up(&self, up: bool) {
        for direction in Direction::BOTH {
            self.set_direction_up(direction, up);
        }
    }

    /// Cuts or mends one direction.
    pub fn set_direction_up(&self, direction: Direction, up: bool) {
        self.change(|lanes| lanes.of(direction).wire.set_up(up));
    }

    /// What one direction did so far.
    #[must_use]
    pub fn counters(&self, direction: Direction) -> Counters {
        self.shared.lock().of(direction).wire.counters()
    }

    fn change(&self, change: impl FnOnce(&mut Lanes)) {
        change(&mut self.shared.lock());
        self.shared.wake();
    }
}

impl Drop for ImpairedLink {
    fn drop(&mut self) {
        self.change(|lanes| lanes.stop = true);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one here would abort a test that unwinds.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Lanes>,
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is about to wake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn acknowledge(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

#[derive(Debug)]
struct Lanes {
    lanes: [Lane; 2],
    stop: bool,
}

impl Lanes {
    fn of(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction as usize]
    }
}

#[derive(Debug)]
struct Lane {
    wire: Wire,
    rng: SmallRng,
}

/// The thread's own: it reads and writes without the lock, and schedules under it.
struct Carrier {
    taps: [File; 2],
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    arrived: Vec<Vec<u8>>,
    leaving: Vec<Vec<u8>>,
}

impl Carrier {
    fn run(mut self) {
        if let Err(error) = self.carry_on() {
            // An interface was deleted under us; the test sees an outage and this line.
            eprintln!("impaired link ended: {error}");
        }
    }

    fn carry_on(&mut self) -> io::Result<()> {
        loop {
            let mut more = false;
            let mut next_event: Option<Instant> = None;
            for direction in Direction::BOTH {
                more |= self.read_batch(direction)?;
                let next = self.schedule(direction);
                next_event = next_event.into_iter().chain(next).min();
                self.write_batch(direction);
            }
            if self.shared.lock().stop {
                return Ok(());
            }
            if !more {
                self.wait(next_event)?;
            }
        }
    }

    /// Whether there may be more to read.
    fn read_batch(&mut self, direction: Direction) -> io::Result<bool> {
        let mut tap = &self.taps[direction as usize];
        while self.arrived.len() < BATCH {
            match tap.read(&mut self.buffer) {
                Ok(len) => self.arrived.push(self.buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn schedule(&mut self, direction: Direction) -> Option<Instant> {
        let mut lanes = self.shared.lock();
        let Lane { wire, rng } = lanes.of(direction);
        let now = Instant::now();
        for frame in self.arrived.drain(..) {
            wire.push(frame, now, rng);
        }
        self.leaving.extend(std::iter::from_fn(|| wire.pop(now, rng)));
        wire.next_event()
    }

    fn write_batch(&mut self, direction: Direction) {
        let mut far = &self.taps[1 - direction as usize];
        let mut refused = 0;
        for frame in self.leaving.drain(..) {
            if far.write(&frame).is_err() {
                refused += 1;
            }
        }
        if refused > 0 {
            self.shared.lock().of(direction).wire.note_refused(refused);
        }
    }

    fn wait(&self, next_event: Option<Instant>) -> io::Result<()> {
        let timeout = next_event.map(|event| {
            let left = event.saturating_duration_since(Instant::now());
            left.max(WAKE_EVERY)
        });
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        let [a, b] = &self.taps;
        let mut fds = [
            PollFd::new(a, PollFlags::IN),
            PollFd::new(b, PollFlags::IN),
            PollFd::new(&self.shared.wake, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[2].revents().is_empty() {
            self.shared.acknowledge();
        }
        Ok(())
    }
}
