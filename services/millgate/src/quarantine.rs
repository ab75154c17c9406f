//! Whether others have seen more of the log than is here, or something else: then it may not go on.
//!
//! Asked before the log is opened are its witnesses, its sinks, the directory that it is published to, and what is known from before: a
//! contradiction is marked in a file beside the store, so that it is not forgotten because a witness cannot be reached at the
//! next start. The mark goes with the copy that it is about. Only whoever contradicted can take it back, by confirming a copy
//! that holds what it has seen, which is hashed here, or, where nobody signed what was said, the operator (`lift`); everything
//! else takes a new incarnation (`millgate audit incarnate`).
//!
//! What this does **not** do: it serves nothing (`quarantined`), and it cannot know what nobody kept.

mod lift;
mod voice;

pub(crate) use lift::Lift;

use crate::sinks::directory::Directory;
use crate::sinks::s3::S3;
use crate::store;
use crate::witnessing::Witnessing;
use anyhow::{Context as _, bail};
use audit::{Keys, Publication, Stored};
use model::{Clock, Timestamp};
use runtime::config::Audit;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tlog::{Checkpoint, Hash};
use voice::Voice;

/// Somebody has seen more of the log than is here, or something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contradiction {
    /// In words: the witness `w3`.
    pub by: String,
    /// Entries of the tree that it has seen.
    pub seen: u64,
    /// The signed note, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Of the witness, as verifiers name it: another one may get its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Entries that the copy here has.
    pub stored: u64,
}

impl Contradiction {
    /// Nothing of the other is left to be said by this one. A witness never cosigns less than it has, or anything that does
    /// not continue it; of notes that the log signed nobody knows whether one continues the other.
    pub(crate) fn stands_for(&self, other: &Self) -> bool {
        self.by == other.by
            && match (&self.checkpoint, &other.checkpoint) {
                (None, None) => self.key == other.key && self.seen >= other.seen,
                (mine, others) => self.seen == other.seen && mine == others,
            }
    }
}

/// Somebody has seen nothing but what is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    pub by: String,
    /// The tree that it has seen.
    pub size: u64,
    pub root: Hash,
    /// Of a witness, which has cosigned that tree.
    pub key: Option<String>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, seen, stored, .. } = self;
        if seen > stored {
            write!(f, "{by} has seen {seen} entries of this log, and the copy here has {stored}")
        } else {
            write!(f, "{by} has seen another history of this log, of {seen} entries; the copy here has {stored}")
        }
    }
}

/// What others say of the copy that is here.
#[derive(Debug, Default)]
pub(crate) struct Views {
    pub contradictions: Vec<Contradiction>,
    pub confirmed: Vec<Confirmed>,
    /// Who did not answer.
    pub silent: Vec<String>,
}

/// For all that a sink on another mount keeps of some days.
const SINK_PATIENCE: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10) };
const PUBLISHED: &str = "the published directory";

impl Views {
    /// Asks everybody who may know. `keys`: the log's, without which no witness can be asked. What one of them signed that
    /// has been retired since counts like the others'.
    pub(crate) async fn ask(
        audit: &Audit,
        keys: Option<&Keys>,
        witnesses: Option<&Witnessing>,
    ) -> anyhow::Result<Self> {
        let stored = Stored::find(store::of(audit)?).await.context("the store of the log cannot be read")?;
        let stored = stored.map_or(0, |stored| stored.size);
        let mut views = Self::default();
        if let Some(keys) = keys {
            views.published(audit, keys, stored).await?;
            for directory in &audit.sinks.directories {
                views.sink(audit, &Place::Directory(directory), keys, stored).await?;
            }
            if let Some(settings) = &audit.sinks.s3 {
                let s3 = S3::new(settings, &audit.origin).context("[audit.sinks.s3]")?;
                views.sink(audit, &Place::Bucket(Box::new(s3)), keys, stored).await?;
            }
            if let Some(witnesses) = witnesses {
                witnesses.views(audit, keys, stored, &mut views).await?;
            }
        }
        Ok(views)
    }

