//! Whoever is cut off is cut off from open answers too, and nobody keeps a source waiting: one task that looks at every
//! answer under way. A task and a timer for each would cost more than most answers take.

use crate::world::World;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How late an answer may learn that its time is over. A new generation is told at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Answers looked at without a pause: each may be a decision.
const LOOKS_AT_ONCE: usize = 32;

/// An answer under way.
pub trait Answer: Send + Sync {
    /// Ends itself where that is due.
    fn look(&self, world: &World);
}

/// The answers under way.
#[derive(Default)]
pub struct Vigil {
    answers: Mutex<Answers>,
    /// There is something to look at again.
    begun: Notify,
}

#[derive(Default)]
struct Answers {
    open: HashMap<u64, Weak<dyn Answer>>,
    last: u64,
}

/// An answer's place among those that are looked at, given back when dropped.
pub struct Watched {
    vigil: Arc<Vigil>,
    number: u64,
}

impl Vigil {
    pub fn watch(self: &Arc<Self>, answer: Weak<dyn Answer>) -> Watched {
        let mut answers = self.answers();
        answers.last += 1;
        let number = answers.last;
        let first = answers.open.is_empty();
        answers.open.insert(number, answer);
        drop(answers);
        if first {
            self.begun.notify_one();
        }
        Watched { vigil: Arc::clone(self), number }
    }

    /// Looks at them until there are no new worlds any longer.
    pub async fn keep(self: Arc<Self>, mut worlds: watch::Receiver<Arc<World>>) {
        loop {
            let due = async {
                if self.answers().open.is_empty() {
                    self.begun.notified().await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            let ended = tokio::select! {
                changed = worlds.changed() => changed.is_err(),
                () = due => false,
            };
            if ended {
                return;
            }
            let world = worlds.borrow_and_update().clone();
            self.look(&world).await;
        }
    }

    async fn look(&self, world: &World) {
        let open: Vec<Weak<dyn Answer>> = self.answers().open.values().cloned().collect();
        for some in open.chunks(LOOKS_AT_ONCE) {
            // One at a time: an answer that its caller drops meanwhile ends there and then.
            some.iter().filter_map(Weak::upgrade).for_each(|answer| answer.look(world));
            tokio::task::yield_now().await;
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // A thread that panicked cannot have left half an entry behind.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.vigil.answers().open.remove(&self.number);
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vigil").field("open", &self.answers().open.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("number", &self.number).finish_non_exhaustive()
    }
}
