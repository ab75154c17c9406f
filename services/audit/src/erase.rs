//! Taking values away from behind commitments: of one person, under four eyes, or of everybody by age.
//!
//! The entry that says so and the deletion are one transaction, so a crash leaves neither without the other. Large
//! erasures are several of them, each with the entries that it is about. One runs at a time.
//!
//! What this does **not** do: it does not decide who may ask (the broker does), and it cannot reach copies that somebody
//! carried away: archives, proofs, backups. Values of refused logins belong to nobody who is known, and go by age alone.

mod find;
mod held;
mod holds;
mod person;
mod request;
mod retention;

pub(crate) use held::held_of;
pub use holds::Holds;
pub use person::Erased;
pub(crate) use person::Retired;
pub(crate) use request::Known;
pub use request::{Pending, Wanted};
pub use retention::{Kept, Retention};

use crate::append::Log;
use crate::belief::ClockDoubt;
use crate::error::{AppendError, ReadError};
use crate::reader::Reader;
use crate::recover::entry_bytes;
use crate::store::Scrubbed;
use crate::writer::Urgent;
use model::canonical::{self, Value};
use model::entry::{CommitmentClass, DraftError, Entry};
use model::erasure::{Erasures, Event, Requests};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries whose values go in one transaction. Others wait for it, so it must not be long.
const ROWS_AT_ONCE: usize = 1_000;
/// Older copies in the database's own log go when nobody reads them; readers take milliseconds.
const SCRUBS_MAX: u32 = 200;
const SCRUB_PAUSE: Duration = Duration::from_millis(50);

/// Why values were not erased, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error("the audit log could not be read")]
    Read(#[from] ReadError),
    #[error("the erasure could not be recorded; what was not recorded was not erased")]
    Append(#[from] AppendError),
    #[error("the erasure makes no entry")]
    Draft(#[from] DraftError),
    #[error("the request was carried out under entry {0}")]
    Done(u64),
    #[error("the name does not stand for whom it stood for when this was asked for")]
    Another,
    #[error("a legal hold keeps the values of this person")]
    OnHold,
    #[error(transparent)]
    Clock(#[from] ClockDoubt),
}

impl From<crate::store::StoreError> for EraseError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl Log {
    /// All erasures so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn erasures(&self) -> Result<Erasures, ReadError> {
        erasures(&self.inner.reader).await
    }

    /// Wipes older copies of what was erased. `false`: somebody goes on reading them, and a later erasure or the end of the
    /// log wipes them, or they are not the log's to wipe.
    pub(crate) async fn scrub(&self) -> bool {
        for _ in 0..SCRUBS_MAX {
            let (done, answer) = oneshot::channel();
            if self.inner.urgent.send(Urgent::Scrub(done)).is_err() {
                return false;
            }
            match answer.await {
                Ok(Scrubbed::Wiped) => return true,
                Ok(Scrubbed::Busy) => tokio::time::sleep(SCRUB_PAUSE).await,
                Ok(Scrubbed::Elsewhere) | Err(_) => return false,
            }
        }
        false
    }
}

/// All erasures in the store that somebody has asked for, or a policy, and with which nothing is wrong.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn erasures(reader: &Reader) -> Result<Erasures, ReadError> {
    let mut all = Erasures::default();
    let (mut requests, mut unreadable) = (Requests::default(), BTreeSet::new());
    for index in reader.erasure_entries().await? {
        let Some(event) = event(reader, index).await? else {
            unreadable.insert(index);
            continue;
        };
        let asked = requests.see(index, &event, |requested| unreadable.contains(&requested));
        if let (Ok(_), Event::Erased(erasure)) = (asked, event) {
            all.add(erasure);
        }
    }
    Ok(all)
}

/// What the entry of kind `erasure` at `index` says; `None` when it is none, or says nothing that can be understood.
pub(crate) async fn event(reader: &Reader, index: u64) -> Result<Option<Event>, ReadError> {
    let Some(bytes) = entry_bytes(reader, index).await? else { return Ok(None) };
    Ok(Entry::parse(&bytes).ok().and_then(|entry| Event::read(index, &entry)?.ok()))
}

/// `values` without these classes, and whether it had one of them; `None` in the place of nothing.
fn without(values: &[u8], classes: &[CommitmentClass]) -> (bool, Option<Vec<u8>>) {
    let Ok(Value::Object(mut values)) = canonical::parse(values) else { return (false, None) };
    let removed = classes.iter().filter(|class| values.remove(class.as_str()).is_some()).count();
    let left = values.iter().next().is_some();
    (removed > 0, left.then(|| Value::Object(values).encode()))
}

fn number(n: u64) -> Value {
    Value::int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn class_names(classes: &[CommitmentClass]) -> Value {
    let mut names: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
    names.sort_unstable();
    Value::texts(names)
}