    /// What was kept in another place.
    async fn sink(&mut self, audit: &Audit, place: &Place<'_>, keys: &Keys, stored: u64) -> anyhow::Result<()> {
        let name = place.name();
        let by = format!("the sink `{name}`");
        let voice = Voice::of(keys);
        let mut found = kept(audit, place, voice.clone()).await;
        if let Some(Some((checkpoint, note))) = &found
            && voice.is_of_earlier_keys(note)
            && !is_signed(audit, checkpoint, stored).await?
        {
            let voice = Voice::bounded(keys, audit).await?;
            if voice.is_void(note) {
                tracing::error!(
                    sink = name,
                    size = checkpoint.size,
                    "a sink holds a checkpoint that a retired key of the log signed after it was retired: somebody else has that key; it is ignored"
                );
                found = kept(audit, place, voice).await;
            }
        }
        match found {
            None => self.silent.push(by),
            // One that is new, and empty, contradicts nobody.
            Some(None) => {
                tracing::warn!(sink = name, "a sink has kept nothing of this log: a new one, or one that was emptied");
            }
            Some(Some((checkpoint, note))) => self.compare(audit, by, (checkpoint, note), stored).await?,
        }
        Ok(())
    }

    /// The store has signed and kept what is published, before it was published.
    async fn published(&mut self, audit: &Audit, keys: &Keys, stored: u64) -> anyhow::Result<()> {
        let Ok(published) = Publication::open(&audit.publish_directory) else { return Ok(()) };
        // What is not this log's is said when the log is opened.
        let voice = Voice::of(keys);
        let Some(checkpoint) = voice.hear(published.note()) else { return Ok(()) };
        if voice.is_of_earlier_keys(published.note())
            && !is_signed(audit, &checkpoint, stored).await?
            && Voice::bounded(keys, audit).await?.is_void(published.note())
        {
            tracing::error!("what is published is signed by a key after it was retired; it is ignored");
            return Ok(());
        }
        self.compare(audit, String::from(PUBLISHED), (checkpoint, published.note().to_owned()), stored).await
    }

    async fn compare(
        &mut self,
        audit: &Audit,
        by: String,
        (checkpoint, note): (Checkpoint, String),
        stored: u64,
    ) -> anyhow::Result<()> {
        let is_here = is_signed(audit, &checkpoint, stored).await?;
        let Checkpoint { size, root, .. } = checkpoint;
        if is_here {
            self.confirmed.push(Confirmed { by, size, root, key: None });
        } else {
            self.contradictions.push(Contradiction { by, seen: size, checkpoint: Some(note), key: None, stored });
        }
        Ok(())
    }
}

/// A sink that can be read back.
enum Place<'a> {
    Directory(&'a Path),
    Bucket(Box<S3>),
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Directory(directory) => directory.display().to_string(),
            Self::Bucket(s3) => s3.name(),
        }
    }

    async fn largest(&self, origin: &str, voice: Voice) -> std::io::Result<Option<(Checkpoint, String)>> {
        match self {
            Self::Directory(directory) => {
                let (path, origin) = ((*directory).to_owned(), origin.to_owned());
                let read = move || Directory::largest(&path, &origin, &move |note| voice.hear(note));
                let read = tokio::time::timeout(SINK_PATIENCE, tokio::task::spawn_blocking(read)).await;
                let late = |_| std::io::Error::other(format!("not within {} s", SINK_PATIENCE.as_secs()));
                read.map_err(late)?.map_err(std::io::Error::other)?
            }
            Self::Bucket(s3) => s3.largest(&move |note| voice.hear(note), SINK_PATIENCE).await,
        }
    }
}

