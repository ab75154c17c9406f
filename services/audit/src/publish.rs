//! Publishing: what was committed is read again, hashed again, written as tiles and signed.
//!
//! A checkpoint is a promise that cannot be taken back, so neither memory nor storage is believed alone. In order: new bundles
//! are read from storage and hashed, up to what the writer has committed; the root must be the one that the writer got from
//! what it wrote, so that nothing is signed which somebody else has put into the store; tiles and bundles are written and
//! flushed; the note is signed by every key that is to sign, or there is none; it is kept in the database and as a file of
//! its own; last, `checkpoint` names the new tree. Whoever reads `checkpoint` finds everything under it, but for entries that
//! another one says were pruned ([`prune`]); also who takes some minutes for that, since what later trees need no longer goes late
//! ([`LINGER_MS`]).
//!
//! Witnesses date what they sign, and what a cosigned checkpoint does not have was written later. So they are asked only of a
//! tree that had, a moment ago, everything that was made until then: entries that wait, because the disk is full, are written with
//! the time that they were made at, and behind a checkpoint that was cosigned meanwhile they would look dated back. It does
//! not matter then how often a checkpoint is cosigned before it is kept, nor at which step the process is killed.

pub(crate) mod files;
pub(crate) mod prune;
mod resume;
mod tiles;

pub(crate) use resume::parse_note;

use crate::append::Log;
use crate::erase::{EraseError, Retention};
use crate::error::{AppendError, ReadError};
use crate::frames;
use crate::keys::Keys;
use crate::published::Publication;
use crate::reader::{Damaged, Reader};
use crate::shared::{Counters, Shared};
use crate::store::{Bundle, CheckpointRow, StoreError};
use files::Tree;
use model::Timestamp;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tiles::TileBuilder;
use tlog::tile::TilePath;
use tlog::{Checkpoint, CompactRange, Hash, VerifierKey};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// The file that names the latest tree.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// Where every signed checkpoint stays.
pub const CHECKPOINTS_DIR: &str = "checkpoints";
pub const INTERVAL_MS: u64 = 1_000;
/// What only earlier checkpoints need stays so long for those who have begun to read or to copy by one of them.
pub const LINGER_MS: i64 = 600_000;
/// Witnesses are asked of a tree that was whole no longer ago than this: little of the minute that verifiers let a checkpoint wait.
const WHOLE_MS: i64 = 10_000;
/// What a witness says counts if it is there by then, as verifiers let a checkpoint wait: behind what is signed for later, entries that
/// came meanwhile would look dated back.
const COSIGNED_MS: i64 = 60_000;
/// A log is made to grow no more often than this, however slow its witnesses are.
const BEAT_EVERY: Duration = Duration::from_secs(600);
/// How often in one round such a tree is looked for where reading takes longer than that.
const PASSES_MAX: u32 = 3;
/// The same failure is told once in this time; each is counted.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// `checkpoints/00000000000000/00000000000000001234`: at most a million files in a directory, in order.
pub fn checkpoint_path(size: u64) -> String {
    let name = format!("{size:020}");
    let dir = name.get(..14).unwrap_or_default();
    format!("{CHECKPOINTS_DIR}/{dir}/{name}")
}

#[derive(Clone, Debug)]
pub struct PublishOptions {
    pub dir: PathBuf,
    /// Time between two looks at whether the log has grown.
    pub interval_ms: u64,
    /// Whoever cosigns checkpoints before they are published.
    pub witnesses: Option<Arc<dyn Witnesses>>,
    /// What entries that were pruned and are not under a signed checkpoint yet must have been pruned by.
    pub retention: Retention,
    /// Told what was published. A ring: nobody who listens holds the publisher up.
    pub told: Option<broadcast::Sender<Published>>,
    /// How long what only earlier checkpoints need stays, by the log's clock.
    pub linger_ms: i64,
}

impl PublishOptions {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let (witnesses, told, retention) = (None, None, Retention::default());
        Self { dir: dir.into(), interval_ms: INTERVAL_MS, witnesses, retention, told, linger_ms: LINGER_MS }
    }
}

