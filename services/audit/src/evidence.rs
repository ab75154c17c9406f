//! Evidence that somebody takes away: the proof of one entry, with the entry and what is shown of its commitments.

use crate::append::Log;
use crate::error::ReadError;
use crate::prune::Pruned;
use crate::published::Publication;
use crate::query::{Query, offline};
use model::canonical::{self, Value};
use model::entry::{CommitmentClass, Entry, Kind};
use model::pruning::WIDTH;
use model::{OrganisationId, RequestId};
use std::path::Path;
use tlog::{Evidence, Hash, hashes_from_bytes, leaf_hash};

/// Why there is no evidence of an entry.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("the log has no such entry")]
    Unknown,
    /// The next checkpoint will cover it.
    #[error(
        "entry {index} is not under a published checkpoint yet, which has {published} entries; try again in a second"
    )]
    NotPublished { index: u64, published: u64 },
    #[error("the values behind entry {index} are not there: {why}")]
    NotDisclosed { index: u64, why: String },
    /// The entry is not kept any longer, as another one says.
    #[error("entry {index} is not kept any longer: {pruned}")]
    Pruned { index: u64, pruned: Pruned },
    /// There is none of the request, and those of its time are not kept any longer.
    #[error("no entry of this request is there, and those of its time are not kept any longer: {0}")]
    PerhapsPruned(Pruned),
    #[error(transparent)]
    Read(ReadError),
}

impl From<ReadError> for EvidenceError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Pruned { index, pruned } => Self::Pruned { index, pruned },
            error => Self::Read(error),
        }
    }
}

/// Which entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Index(u64),
    /// The first of this request, and of this kind if one is named.
    Request {
        id: RequestId,
        kind: Option<Kind>,
    },
}

impl Which {
    /// A request's id says when it came: what it made in the log is not earlier, but for the clock, and all but its outcome
    /// not much later. So whoever makes up an id has nobody look through the log.
    fn query(id: RequestId, kind: Option<Kind>) -> Option<Query> {
        let came = id.time()?;
        let to = (kind != Some(Kind::Outcome)).then(|| came.plus_millis(RECORDED_MS));
        let (request, from) = (Some(id.to_string()), Some(came.plus_millis(-CLOCK_MS)));
        Some(Query { request, kind, from, to, newest_first: false, limit: 1, ..Query::default() })
    }

    /// Nothing was found by that query in a log of which this is gone.
    fn not_found(query: &Query, pruned: Option<Pruned>) -> EvidenceError {
        let may_be = pruned.filter(|pruned| query.from.is_some_and(|from| from < pruned.before));
        may_be.map_or(EvidenceError::Unknown, EvidenceError::PerhapsPruned)
    }
}

const CLOCK_MS: i64 = 60_000;
/// From the arrival of a request to its last entry but the outcome. What comes before the decision waits for seconds, and what
/// shadow policies say of it comes a while later.
const RECORDED_MS: i64 = 600_000;

/// The proof of an entry, and the entry in it. Blocking.
///
/// # Errors
/// When there is no such entry, or a file is missing or is not what its name says.
pub fn of_published(dir: &Path, which: &Which) -> Result<Evidence, EvidenceError> {
    let index = match which {
        Which::Index(index) => *index,
        Which::Request { id, kind } => {
            let mut query = Which::query(*id, *kind).ok_or(EvidenceError::Unknown)?;
            loop {
                let page = offline(dir, &query)?;
                if let Some(found) = page.entries.first() {
                    break found.index;
                }
                let gone = Publication::open(dir)?.pruned();
                query.after = Some(page.next.ok_or_else(|| Which::not_found(&query, gone))?);
            }
        }
    };
    let mut published = Publication::open(dir)?;
    prove(&mut published, index, Shows::Entry)
}

/// The proof that the entry at this index has this hash, without the entry, which may have been pruned. Blocking.
///
/// # Errors
/// [`EvidenceError::Unknown`] when the entry has another hash; when a file is missing or is not what its name says.
pub fn redeemed(dir: &Path, index: u64, leaf: Hash) -> Result<Evidence, EvidenceError> {
    let mut published = Publication::open(dir)?;
    let evidence = prove(&mut published, index, Shows::Hashes)?;
    if published.subtree(0, index)? == leaf { Ok(evidence) } else { Err(EvidenceError::Unknown) }
}

/// What a proof holds beside the hashes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Entry,
    Hashes,
}

fn prove(published: &mut Publication, index: u64, shows: Shows) -> Result<Evidence, EvidenceError> {
    if index >= published.size() {
        return Err(EvidenceError::NotPublished { index, published: published.size() });
    }
    let extra = if shows == Shows::Entry { Some(published.entry(index)?) } else { None };
    Ok(Evidence { extra, ..published.prove(index)? })
}

impl Log {
    /// The proof of an entry from the directory that this log is published to, with the entry in it, and the values behind
    /// its commitments of these classes.
    ///
    /// # Errors
    /// As [`of_published`], and when values are asked for that are not there.
    pub async fn evidence(
        &self,
        published: &Path,
        index: u64,
        disclose: &[CommitmentClass],
    ) -> Result<Evidence, EvidenceError> {
        // Its file may be there for a moment longer.
        if let Some(pruned) = self.pruned().filter(|pruned| index < pruned.below)
            && self.entry(index).await?.is_none()
        {
            return Err(EvidenceError::Pruned { index, pruned });
        }
        let mut evidence = prove_published(published, index, Shows::Entry).await?;
        if !disclose.is_empty() {
            let values = self.disclosure(index).await?;
            let chosen = values.and_then(|values| chosen(&values, disclose));
            let chosen = match chosen {
                Some(chosen) => chosen,
                None => return Err(EvidenceError::NotDisclosed { index, why: self.why_not(index, disclose).await? }),
            };
            let extra = evidence.extra.get_or_insert_default();
            extra.push(b'\n');
            extra.extend_from_slice(&chosen);
        }
        Ok(evidence)
    }