/// The largest checkpoint in this place, `Some(None)` where it has nothing of the log. A place that is missing, hangs, or cannot
/// be read to the end says nothing: it has neither agreed nor contradicted.
async fn kept(audit: &Audit, place: &Place<'_>, voice: Voice) -> Option<Option<(Checkpoint, String)>> {
    match place.largest(&audit.origin, voice).await {
        Ok(found) => Some(found),
        Err(error) => {
            let (sink, why) = (place.name(), error.to_string());
            tracing::error!(
                sink,
                why,
                "a sink of the log cannot be read to its end, so the log is not compared with it: it counts as one that was not asked"
            );
            None
        }
    }
}

/// Whether the store has signed this tree, and has all of it.
async fn is_signed(audit: &Audit, checkpoint: &Checkpoint, stored: u64) -> anyhow::Result<bool> {
    let signed = Stored::signed_root(store::of(audit)?, checkpoint.size).await;
    let signed = signed.context("the store of the log cannot be read")?;
    Ok(signed == Some(checkpoint.root) && checkpoint.size <= stored)
}

// === the mark

/// Beside the store, while the log is quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub origin: String,
    pub since: String,
    pub contradictions: Vec<Contradiction>,
}

const MARK_FILE: &str = "quarantine.json";
const LIFTED_FILE: &str = "quarantine.lifted.json";

fn mark_path(audit: &Audit) -> PathBuf {
    audit.directory.join(MARK_FILE)
}

