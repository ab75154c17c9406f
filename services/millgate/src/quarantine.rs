//! Whether others have seen more of the log than is here, or something else: then it may not go on.
//!
//! Asked before the log is opened are its witnesses, its sinks, the directory that it is published to, and what is known from before: a
//! contradiction is marked in a file beside the store, so that it is not forgotten because a witness cannot be reached at the
//! next start. The mark goes with the copy that it is about. Only whoever contradicted can take it back, by confirming that
//! a newer copy is the history that it has seen; everything else takes a new incarnation (`millgate audit incarnate`).
//!
//! What this does **not** do: it serves nothing (`quarantined`), and it cannot know what nobody kept.

use crate::sinks::directory::Directory;
use crate::store;
use crate::witnessing::Witnessing;
use anyhow::Context as _;
use audit::{Keys, Publication, Stored};
use model::{Clock, Timestamp};
use runtime::config::Audit;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tlog::Checkpoint;

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
    /// Entries that the copy here has.
    pub stored: u64,
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
    /// Who has seen nothing but what is here.
    pub confirmed: Vec<String>,
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
                views.sink(audit, directory, keys, stored).await?;
            }
            if let Some(witnesses) = witnesses {
                witnesses.views(audit, keys, stored, &mut views).await?;
            }
        }
        Ok(views)
    }

    /// What was kept on another mount. A mount that is missing or hangs says nothing.
    async fn sink(&mut self, audit: &Audit, directory: &Path, keys: &Keys, stored: u64) -> anyhow::Result<()> {
        let by = format!("the sink `{}`", directory.display());
        let (path, origin, known) = (directory.to_owned(), audit.origin.clone(), keys.verifiers());
        let reading = tokio::task::spawn_blocking(move || Directory::largest(&path, &origin, &known));
        let found = match tokio::time::timeout(SINK_PATIENCE, reading).await {
            Ok(Ok(Ok(found))) => found,
            failed => {
                let why = match failed {
                    Ok(Ok(Err(error))) => error.to_string(),
                    _ => format!("not within {} s", SINK_PATIENCE.as_secs()),
                };
                tracing::error!(sink = %directory.display(), why, "a sink of the log cannot be read, so it is not compared");
                self.silent.push(by);
                return Ok(());
            }
        };
        // One that is new, and empty, contradicts nobody.
        let Some((Checkpoint { size, root, .. }, note)) = found else { return Ok(()) };
        let signed =
            Stored::signed_root(store::of(audit)?, size).await.context("the store of the log cannot be read")?;
        if signed == Some(root) {
            self.confirmed.push(by);
        } else {
            self.contradictions.push(Contradiction { by, seen: size, checkpoint: Some(note), stored });
        }
        Ok(())
    }

    /// The store has signed and kept what is published, before it was published.
    async fn published(&mut self, audit: &Audit, keys: &Keys, stored: u64) -> anyhow::Result<()> {
        let Ok(published) = Publication::open(&audit.publish_directory) else { return Ok(()) };
        // What is not this log's is said when the log is opened.
        let known = keys.verifiers();
        let Ok((Checkpoint { size, root, .. }, _)) = Checkpoint::open_any(published.note(), &known) else {
            return Ok(());
        };
        let signed =
            Stored::signed_root(store::of(audit)?, size).await.context("the store of the log cannot be read")?;
        if signed == Some(root) {
            self.confirmed.push(String::from(PUBLISHED));
        } else {
            let checkpoint = Some(published.note().to_owned());
            self.contradictions.push(Contradiction { by: String::from(PUBLISHED), seen: size, checkpoint, stored });
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
    /// When there is one that cannot be read: nobody knows then what it says.
    pub(crate) fn read(audit: &Audit) -> anyhow::Result<Option<Self>> {
        let path = mark_path(audit);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
        };
        let mark = serde_json::from_str(&text).with_context(|| {
            format!(
                "`{}` is no mark of a quarantine; it was written by this program and changed by another",
                path.display()
            )
        })?;
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
            mark.contradictions.retain(|known| known.by != one.by);
            mark.contradictions.push(one.clone());
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

    /// Everybody who contradicted has confirmed that the copy here is what it has seen.
    fn is_taken_back(&self, views: &Views) -> bool {
        views.contradictions.is_empty() && self.contradictions.iter().all(|one| views.confirmed.contains(&one.by))
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
        && mark.is_taken_back(&views)
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
mod tests {
    use super::*;

    fn audit(dir: &Path) -> Audit {
        Audit::new(dir.to_owned(), String::from("plant.example/log"))
    }

    fn contradiction(by: &str, seen: u64) -> Contradiction {
        Contradiction { by: by.to_owned(), seen, checkpoint: None, stored: 5 }
    }

    #[test]
    fn a_mark_stays_until_each_who_contradicted_confirms() {
        let dir = tempfile::tempdir().unwrap();
        let audit = audit(dir.path());
        Mark::add(&audit, &[contradiction("the witness `w1`", 9)], Timestamp(0));
        Mark::add(&audit, &[contradiction("the witness `w2`", 7)], Timestamp(60_000));
        let mark = Mark::read(&audit).unwrap().unwrap();
        assert_eq!((mark.since.as_str(), mark.contradictions.len()), ("1970-01-01T00:00:00.000Z", 2));
        let confirmed = |names: &[&str]| Views {
            confirmed: names.iter().map(|name| format!("the witness `{name}`")).collect(),
            ..Views::default()
        };
        assert!(!mark.is_taken_back(&confirmed(&[])), "silence is no confirmation");
        assert!(!mark.is_taken_back(&confirmed(&["w1", "w3"])), "nor is another's");
        let still = Views { contradictions: vec![contradiction("x", 1)], ..confirmed(&["w1", "w2"]) };
        assert!(!mark.is_taken_back(&still));
        assert!(mark.is_taken_back(&confirmed(&["w1", "w2"])));
        mark.lift(&audit).unwrap();
        assert_eq!(Mark::read(&audit).unwrap(), None);
    }

    #[test]
    fn a_mark_that_somebody_emptied_is_no_permission() {
        let dir = tempfile::tempdir().unwrap();
        let audit = audit(dir.path());
        std::fs::write(mark_path(&audit), "").unwrap();
        assert!(Mark::read(&audit).unwrap_err().to_string().contains("changed by another"));
    }
}
