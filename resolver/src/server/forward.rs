//! Questions for others: each is asked once at a time, however many wait for the answer.
//!
//! That is also what ends a loop. If an upstream asks us in turn, its question is one that we wait for
//! already; it waits as well, nothing more is sent, and all of them end at the same time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::ask;
use crate::core::{Expected, Silence, Way, with_id};

/// Queries that wait for others at one time.
const MOST: usize = 256;

/// What is asked, without the id.
type Question = (Way, Vec<u8>);
/// The answer, once it is there.
type Answer = Option<Arc<[u8]>>;

#[derive(Debug)]
pub(super) struct Forwarder {
    room: Arc<Semaphore>,
    asked: Mutex<HashMap<Question, watch::Receiver<Answer>>>,
    silence: Mutex<Silence>,
}

impl Default for Forwarder {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(MOST));
        Self { room, asked: Mutex::default(), silence: Mutex::default() }
    }
}

impl Forwarder {
    /// The right to wait for an answer; none if too many do.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// The answer to a query, under its id; none if nobody gave one.
    pub(super) async fn ask(
        &self,
        query: Vec<u8>,
        way: Way,
        upstreams: &[SocketAddr],
        expected: Expected,
    ) -> Option<Vec<u8>> {
        let id = *query.first_chunk()?;
        let question = (way, query.get(2..)?.to_vec());
        let answer = match self.join(&question) {
            Joined::Waits(mut answer) => {
                let answer = answer.wait_for(Option::is_some).await.ok()?;
                answer.as_ref().map(|answer| answer.to_vec())
            }
            Joined::Asks(told) => {
                let _over = Over { forwarder: self, question };
                let order = locked(&self.silence).order(upstreams, Instant::now().into_std());
                let answer = ask::ask(&query, way, &order, &expected, &self.silence).await;
                let answer = answer.map(|answer| expected.fit(answer));
                // Those who wait hear of a failure by our end.
                if let Some(answer) = &answer {
                    told.send_replace(Some(answer.as_slice().into()));
                }
                answer
            }
        };
        answer.map(|answer| with_id(answer, id))
    }

    fn join(&self, question: &Question) -> Joined {
        let mut asked = locked(&self.asked);
        if let Some(answer) = asked.get(question) {
            return Joined::Waits(answer.clone());
        }
        let (told, answer) = watch::channel(None);
        asked.insert(question.clone(), answer);
        Joined::Asks(told)
    }
}

enum Joined {
    Waits(watch::Receiver<Answer>),
    Asks(watch::Sender<Answer>),
}

/// Ends the wait of others, also when who asks is gone.
struct Over<'a> {
    forwarder: &'a Forwarder,
    question: Question,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        locked(&self.forwarder.asked).remove(&self.question);
    }
}

/// Nothing that is done under these locks can fail halfway.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
