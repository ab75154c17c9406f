//! Whether others have seen more of the log than is here, or something else: then it may not go on.
//!
//! Asked before the log is opened are its witnesses, its sinks, the directory that it is published to, and what is known from before: a
//! contradiction is marked in a file beside the store, so that it is not forgotten because a witness cannot be reached at the
//! next start. The mark goes with the copy that it is about. Only whoever contradicted can take it back, by confirming a copy
//! that holds what it has seen, which is hashed here; everything else takes a new incarnation (`millgate audit incarnate`).
//!
//! What this does **not** do: it serves nothing (`quarantined`), and it cannot know what nobody kept.

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
const SINK_PATIENCE: Duration = Duration::from_secs(10);
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
                let (path, origin, known) = (directory.clone(), audit.origin.clone(), keys.known().verifiers());
                let reading = tokio::task::spawn_blocking(move || Directory::largest(&path, &origin, &known));
                let found = async { reading.await.unwrap_or_else(|_| Err(std::io::Error::other("not read"))) };
                views.sink(audit, &directory.display().to_string(), found, stored).await?;
            }
            if let Some(settings) = &audit.sinks.s3 {
                let (s3, known) =
                    (S3::new(settings, &audit.origin).context("[audit.sinks.s3]")?, keys.known().verifiers());
                views.sink(audit, &s3.name(), s3.largest(&known), stored).await?;
            }
            if let Some(witnesses) = witnesses {
                witnesses.views(audit, keys, stored, &mut views).await?;
            }
        }
        Ok(views)
    }

    /// What was kept in another place. A place that is missing or hangs says nothing.
    async fn sink(
        &mut self,
        audit: &Audit,
        name: &str,
        reading: impl Future<Output = std::io::Result<Option<(Checkpoint, String)>>>,
        stored: u64,
    ) -> anyhow::Result<()> {
        let by = format!("the sink `{name}`");
        let found = match tokio::time::timeout(SINK_PATIENCE, reading).await {
            Ok(Ok(found)) => found,
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("not within {} s", SINK_PATIENCE.as_secs()),
                };
                tracing::error!(sink = name, why, "a sink of the log cannot be read, so it is not compared");
                self.silent.push(by);
                return Ok(());
            }
        };
        // One that is new, and empty, contradicts nobody.
        let Some((Checkpoint { size, root, .. }, note)) = found else {
            tracing::warn!(sink = name, "a sink has kept nothing of this log: a new one, or one that was emptied");
            return Ok(());
        };
        let signed =
            Stored::signed_root(store::of(audit)?, size).await.context("the store of the log cannot be read")?;
        if signed == Some(root) && size <= stored {
            self.confirmed.push(Confirmed { by, size, root, key: None });
        } else {
            self.contradictions.push(Contradiction { by, seen: size, checkpoint: Some(note), key: None, stored });
        }
        Ok(())
    }

    /// The store has signed and kept what is published, before it was published.
    async fn published(&mut self, audit: &Audit, keys: &Keys, stored: u64) -> anyhow::Result<()> {
        let Ok(published) = Publication::open(&audit.publish_directory) else { return Ok(()) };
        // What is not this log's is said when the log is opened.
        let known = keys.known().verifiers();
        let Ok((Checkpoint { size, root, .. }, _)) = Checkpoint::open_any(published.note(), &known) else {
            return Ok(());
        };
        let signed =
            Stored::signed_root(store::of(audit)?, size).await.context("the store of the log cannot be read")?;
        if signed == Some(root) && size <= stored {
            self.confirmed.push(Confirmed { by: String::from(PUBLISHED), size, root, key: None });
        } else {
            let (by, checkpoint) = (String::from(PUBLISHED), Some(published.note().to_owned()));
            self.contradictions.push(Contradiction { by, seen: size, checkpoint, key: None, stored });
        }
        Ok(())
    }
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
        let before = Self::read(audit).ok().flatten();
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
        let path = mark_path(audit);
        if (mark != known || !path.exists())
            && let Err(error) = mark.write(&path)
        {
            tracing::error!(%error, path = %path.display(), "the quarantine could not be marked beside the store");
        }
        mark
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    }

    /// Everybody who contradicted has confirmed what is here, and what each of them saw is in it: the names alone would be
    /// those of whoever sees less now.
    async fn is_taken_back(&self, audit: &Audit, views: &Views) -> anyhow::Result<bool> {
        if !views.contradictions.is_empty() {
            return Ok(false);
        }
        for one in &self.contradictions {
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

/// Why the log may not be opened; empty when it may.
///
/// # Errors
/// When it cannot be found out.
pub(crate) async fn guard(
    audit: &Audit,
    keys: &Keys,
    witnesses: Option<&Witnessing>,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<Contradiction>> {
    let views = Views::ask(audit, Some(keys), witnesses).await?;
    let mark = Mark::read(audit)?;
    if let Some(mark) = &mark
        && mark.is_taken_back(audit, &views).await?
    {
        mark.lift(audit)?;
        return Ok(Vec::new());
    }
    if mark.is_none() && views.contradictions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(Mark::add(audit, &views.contradictions, clock.now()).contradictions)
}

#[cfg(test)]
mod tests;
