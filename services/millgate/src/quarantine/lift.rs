//! An operator's word against words that nobody signed.
//!
//! That a witness has more of the log, or another one, it says without a signature: a number in an answer. Somebody on the way
//! can say it in its name, or a witness that was set up wrongly, and only it can take that back. So the operator can, in the
//! log: the word waits beside the mark until the next start has written it down as an entry, and is good for that very mark.
//!
//! What this does **not** do: it lifts nothing that the log's own key has signed, and nothing that is said still.

use super::{Contradiction, LIFTED_FILE, Mark, mark_path, write_durably};
use anyhow::{Context as _, bail};
use audit::Lifted;
use audit::incarnation::Seen;
use model::Timestamp;
use runtime::config::Audit;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const LIFT_FILE: &str = "quarantine.lift.json";

/// Beside the mark that it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lift {
    at: String,
    reason: String,
    mark: Mark,
}

fn path(audit: &Audit) -> PathBuf {
    audit.directory.join(LIFT_FILE)
}

impl Mark {
    /// Those of its contradictions that the log's own key has signed.
    pub(crate) fn signed(&self) -> impl Iterator<Item = &Contradiction> {
        self.contradictions.iter().filter(|one| one.checkpoint.is_some())
    }
}

impl Lift {
    /// Puts the word down.
    ///
    /// # Errors
    /// When a part of the mark is signed, or the file cannot be written.
    pub(crate) fn put(audit: &Audit, mark: Mark, reason: &str, now: Timestamp) -> anyhow::Result<Self> {
        if let Some(signed) = mark.signed().next() {
            bail!("{signed}, by a note that the log's own key signed: that is evidence, and no word takes it back");
        }
        let lift = Self { at: now.to_rfc3339(), reason: reason.to_owned(), mark };
        let path = path(audit);
        write_durably(&path, &lift).with_context(|| format!("`{}` cannot be written", path.display()))?;
        Ok(lift)
    }

    /// The word that is there for this very mark. What cannot be read is said, and ends nothing.
    pub(crate) fn of(audit: &Audit, mark: &Mark) -> Option<Self> {
        let path = path(audit);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot be read, so the quarantine does not end");
                return None;
            }
        };
        let lift: Option<Self> = serde_json::from_slice(&text).ok();
        if lift.is_none() {
            tracing::error!(path = %path.display(), "is damaged, so the quarantine does not end; give the command again");
        }
        lift.filter(|lift| lift.mark == *mark && mark.signed().next().is_none())
    }

    /// For the log.
    pub(crate) fn entry(&self) -> Lifted {
        let seen = |one: &Contradiction| Seen { by: one.by.clone(), size: one.seen, checkpoint: None };
        Lifted {
            since: self.mark.since.clone(),
            at: self.at.clone(),
            reason: self.reason.clone(),
            seen: self.mark.contradictions.iter().map(seen).collect(),
        }
    }

    /// Once the entry is durable. The mark goes first: what is left of the word after that is of no mark that will ever be.
    pub(crate) fn carry_out(&self, audit: &Audit) -> anyhow::Result<()> {
        let (mark, lifted) = (mark_path(audit), audit.directory.join(LIFTED_FILE));
        std::fs::rename(&mark, &lifted).with_context(|| format!("`{}` cannot be renamed", mark.display()))?;
        let path = path(audit);
        std::fs::remove_file(&path).with_context(|| format!("`{}` cannot be removed", path.display()))?;
        tracing::warn!(
            reason = self.reason,
            since = self.mark.since,
            "an operator has ended the quarantine of the log"
        );
        Ok(())
    }
}