/// Makes the proof that a tree continues one of a smaller size; `None` if it cannot.
pub type Prove<'p> = dyn Fn(u64) -> Option<Vec<Hash>> + Send + Sync + 'p;

/// Whoever cosigns checkpoints.
pub trait Witnesses: fmt::Debug + Send + Sync {
    /// Asks for cosignatures of the checkpoint in `note`, of `size` entries. Takes no longer than a checkpoint may wait.
    fn cosign<'a>(
        &'a self,
        note: &'a str,
        size: u64,
        prove: &'a Prove<'a>,
    ) -> Pin<Box<dyn Future<Output = Cosigned> + Send + 'a>>;

    /// Whether as many as are asked for have cosigned the note as it will be published.
    fn is_quorum(&self, note: &str) -> bool;
}

/// What witnesses said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cosigned {
    /// Signature lines of each, verified, with when it has signed, in seconds since 1970.
    pub lines: Vec<(u64, String)>,
    /// A witness has signed for another history of this log, in words.
    pub contradiction: Option<String>,
}

/// A signed tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the key signs for `{key}`, the log is `{log}`")]
    Key { key: String, log: String },
    /// Two keys would sign one log, and nobody who has the one could come to trust the other.
    #[error(
        "the latest checkpoint of this log was signed by another key than `{0}`; bring that key back, or begin a log with \
         another origin"
    )]
    OtherKey(String),
    /// The same, of a key that is known from before.
    #[error(
        "the latest checkpoint of this log was signed by `{signed}`, and `{current}` has not signed beside it: let both sign \
         first, the old one as `key` or `key_file` and the new one as `next_key` or `next_key_file`"
    )]
    NotAnnounced { signed: String, current: String },
    #[error("entry {at} of this log has retired the key `{key}`, which does not sign again; make another")]
    Retired { key: String, at: u64 },
    #[error(
        "the latest checkpoint of this log was also signed by the key with the id {0:08x}; name its file in `previous_key_files`, \
         or in `next_key_file`; of one in a token, a file with its public key, or the key itself as `next_key`"
    )]
    UnknownKey(u32),
    #[error("whether the store is where this log's writer left it could not be told")]
    NotCompared(#[source] AppendError),
    /// No program of ours has written this.
    #[error(
        "entry {at} speaks of a key of this log in a way in which no broker does, and no checkpoint covers it yet: somebody else \
         has written to the store. Bring back a copy of it from before that, or begin a new incarnation"
    )]
    Forged { at: u64 },
    /// The same of entries that are gone.
    #[error(
        "entry {at} says that entries of this log were pruned, and {what}: no broker has written this, so somebody else has written to \
         the store. Nothing was signed over it, and nothing published was deleted. Bring back a copy of the store from before that, or \
         begin a new incarnation"
    )]
    ForgedPruning { at: u64, what: String },
    #[error(
        "entry {at} says that entries of this log were pruned, by the policy {policy}; that is not the one of `[audit.retention]` now, and \
         no checkpoint covers the entry yet. If the broker was killed after it had pruned and before it had signed the next checkpoint, \
         and the policy was changed since: start it once with that policy, and change it then. If not, somebody else has written to the store; nothing was \
         signed over it, and nothing published was deleted: bring back a copy of the store from before that, or begin a new incarnation"
    )]
    OtherRetention { at: u64, policy: String },
    #[error(
        "entry {at} says that entries of this log were pruned, and {what} (`audit.legal_holds`); no checkpoint covers the entry yet. If the broker was killed after it had pruned and before it had signed the next \
         checkpoint, and the hold came since: start it once without the hold. If not, somebody else has written to the store; nothing was signed over \
         it, and nothing published was deleted: bring back a copy of the store from before that, or begin a new incarnation"
    )]
    HeldPruning { at: u64, what: String },
    #[error(
        "entry {at} says that entries of this log were pruned, no checkpoint covers it yet, and what was published of them cannot be read \
         to hold it against; bring the published files back"
    )]
    NotComparedPruning {
        at: u64,
        #[source]
        source: ReadError,
    },
    #[error(
        "entry {at} says that entries of this log were pruned, no checkpoint covers it yet, and by what time of day it is to be judged cannot be \
         told, so nothing was judged, signed or deleted. Once what keeps it from being told has been looked at, start the broker once more"
    )]
    DoubtedPruning {
        at: u64,
        #[source]
        source: Box<EraseError>,
    },
    #[error(
        "entry {at} says that entries of this log were pruned, no checkpoint covers it yet, and its policy reaches so far from {reached} on, \
         which is less than a day from now by the clock ({now}): the clock was set back since, or was ahead when it was written. Nothing was \
         signed or deleted. Look at the clock; if it is right, start the broker again after that time"
    )]
    EarlyPruning { at: u64, reached: Timestamp, now: Timestamp },
    #[error(
        "entry {index}, which entry {at} says is carried forward, is missing in the store's table `carried`, or is not what was logged: somebody \
         else has written to the store. Nothing was published or deleted by it. Bring back a copy of the store from before that; \
         `millgate audit fsck` says what else is not as it was"
    )]
    Carried { at: u64, index: u64 },
    #[error("a change of keys could not be written to the log")]
    NotAnnouncedNow(#[source] AppendError),
    /// The store is older than what is published: it was restored or cut. Going on would fork the log.
    #[error(
        "`{}` speaks of {published} entries, the store has a checkpoint for {stored}; the store was cut or restored \
         from an older copy: bring the newer one back, or begin a log with another origin", path.display()
    )]
    Ahead { path: PathBuf, published: u64, stored: u64 },
    #[error("`{}` is not a checkpoint of this log: {what}", path.display())]
    Foreign { path: PathBuf, what: String },
    /// Storage does not give back what was written. Nothing may be signed over it.
    #[error("{0}")]
    Mismatch(String),
    /// Somebody else writes another history under this log's name, or has: this one must not go on.
    #[error("{0}")]
    Contradicted(String),
    #[error("cannot write `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The standby will have it in a moment, or it is gone.
    #[error(
        "no synchronous standby of the store has all {0} entries yet, so nothing is signed over them; see `pg_stat_replication`"
    )]
    NotReplicated(u64),
    /// A witness that signed now would make them look dated back.
    #[error(
        "{0} entries of the log wait until its store has room for them, and witnesses are not asked before they are written: what they sign \
         would be later than entries behind it. Make room; nothing is lost meanwhile"
    )]
    Waiting(u64),
    /// A witness that signed now would make what came meanwhile look dated back.
    #[error(
        "reading the new entries from the store and writing them to the published files took {0} s, {PASSES_MAX} times in a row, and witnesses are \
         asked only of what is not that old: the store or the disk of `audit.publish_directory` is too slow for what is logged"
    )]
    Slow(i64),
    #[error("the checkpoint could not be kept")]
    NotKept(#[from] AppendError),
    #[error("the checkpoint could not be signed: {0}")]
    NotSigned(#[from] tlog::checkpoint::CheckpointError),
    #[error("the publisher has stopped")]
    Stopped,
}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(cause) if cause.is::<Damaged>() => Self::Mismatch(cause.to_string()),
            error => Self::Read(error.into()),
        }
    }
}

