//! What an archive says that it holds. Nobody has signed that: the rest is held against it, and it is told to whoever asked.

use super::{Check, Unusable};
use crate::findings::printable;
use crate::verdict::Point;
use model::canonical::{self, Value};
use model::entry::CommitmentClass;
use model::{OrganisationId, Timestamp};
use std::collections::BTreeSet;
use tlog::VerifierKey;

/// The second says which values it is to show, and holds the entries that say what was erased; the third is of a log of which
/// entries were pruned, and holds the entry that says so. The fourth also holds those that say which policies were in use when it
/// begins, the log's keys, and its witnesses.
pub(super) const FORMATS: [&str; 4] =
    ["millgate-archive/1", "millgate-archive/2", "millgate-archive/3", "millgate-archive/4"];

/// What the manifest asks for.
pub(super) struct Asked {
    pub from: Timestamp,
    pub to: Timestamp,
    /// When it was made, as it says.
    pub made: Option<Timestamp>,
    pub organisation: Option<OrganisationId>,
    /// Which classes of values it shows, where it says so.
    pub disclose: Vec<CommitmentClass>,
    /// Entries that are here because they say what was erased, behind the others.
    pub erasures: BTreeSet<u64>,
    /// The entry that says what is gone of the log.
    pub pruning: Option<u64>,
    /// Entries that are here because they say which policies were in use.
    pub in_use: BTreeSet<u64>,
}

impl Check<'_> {
    pub(super) fn manifest(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        let value = canonical::parse(bytes).map_err(|e| Unusable::NoArchive(format!("`manifest.json`: {e}")))?;
        let text = |name: &str| value.get(name).and_then(Value::as_text);
        let lacks = |name: &str| Unusable::NoArchive(format!("`manifest.json` has no `{name}` that can be read"));
        match text("format") {
            Some(format) if FORMATS.contains(&format) => {}
            Some(other) => {
                let known = FORMATS.join("` and `");
                let what = format!("its format is `{}`, and `{known}` are known", printable(other));
                return Err(Unusable::NoArchive(what));
            }
            None => return Err(lacks("format")),
        }
        let time = |name: &str| text(name).and_then(Timestamp::parse_rfc3339).ok_or_else(|| lacks(name));
        let organisation = match value.get("organisation") {
            None => None,
            Some(id) => {
                let id = id.as_text().and_then(|id| OrganisationId::new(id).ok());
                Some(id.ok_or_else(|| lacks("organisation"))?)
            }
        };
        let items = |name: &str| match value.get(name) {
            None => Ok(&[][..]),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(_) => Err(lacks(name)),
        };
        let disclose = items("disclose")?.iter().map(|class| CommitmentClass::parse(class.as_text()?));
        let disclose = disclose.collect::<Option<_>>().ok_or_else(|| lacks("disclose"))?;
        let indices = |name: &str| -> Result<BTreeSet<u64>, Unusable> {
            let indices = items(name)?.iter().map(|index| u64::try_from(index.as_int()?).ok());
            indices.collect::<Option<_>>().ok_or_else(|| lacks(name))
        };
        let (erasures, in_use) = (indices("erasures")?, indices("in_use")?);
        let pruning = match value.get("pruning") {
            None => None,
            Some(index) => {
                let index = index.as_int().and_then(|index| u64::try_from(index).ok());
                Some(index.ok_or_else(|| lacks("pruning"))?)
            }
        };
        let made = text("made").and_then(Timestamp::parse_rfc3339);
        let (from, to) = (time("from")?, time("to")?);
        let asked = Asked { from, to, made, organisation, disclose, erasures, pruning, in_use };
        let mut findings = self.findings.of(Point::ArchiveForm);
        if asked.from >= asked.to {
            findings.add(0..0, "asks for a time that ends before it begins");
        }
        self.report.from = asked.from.to_rfc3339();
        self.report.to = asked.to.to_rfc3339();
        self.report.organisation = asked.organisation.as_ref().map(ToString::to_string);
        let (own, origin) = (self.keys.first().map(VerifierKey::name), text("origin"));
        if origin != own {
            let (own, origin) = (own.unwrap_or_default(), printable(origin.unwrap_or_default()));
            findings.add(0..0, format!("says that it is of log `{origin}`, and the key that you gave is of `{own}`"));
        }
        if self.asked.replace(asked).is_some() {
            findings.add(0..0, "has two manifests");
        }
        Ok(())
    }
}