fn write_durably(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    use std::io::Write as _;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Moves a mark that cannot be read away, to where nothing is yet. `false`: it is still there.
fn put_aside(path: &Path, why: &anyhow::Error) -> bool {
    let mut names = (1_u32..).map(|n| path.with_file_name(format!("quarantine.damaged-{n}.json")));
    let to = names.find(|name| name.symlink_metadata().is_err()).unwrap_or_default();
    let moved = std::fs::rename(path, &to);
    let (why, to) = (format!("{why:#}"), to.display());
    match &moved {
        Ok(()) => tracing::error!(why, %to, "the mark of a quarantine cannot be read; it was moved aside"),
        Err(error) => tracing::error!(why, %error, "the mark of a quarantine cannot be read, and is left where it is"),
    }
    moved.is_ok()
}

impl Mark {
    /// # Errors
    /// When there is one that cannot be read, or says nothing of this log: nobody knows then what it said.
    pub(crate) fn read(audit: &Audit) -> anyhow::Result<Option<Self>> {
        let path = mark_path(audit);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
        };
        let mark: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "`{}` is no mark of a quarantine; it was written by this program and changed by another",
                path.display()
            )
        })?;
        if mark.contradictions.is_empty() || mark.origin != audit.origin {
            bail!(
                "`{}` is a mark of a quarantine that says nothing of the log `{}`; bring the mark back that was there, or begin \
                 another log (`millgate audit incarnate`) when this one is moved away",
                path.display(),
                audit.origin
            );
        }
        Ok(Some(mark))
    }

    /// Adds what was found to what is marked already. That it cannot be written is logged: it is found again.
    pub(crate) fn add(audit: &Audit, found: &[Contradiction], now: Timestamp) -> Self {
        let path = mark_path(audit);
        // What it said is not known, and not written over: somebody has to look at it.
        let (before, is_free) = match Self::read(audit) {
            Ok(before) => (before, true),
            Err(error) => (None, put_aside(&path, &error)),
        };
        let mut mark = before.unwrap_or_else(|| Self {
            origin: audit.origin.clone(),
            since: now.to_rfc3339(),
            contradictions: Vec::new(),
        });
        let known = mark.clone();
        for one in found {
            // What was seen once is not forgotten because less is seen now.
            if !mark.contradictions.iter().any(|known| known.stands_for(one) && known.seen > one.seen) {
                mark.contradictions.retain(|known| !one.stands_for(known));
                mark.contradictions.push(one.clone());
            }
        }
        if is_free
            && (mark != known || !path.exists())
            && let Err(error) = write_durably(&path, &mark)
        {
            tracing::error!(%error, path = %path.display(), "the quarantine could not be marked beside the store");
        }
        mark
    }

    /// Everybody who contradicted has confirmed what is here, and what each of them saw is in it: the names alone would be
    /// those of whoever sees less now.
    async fn is_taken_back(&self, audit: &Audit, keys: &Keys, views: &Views) -> anyhow::Result<bool> {
        if !views.contradictions.is_empty() {
            return Ok(false);
        }
        let mut voice = Voice::of(keys);
        let notes = self.contradictions.iter().filter_map(|one| one.checkpoint.as_deref());
        if notes.into_iter().any(|note| voice.is_of_earlier_keys(note)) {
            voice = Voice::bounded(keys, audit).await?;
        }
        for one in &self.contradictions {
            // A key had signed it that was none of the log's any longer.
            if one.checkpoint.as_deref().is_some_and(|note| voice.is_void(note)) {
                continue;
            }
            if !self.is_one_taken_back(audit, one, views).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_one_taken_back(&self, audit: &Audit, one: &Contradiction, views: &Views) -> anyhow::Result<bool> {
        let seen = match &one.checkpoint {
            Some(note) => {
                let Ok(checkpoint) = Publication::parse(note) else { return Ok(false) };
                if (checkpoint.size, checkpoint.origin.as_str()) != (one.seen, self.origin.as_str()) {
                    return Ok(false);
                }
                Some(checkpoint.root)
            }
            None => None,
        };
        let by = views.confirmed.iter().find(|confirmed| confirmed.by == one.by);
        let Some(confirmed) = by.filter(|confirmed| confirmed.size >= one.seen) else { return Ok(false) };
        let (size, root) = match seen {
            Some(root) => (one.seen, root),
            // Nobody has the note. The witness itself has cosigned a tree that continues what it had, and that tree is here.
            None if one.key.is_some() && one.key == confirmed.key => (confirmed.size, confirmed.root),
            None => return Ok(false),
        };
        let here = Stored::root(store::of(audit)?, size).await.context("the store of the log cannot be read")?;
        Ok(here == Some(root))
    }

    fn lift(&self, audit: &Audit) -> anyhow::Result<()> {
        let (from, to) = (mark_path(audit), audit.directory.join(LIFTED_FILE));
        std::fs::rename(&from, to).with_context(|| format!("`{}` cannot be renamed", from.display()))?;
        tracing::warn!(
            since = self.since,
            "the copy of the log that is here now is the one that others have seen; the quarantine ends"
        );
        Ok(())
    }
}

/// What the guard says.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    /// Why the log may not be opened; empty when it may.
    pub why: Vec<Contradiction>,
    /// To be recorded as the log is opened, and then carried out.
    pub lift: Option<Lift>,
}

/// Whether the log may be opened.
///
/// # Errors
/// When it cannot be found out.
pub(crate) async fn guard(
    audit: &Audit,
    keys: &Keys,
    witnesses: Option<&Witnessing>,
    clock: &dyn Clock,
) -> anyhow::Result<Guarded> {
    let views = Views::ask(audit, Some(keys), witnesses).await?;
    let mark = Mark::read(audit)?;
    if let Some(mark) = &mark {
        if mark.is_taken_back(audit, keys, &views).await? {
            mark.lift(audit)?;
            return Ok(Guarded::default());
        }
        // Whatever is said still is not lifted.
        if views.contradictions.is_empty()
            && let Some(lift) = Lift::of(audit, mark)
        {
            return Ok(Guarded { why: Vec::new(), lift: Some(lift) });
        }
    }
    if mark.is_none() && views.contradictions.is_empty() {
        return Ok(Guarded::default());
    }
    Ok(Guarded { why: Mark::add(audit, &views.contradictions, clock.now()).contradictions, lift: None })
}

#[cfg(test)]
mod tests;