/// The handle of the publishing task. The task ends with [`Publisher::stop`] or with its last handle.
#[derive(Clone, Debug)]
pub struct Publisher {
    commands: mpsc::Sender<Command>,
    key: VerifierKey,
}

#[derive(Debug)]
enum Command {
    Now(oneshot::Sender<Result<Published, PublishError>>),
    Stop(oneshot::Sender<Result<Published, PublishError>>),
}

impl Publisher {
    /// Takes up the published directory where it stands, writes down what has changed of the keys, and publishes from then
    /// on.
    ///
    /// # Errors
    /// When directory and store contradict each other, or the key is another log's or may not sign this one.
    pub async fn start(log: &Log, keys: impl Into<Keys>, options: PublishOptions) -> Result<Self, PublishError> {
        let keys = keys.into();
        let verifier = keys.known().current().clone();
        if verifier.name() != log.origin() {
            return Err(PublishError::Key { key: verifier.name().to_owned(), log: log.origin().to_owned() });
        }
        let interval = Duration::from_millis(options.interval_ms.max(1));
        let mut task =
            Task { log: log.clone(), keys, options, work: None, told: None, is_lacking: false, beaten: None };
        // Before anything is signed, written or deleted that rests on it.
        task.check_unsigned().await?;
        task.resume().await?;
        task.check_signed().await?;
        // Before anything is signed by a key that the log does not know yet.
        task.keys.settle(log).await?;
        let (commands, inbox) = mpsc::channel(16);
        tokio::spawn(task.run(inbox, interval));
        Ok(Self { commands, key: verifier })
    }

