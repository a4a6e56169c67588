//! Round trips to a UDP echo: one after the other, or at even times whatever becomes of them.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::host::Host;
use crate::traffic::{udp_socket, unspecified_like};

/// Bytes of a question.
const LEN: usize = 64;

/// How many questions are asked, and when.
#[derive(Clone, Copy, Debug)]
pub struct Questions {
    /// How many.
    pub count: u32,
    /// The time from one to the next, kept whether or not answers come; without it, each is asked
    /// when the one before it is answered.
    pub every: Option<Duration>,
    /// After so long there is no answer any more.
    pub patience: Duration,
}

/// How long each answer took, from when its question was due; none if none came.
///
/// Measured from when it was due and not from when it was sent: a sender that is held up must not
/// make the delay look shorter.
///
/// # Errors
/// When a socket cannot be had, does not send or does not receive.
pub fn udp_round_trips(
    from: &Host,
    echo: SocketAddr,
    questions: Questions,
) -> Result<Vec<Option<Duration>>> {
    let socket = udp_socket(from, unspecified_like(echo))?;
    socket.connect(echo)?;
    socket.set_nonblocking(true)?;
    // In a thread of its own: its naps are to be as short as they are asked for.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| Asking::new(&socket, questions).run());
        asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .with_context(|| format!("{}: round trips to {echo}", from.name()))
}

struct Asking<'s> {
    socket: &'s UdpSocket,
    questions: Questions,
    /// When each question was due, and how long its answer took.
    asked: Vec<(Instant, Option<Duration>)>,
    answers: u32,
}

impl<'s> Asking<'s> {
    fn new(socket: &'s UdpSocket, questions: Questions) -> Self {
        Self { socket, questions, asked: Vec::new(), answers: 0 }
    }

    fn run(mut self) -> Result<Vec<Option<Duration>>> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let started = Instant::now();
        for number in 0..self.questions.count {
            let due = match self.questions.every {
                Some(every) => started + every * number,
                None => Instant::now(),
            };
            self.listen(|_| Instant::now() >= due, due)?;
            self.asked.push((due, None));
            self.socket.send(&question(number)).context("asking")?;
            if self.questions.every.is_none() {
                let answered = |asking: &Self| asking.answer(number).is_some();
                self.listen(answered, due + self.questions.patience)?;
            }
        }
        let end = Instant::now() + self.questions.patience;
        self.listen(|asking| asking.answers == asking.questions.count, end)?;
        Ok(self.asked.into_iter().map(|(_, took)| took).collect())
    }

    fn answer(&self, number: u32) -> Option<Duration> {
        self.asked.get(number as usize).and_then(|(_, took)| *took)
    }

    /// Takes answers until enough is heard, or a moment.
    fn listen(&mut self, enough: impl Fn(&Self) -> bool, until: Instant) -> Result<()> {
        while !enough(self) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut ready = [PollFd::new(self.socket, PollFlags::IN)];
            match poll(&mut ready, Some(&Timespec::try_from(left)?)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.hear()?,
                Err(error) => return Err(error).context("awaiting answers"),
            }
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        let mut answer = [0; LEN];
        match self.socket.recv(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("receiving an answer"),
        }
        let number = answer.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
        if let Some((due, took)) = self.asked.get_mut(number as usize)
            && took.is_none()
        {
            *took = Some(due.elapsed());
            self.answers += 1;
        }
        Ok(())
    }
}

fn question(number: u32) -> [u8; LEN] {
    let mut question = [0; LEN];
    question[..4].copy_from_slice(&number.to_be_bytes());
    question
}