    /// Why values of these classes are not there, in words.
    async fn why_not(&self, index: u64, classes: &[CommitmentClass]) -> Result<String, ReadError> {
        let stored = self.disclosure(index).await?.and_then(|values| canonical::parse(values.as_bytes()).ok());
        let is_gone =
            |class: &CommitmentClass| stored.as_ref().is_none_or(|values| values.get(class.as_str()).is_none());
        for class in classes.iter().copied().filter(is_gone) {
            if let Some(under) = self.erased_under(index, class).await? {
                return Ok(format!("`{}` was erased under entry {under}", class.as_str()));
            }
        }
        Ok(String::from("it has none of some class"))
    }

    /// The index of the entry in question, among those of the organisation if one is named.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub async fn which(&self, which: &Which, organisation: Option<&OrganisationId>) -> Result<u64, EvidenceError> {
        let (id, kind) = match which {
            Which::Index(index) if *index < self.size() => return Ok(*index),
            Which::Index(_) => return Err(EvidenceError::Unknown),
            Which::Request { id, kind } => (*id, *kind),
        };
        let mut query = Which::query(id, kind).ok_or(EvidenceError::Unknown)?;
        query.organisation = organisation.cloned();
        let asked = query.clone();
        if kind == Some(Kind::Outcome) {
            // It may be a day away, so there has to be one.
            let decision = self.decision_ended(&query).await?;
            query.after = Some(decision);
        }
        self.first(query).await?.ok_or_else(|| Which::not_found(&asked, self.pruned()))
    }

    /// The decision of the request whose outcome `outcome` looks for, which there is.
    async fn decision_ended(&self, outcome: &Query) -> Result<u64, EvidenceError> {
        let to = outcome.from.map(|from| from.plus_millis(CLOCK_MS + RECORDED_MS));
        for kind in [Kind::Decision, Kind::AuditRead] {
            let query = Query { kind: Some(kind), to, ..outcome.clone() };
            let Some(decision) = self.first(query).await? else { continue };
            let entry = self.entry(decision).await?.and_then(|entry| Entry::parse(&entry).ok());
            let is_allowed = entry.is_some_and(|entry| entry.text("decision") == Some("allow"));
            let head = self.inner.reader.head().await.map_err(ReadError::from)?;
            if is_allowed && !head.open.contains(decision) {
                return Ok(decision);
            }
        }
        Err(Which::not_found(outcome, self.pruned()))
    }

    /// The first entry that the query finds, however many pages that takes.
    async fn first(&self, mut query: Query) -> Result<Option<u64>, ReadError> {
        loop {
            let page = self.query(&query).await?;
            if let Some(found) = page.entries.first() {
                return Ok(Some(found.index));
            }
            let Some(next) = page.next else { return Ok(None) };
            query.after = Some(next);
        }
    }

    /// The proof of an entry for whoever knows its hash, which the entry's nonce keeps from being guessed. Without the entry,
    /// which need not be kept any longer.
    ///
    /// # Errors
    /// [`EvidenceError::Unknown`] when the entry is another one.
    pub async fn redeem(&self, published: &Path, index: u64, leaf: Hash) -> Result<Evidence, EvidenceError> {
        let found = match self.entry(index).await? {
            Some(entry) => Some(leaf_hash(&entry)),
            None => self.pruned_leaf(index).await?,
        };
        if found != Some(leaf) {
            return Err(EvidenceError::Unknown);
        }
        prove_published(published, index, Shows::Hashes).await
    }

    /// Why there is no entry at this index.
    pub fn not_there(&self, index: u64) -> EvidenceError {
        let pruned = self.pruned().filter(|pruned| index < pruned.below);
        pruned.map_or(EvidenceError::Unknown, |pruned| EvidenceError::Pruned { index, pruned })
    }

    /// The hash of an entry that is not kept any longer.
    async fn pruned_leaf(&self, index: u64) -> Result<Option<Hash>, ReadError> {
        let number = index / WIDTH;
        let rows = self.inner.reader.leaves(number, 1).await?;
        let tile = rows.into_iter().find(|(of, _)| *of == number).and_then(|(_, hashes)| hashes_from_bytes(&hashes));
        let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
        Ok(tile.and_then(|hashes| hashes.get(at).copied()))
    }
}

async fn prove_published(published: &Path, index: u64, shows: Shows) -> Result<Evidence, EvidenceError> {
    let dir = published.to_owned();
    let made = tokio::task::spawn_blocking(move || match Publication::open(&dir) {
        // The first checkpoint is signed and kept before it is a file.
        Err(ReadError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(EvidenceError::NotPublished { index, published: 0 })
        }
        published => prove(&mut published?, index, shows),
    });
    made.await.map_err(|_| ReadError::Closed)?
}

/// Of `{"network":{…},"subject":{…}}`, these classes; `None` where one is not there.
fn chosen(values: &str, classes: &[CommitmentClass]) -> Option<Vec<u8>> {
    let Value::Object(values) = canonical::parse(values.as_bytes()).ok()? else { return None };
    let of = |class: &CommitmentClass| Some((class.as_str(), values.get(class.as_str())?.clone()));
    let chosen = classes.iter().map(of).collect::<Option<Vec<_>>>()?;
    Some(Value::object(chosen).encode())
}