    /// The key that the checkpoints verify under.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Publishes what is durable now.
    ///
    /// # Errors
    /// Why it could not; the task goes on and tries again.
    pub async fn publish_now(&self) -> Result<Published, PublishError> {
        self.ask(Command::Now).await
    }

    /// Publishes what is durable now, and ends. Comes after [`Log::seal`] and before [`Log::close`].
    ///
    /// # Errors
    /// Why the last publication could not be made.
    pub async fn stop(&self) -> Result<Published, PublishError> {
        self.ask(Command::Stop).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<Published, PublishError>>) -> Command,
    ) -> Result<Published, PublishError> {
        let (answer, published) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| PublishError::Stopped)?;
        published.await.unwrap_or(Err(PublishError::Stopped))
    }
}

struct Task {
    log: Log,
    keys: Keys,
    options: PublishOptions,
    /// The tiles being built; `None` after a failure, when only the disk knows what is on it.
    work: Option<Work>,
    /// What went wrong last, and when that was told.
    told: Option<(String, tokio::time::Instant)>,
    /// Of the last checkpoint cosignatures are lacking that another try may get.
    is_lacking: bool,
    /// When the log was last made to grow for that.
    beaten: Option<tokio::time::Instant>,
}

/// What a blocking thread works on.
struct Work {
    builder: TileBuilder,
    tree: Tree,
    published: Published,
    /// Entries whose bundles are gone, as far as this task has seen to that.
    pruned: u64,
    /// Entries of which the directory says that they are gone, and since when.
    announced: Option<(u64, Timestamp)>,
}

impl Work {
    fn new(builder: TileBuilder, tree: Tree, published: Published) -> Self {
        Self { builder, tree, published, pruned: 0, announced: None }
    }
}

impl Task {
    fn shared(&self) -> &Arc<Shared> {
        &self.log.inner.shared
    }

