//! Recorded decisions, decided again from what the log holds.
//!
//! An entry of format 1.3 or later names everything that its decision was made from: the request and `inputs` in the entry, the
//! entities in a slice, policies and schema by their digests. From these the plant and the registry are rebuilt as far as
//! the decision could see them, and asked with the same code ([`Snapshot::decide`](crate::Snapshot::decide)); there is no
//! second way to decide. The slice that is recorded over the rebuilt ones must be the recorded slice, byte for byte.
//!
//! References stand for persons throughout: equal questions of different persons are one question, decided once. Only
//! where a policy names persons are their names looked up, and whoever was erased from the directory then cannot be
//! decided for again.
//!
//! What this does **not** do: it reads no log and judges no signature; who calls it has checked what it passes in.

mod inputs;
mod outcome;
mod question;
mod rebuild;
mod recent;
mod scene;
mod tally;

pub use inputs::Inputs;
pub use outcome::{Change, Direction, Outcome};
pub use tally::{Example, Finding, Group, Tally};

use crate::PolicySet;
use model::Digest;
use model::entry::{Kind, Outline};
use question::Question;
use recent::Recent;
use scene::{Scene, Sets, Slice};
use std::collections::HashMap;
use std::sync::Arc;

/// What entries name, as far as it has been found.
#[derive(Debug, Default)]
pub struct Known {
    /// Policies, schemas and slices, as they are stored.
    pub contents: HashMap<Digest, Arc<[u8]>>,
    /// `organisation/subject` by reference.
    pub principals: HashMap<String, String>,
    /// References that stand for nobody any longer, with the entry that says that they were erased.
    pub erased: HashMap<String, u64>,
}

/// Decides again, one entry after the other. Memory is bounded, however many there are.
#[derive(Debug)]
pub struct Replay {
    candidate: Option<Arc<PolicySet>>,
    /// By the digests of policies and schema.
    sets: HashMap<(Digest, Digest), Result<Sets, String>>,
    /// By the digests that entries have.
    slices: Recent<Digest, Slice>,
    /// What was looked at, each with the answers that were found in it.
    scenes: Recent<Box<[u8]>, Scene>,
    tally: Tally,
}

/// Sets of policies that are held at a time. A log of years has a few hundred.
const SETS_MAX: usize = 64;
/// A rebuilt world is some 30 KiB.
const SCENES_MAX: usize = 2_048;
/// A few KiB each. Every principal has slices of its own.
const SLICES_MAX: usize = 16_384;

/// Why an entry could not be replayed, in words for its reader.
#[derive(Clone, Debug)]
enum Trouble {
    /// It cannot be known any longer, or never could.
    NotReplayable(String),
    /// Something is not as it was recorded.
    Finding(String),
}

fn finding(what: impl Into<String>) -> Trouble {
    Trouble::Finding(what.into())
}

fn not_replayable(why: impl Into<String>) -> Trouble {
    Trouble::NotReplayable(why.into())
}

impl Replay {
    /// Compares with what `candidate` would have decided, if there is one.
    pub fn new(candidate: Option<Arc<PolicySet>>) -> Self {
        Self {
            candidate,
            sets: HashMap::new(),
            slices: Recent::new(SLICES_MAX),
            scenes: Recent::new(SCENES_MAX),
            tally: Tally::default(),
        }
    }

    /// Looks at one entry. Whatever is no decision is passed over.
    pub fn look(&mut self, index: u64, bytes: &[u8], known: &Known) {
        let entry = match Outline::read(bytes) {
            Ok(entry) if matches!(entry.kind, Kind::Decision | Kind::AuditRead) => entry,
            Ok(_) => return,
            Err(error) => {
                self.tally.looked_at += 1;
                self.tally.finding(index, "", vec![format!("the entry is damaged: {error}")]);
                return;
            }
        };
        self.tally.looked_at += 1;
        if let Err(trouble) = self.replay(index, &entry, known) {
            match trouble {
                Trouble::NotReplayable(why) => self.tally.not_replayable(index, why),
                Trouble::Finding(what) => {
                    self.tally.finding(index, &entry.text("request").unwrap_or_default(), vec![what]);
                }
            }
        }
    }

    pub fn finish(self) -> Tally {
        self.tally
    }

    fn replay(&mut self, index: u64, entry: &Outline<'_>, known: &Known) -> Result<(), Trouble> {
        let Some(question) = Question::read(entry)? else {
            self.tally.not_asked += 1;
            return Ok(());
        };
        let scene = self.scene(entry, &question, known)?;
        let (verdict, fresh) = scene.verdict(entry, &question)?;
        self.tally.replayed += 1;
        self.tally.decided += u64::from(fresh);
        if !verdict.differences.is_empty() {
            self.tally.finding(index, &entry.text("request").unwrap_or_default(), verdict.differences.clone());
        }
        if let Some(change) = &verdict.change {
            self.tally.change(index, entry, change);
        }
        Ok(())
    }

    fn scene(&mut self, entry: &Outline<'_>, question: &Question<'_>, known: &Known) -> Result<&mut Scene, Trouble> {
        let key = (question.policies, question.schema);
        if !self.sets.contains_key(&key) {
            if self.sets.len() >= SETS_MAX {
                self.sets.clear();
            }
            let loaded = Sets::load(key, known, self.candidate.as_ref())?;
            self.sets.insert(key, loaded);
        }
        let sets = match self.sets.get(&key) {
            Some(Ok(sets)) => sets,
            Some(Err(why)) => return Err(not_replayable(why.clone())),
            None => return Err(not_replayable("the policies are not there")),
        };
        let cast = question.cast(sets.name_persons, entry, known)?;
        let slice = self.slices.get_or_make(question.slice, || Slice::find(question, known))?;
        let slice = if sets.name_persons { &slice.recorded } else { &slice.anonymous };
        let key = question.scene_key(entry, &cast, &slice.digest);
        self.scenes.get_or_make(key, || Scene::new(sets, entry, question, cast, slice.bytes.clone()))
    }
}