    fn reader(&self) -> &Reader {
        &self.log.inner.reader
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, interval: Duration) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let log = self.log.clone();
        let ended = log.ended();
        tokio::pin!(ended);
        loop {
            let command = tokio::select! {
                biased;
                () = &mut ended => return,
                command = inbox.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                _ = ticks.tick() => None,
            };
            let published = self.publish().await;
            match &published {
                Ok(_) => self.told = None,
                Err(error) => self.report(error),
            }
            match command {
                None => {}
                Some(Command::Now(answer)) => drop(answer.send(published)),
                Some(Command::Stop(answer)) => {
                    let _ = answer.send(published);
                    return;
                }
            }
        }
    }

    /// Prunings that no signed checkpoint covers are those of this log's own broker, by its policy.
    async fn check_unsigned(&self) -> Result<(), PublishError> {
        let last = self.reader().last_checkpoint().await?;
        if let Some(last) = &last {
            self.keys.check_last(&last.note)?;
        }
        let (dir, retention) = (&self.options.dir, &self.options.retention);
        crate::prune::check_unsigned(&self.log, last.as_ref(), dir, retention).await
    }

    /// The one that counts is under the signed checkpoint that is said to cover it.
    async fn check_signed(&self) -> Result<(), PublishError> {
        let last = self.reader().last_checkpoint().await?;
        crate::prune::check_signed(self.reader(), last.as_ref(), &self.options.dir).await
    }

    fn report(&mut self, error: &PublishError) {
        Counters::add(&self.shared().counters.publish_failures, 1);
        let (text, now) = (told_apart(error), tokio::time::Instant::now());
        let is_told =
            self.told.as_ref().is_some_and(|(told, at)| *told == text && now.duration_since(*at) < TOLD_EVERY);
        if let PublishError::Mismatch(what) | PublishError::Contradicted(what) = error {
            self.shared().poison(what);
        } else if !is_told {
            self.told = Some((text, now));
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "the audit log could not be published; trying again");
        }
    }

    /// One round. After a failure the next one begins with what is on the disk.
    async fn publish(&mut self) -> Result<Published, PublishError> {
        if self.work.is_none() {
            self.resume().await?;
        }
        let mut passes = 0;
        loop {
            let has_grown = self.work.as_ref().is_some_and(|work| self.log.size() > work.published.size);
            // In this order: whatever was made before is under the size that is read then.
            let whole = self.shared().now();
            if has_grown {
                self.settle().await?;
            }
            let committed = self.committed().await?;
            if !has_grown {
                break;
            }
            let size = committed.size();
            if !self.reader().is_replicated().await? {
                return Err(PublishError::NotReplicated(size));
            }
            let Some(mut work) = self.work.take() else { return Err(PublishError::Stopped) };
            work = self.absorb(work, size).await?;
            if *work.builder.range() != committed {
                let what =
                    format!("the first {size} entries as stored do not hash to what was written; nothing was signed");
                return Err(PublishError::Mismatch(what));
            }
            let took = self.shared().now().millis().saturating_sub(whole.millis());
            if took > WHOLE_MS && self.asks_witnesses() {
                // There was much to read. The rest is less, unless everything is slow.
                self.work = Some(work);
                passes += 1;
                if passes >= PASSES_MAX {
                    return Err(PublishError::Slow(took / 1_000));
                }
                continue;
            }
            work = prepare(work).await?;
            let checkpoint = Checkpoint::new(self.log.origin(), size, committed.root());
            let note = match self.signed(checkpoint).await {
                Ok(note) => note,
                // A token may be away for hours. What was hashed and written is as good then.
                Err(error @ PublishError::NotSigned(_)) => {
                    self.work = Some(work);
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            let (work, is_lacking) = self.complete(work, note, whole).await?;
            (self.work, self.is_lacking) = (Some(work), is_lacking);
            break;
        }
        self.beat();
        let Some(work) = self.work.take() else { return Err(PublishError::Stopped) };
        let (mut work, pruned) = self.prune_files(work).await?;
        let (now, linger_ms) = (self.shared().now(), self.options.linger_ms);
        work = blocking(move || {
            work.tree.tidy(now, linger_ms);
            Ok(work)
        })
        .await?;
        let published = work.published.clone();
        // What is known of the files is as good, whatever is wrong with what is carried forward.
        self.work = Some(work);
        pruned.map(|()| published)
    }

    fn asks_witnesses(&self) -> bool {
        self.options.witnesses.is_some()
    }

    /// Everything that was made until now is written, if there is somebody who dates what they sign.
    async fn settle(&self) -> Result<(), PublishError> {
        if !self.asks_witnesses() || self.log.settle().await.map_err(|_| PublishError::Stopped)? {
            return Ok(());
        }
        Err(PublishError::Waiting(self.shared().counters.outcomes_waiting.load(Ordering::Relaxed)))
    }

    /// The tree that was committed last, which the store has too.
    async fn committed(&self) -> Result<CompactRange, PublishError> {
        let stored = self.reader().head().await?;
        if stored.range != *self.shared().committed.borrow() {
            // A batch may have been committed between the two looks. The writer knows.
            self.log.compare_head().await.map_err(PublishError::NotCompared)?;
        }
        Ok(self.shared().committed.borrow().clone())
    }

    /// Reads, hashes and writes full tiles up to `size`.
    async fn absorb(&self, mut work: Work, size: u64) -> Result<Work, PublishError> {
        while work.builder.size() < size {
            let bundles = self.reader().bundles(work.builder.size()).await?;
            // Where one is missing, later ones may be there.
            if bundles.first().is_none_or(|bundle| bundle.first_index != work.builder.size()) {
                let missing = format!("the entries from {} on are not in the store", work.builder.size());
                return Err(PublishError::Mismatch(missing));
            }
            work = blocking(move || {
                let within = bundles.iter().filter(|bundle| bundle.first_index < size);
                within.clone().try_for_each(|bundle| push_bundle(&mut work.builder, bundle))?;
                let full = work.builder.take_full();
                put_tiles(&mut work.tree, &full)?;
                Ok(work)
            })
            .await?;
        }
        Ok(work)
    }

    /// The note, with every signature that belongs to it.
    async fn signed(&self, checkpoint: Checkpoint) -> Result<String, PublishError> {
        let keys = self.keys.clone();
        // A token takes its time, within bounds of its own.
        blocking(move || Ok(checkpoint.sign_all(&keys.signing())?)).await
    }

    /// Has the note cosigned, keeps it, and names the new tree, which was whole at that time; and whether cosignatures are lacking
    /// that another try may get.
    async fn complete(&self, mut work: Work, note: String, whole: Timestamp) -> Result<(Work, bool), PublishError> {
        let range = work.builder.range().clone();
        let size = range.size();
        let (note, is_lacking) = self.cosigned(note, size, whole).await?;
        self.log.keep_checkpoint(CheckpointRow { note: note.clone(), range }).await?;
        work.published = Published { size, note };
        let work = blocking(move || {
            put_checkpoint(&mut work.tree, &work.published)?;
            Ok(work)
        })
        .await?;
        self.tell(&work.published);
        Ok((work, is_lacking))
    }

    fn tell(&self, published: &Published) {
        if let Some(told) = &self.options.told {
            // Nobody may listen any longer.
            let _ = told.send(published.clone());
        }
    }
}

impl Task {
    /// The note with what witnesses add to it, and whether some came too late for a quorum. The tiles of its tree are on the disk
    /// already.
    async fn cosigned(&self, note: String, size: u64, whole: Timestamp) -> Result<(String, bool), PublishError> {
        let Some(witnesses) = &self.options.witnesses else { return Ok((note, false)) };
        let prove = |old| {
            let mut published = Publication::of(&self.options.dir, &note)?;
            published.consistency(old)
        };
        let cosigned = witnesses.cosign(&note, size, &prove).await;
        let times: Vec<u64> = cosigned.lines.iter().map(|(time, _)| *time).collect();
        self.shared().compare_clock(&times);
        if let Some(contradiction) = cosigned.contradiction {
            return Err(PublishError::Contradicted(contradiction));
        }
        // By the witness's clock and by this one, because either may be wrong.
        let late = |ms: i64| ms.saturating_sub(whole.millis()) > COSIGNED_MS;
        let is_late_here = late(self.shared().now().millis());
        let is_late = |seconds: u64| late(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
        let (late, in_time): (Vec<_>, Vec<_>) =
            cosigned.lines.into_iter().partition(|(time, _)| is_late_here && is_late(*time));
        let joined = in_time.iter().fold(note.clone(), |note, (_, lines)| note + lines);
        // Whatever a witness gets under it, a checkpoint that nobody can verify is never published, or kept: the log could not be opened.
        let next = self.keys.next().map(|key| key.verifier());
        let is_sound = [self.keys.current().verifier()]
            .into_iter()
            .chain(next)
            .all(|key| Checkpoint::open(&joined, key).is_ok_and(|checkpoint| checkpoint.size == size));
        if !is_sound {
            tracing::error!(
                size,
                "a witness adds lines to a checkpoint with which it does not verify; it is published without any"
            );
        }
        let note = if is_sound { joined } else { note };
        let is_quorum = witnesses.is_quorum(&note);
        if is_quorum {
            self.shared().counters.witnessed_size.fetch_max(size, Ordering::Relaxed);
        }
        if !late.is_empty() {
            Counters::add(&self.shared().counters.cosigned_late, u64::try_from(late.len()).unwrap_or(1));
            tracing::error!(
                size,
                late = late.len(),
                is_quorum,
                "signing a checkpoint and having it cosigned took more than a minute; behind what was cosigned later, entries of the time \
                 until then would look dated back, so that is left out: the token that signs or these witnesses are too slow"
            );
        }
        let is_left_out = !late.is_empty() || !is_sound;
        Ok((note, is_left_out && !is_quorum))
    }

    /// Lets the log grow where cosignatures are lacking, so that it is signed and cosigned again.
    fn beat(&mut self) {
        let now = tokio::time::Instant::now();
        if self.is_lacking && self.beaten.is_none_or(|beaten| now.duration_since(beaten) >= BEAT_EVERY) {
            self.beaten = Some(now);
            self.log.beat();
        }
    }
}

/// Writes the unfinished tiles.
async fn prepare(mut work: Work) -> Result<Work, PublishError> {
    blocking(move || {
        let partial = work.builder.partial(work.published.size);
        put_tiles(&mut work.tree, &partial)?;
        sync(&mut work.tree)?;
        Ok(work)
    })
    .await
}

fn push_bundle(builder: &mut TileBuilder, bundle: &Bundle) -> Result<(), PublishError> {
    let (first, last) = (bundle.first_index, bundle.first_index + bundle.count.max(1) - 1);
    let good = builder.size() == first
        && frames::iter(&bundle.bytes).all(|entry| entry.is_ok_and(|entry| builder.push(entry)))
        && builder.size() == last + 1;
    let what = || format!("entries {first} to {last} as stored are not what was written; nothing was signed");
    if good { Ok(()) } else { Err(PublishError::Mismatch(what())) }
}

fn put_tiles(tree: &mut Tree, tiles: &[(TilePath, Vec<u8>)]) -> Result<(), PublishError> {
    for (path, bytes) in tiles {
        put(tree, &path.to_path(), bytes)?;
        if path.is_full() {
            // Readers of older trees find the full one (C2SP tlog-tiles, partial tiles). Who copies the directory may have been
            // where that belongs before it was there.
            tree.retire(partials(path));
        }
    }
    Ok(())
}

/// What is the same in failures that need not be told again: the text, without the counts that differ from second to second.
fn told_apart(error: &PublishError) -> String {
    match error {
        PublishError::Waiting(_) => String::from("waiting"),
        PublishError::Slow(_) => String::from("slow"),
        PublishError::NotReplicated(_) => String::from("not replicated"),
        _ => format!("{error}; {:?}", std::error::Error::source(error).map(ToString::to_string)),
    }
}

/// Where the unfinished ones of a tile lie.
fn partials(path: &TilePath) -> String {
    format!("{}.p", path.to_path())
}

/// The note under its size, and then as the latest.
fn put_checkpoint(tree: &mut Tree, published: &Published) -> Result<(), PublishError> {
    put(tree, &checkpoint_path(published.size), published.note.as_bytes())?;
    sync(tree)?;
    put(tree, CHECKPOINT_FILE, published.note.as_bytes())?;
    sync(tree)
}

fn put(tree: &mut Tree, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
    tree.put(name, bytes).map_err(|source| PublishError::File { path: tree.path(name), source })
}

fn sync(tree: &mut Tree) -> Result<(), PublishError> {
    tree.sync().map_err(|source| PublishError::File { path: tree.path(""), source })
}

/// Hashing and file work, off the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(PublishError::Stopped))
}
