//! One rebuilt world, and what has been decided in it.

use super::inputs::Records;
use super::outcome::{Change, Outcome};
use super::question::{Cast, Question, purpose, roles};
use super::rebuild::{self, Beside, Named};
use super::recent::Recent;
use super::{Known, Trouble, finding, not_replayable};
use crate::decision::Decision;
use crate::moments::Moments;
use crate::snapshot::Snapshot;
use crate::{Finding, PolicySet};
use model::canonical::{self, Value};
use model::entry::{Content, Entry, Outline};
use model::{AccessRequest, Digest, Timestamp};
use std::sync::Arc;

/// The policies of the time, and those that they are compared with.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    before: Arc<PolicySet>,
    after: Option<Arc<PolicySet>>,
    /// Persons are more to them than members of organisations.
    pub name_persons: bool,
    named: Named,
    /// Whether those that are compared name the same organisations and export classes, or at least no others.
    names_are_same: bool,
    names_are_known: bool,
}

impl Sets {
    /// The outer error is of one entry, the inner one of the set.
    pub(super) fn load(
        (policies, schema): (Digest, Digest),
        known: &Known,
        after: Option<&Arc<PolicySet>>,
    ) -> Result<Result<Self, String>, Trouble> {
        let (texts, schema) = (stored(policies, "policies", known)?, stored(schema, "schema", known)?);
        let before = match parse(&texts, &schema) {
            Ok(set) => Arc::new(set),
            Err(why) => return Ok(Err(format!("policies {}: {why}", policies.to_hex()))),
        };
        let name_persons = [Some(&before), after].into_iter().flatten().any(|set| names_persons(set));
        let named = named_in(&before);
        let then = after.map_or_else(|| named.clone(), |set| named_in(set));
        let names_are_known =
            then.organisations.is_subset(&named.organisations) && then.export_classes.is_subset(&named.export_classes);
        let names_are_same = then == named;
        Ok(Ok(Self { before, after: after.cloned(), name_persons, named, names_are_same, names_are_known }))
    }
}

/// Bytes that are what their digest says.
fn stored(digest: Digest, what: &str, known: &Known) -> Result<Arc<[u8]>, Trouble> {
    let bytes = known.contents.get(&digest);
    let bytes =
        bytes.ok_or_else(|| finding(format!("the {what} of digest {} are not in the store", digest.to_hex())))?;
    if Digest::of(bytes) != digest {
        return Err(finding(format!("the {what} in the store under {} are not of this digest", digest.to_hex())));
    }
    Ok(bytes.clone())
}

fn parse(texts: &[u8], schema: &[u8]) -> Result<PolicySet, String> {
    let Ok(Value::Object(files)) = canonical::parse(texts) else { return Err(String::from("no set of files")) };
    let files: Vec<(String, String)> =
        files.into_iter().filter_map(|(name, text)| Some((name, text.as_text()?.to_owned()))).collect();
    let schema = std::str::from_utf8(schema).map_err(|_| String::from("the schema is no text"))?;
    PolicySet::load_recorded(("schema", schema), &files).map_err(|findings| {
        let first = findings.first().map(ToString::to_string).unwrap_or_default();
        format!("this version refuses them: {first}")
    })
}

fn names_persons(set: &PolicySet) -> bool {
    let types = [&set.names.types.user, &set.names.types.service];
    let mut literals = set.all.policies().flat_map(cedar_policy::Policy::entity_literals);
    literals.any(|uid| types.contains(&uid.type_name()))
}

fn named_in(set: &PolicySet) -> Named {
    let types = &set.names.types;
    Named { organisations: set.named(&types.organisation), export_classes: set.named(&types.export_class) }
}

/// A stored slice, as it is and without persons.
#[derive(Debug)]
pub(super) struct Slice {
    pub recorded: Content,
    /// `p0`, `p1`, … in the place of references, in the order in which they take part.
    pub anonymous: Content,
}

impl Slice {
    pub(super) fn find(question: &Question<'_>, known: &Known) -> Result<Self, Trouble> {
        let bytes = stored(question.slice, "entities", known)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| finding("the slice is no text"))?;
        let anonymous = without_persons(text, &question.stand_ins().collect::<Vec<_>>());
        let anonymous = Content { digest: Digest::of(anonymous.as_bytes()), bytes: anonymous.into_bytes().into() };
        Ok(Self { recorded: Content { digest: question.slice, bytes }, anonymous })
    }
}

/// With what stands for them in the place of the ids that are references.
fn without_persons(slice: &str, stand_ins: &[(&str, String)]) -> String {
    const ID: &str = "{\"id\":\"";
    let mut out = String::with_capacity(slice.len());
    let mut parts = slice.split(ID);
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(ID);
        let id = part.split_once("\",").map(|(id, _)| id);
        let found = stand_ins.iter().find(|(reference, _)| Some(*reference) == id);
        match (found, id) {
            (Some((_, stands)), Some(id)) => {
                out.push_str(stands);
                out.push_str(part.get(id.len()..).unwrap_or_default());
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scene {
    before: World,
    after: Option<World>,
    cast: Cast,
    slice: Arc<[u8]>,
    verdicts: Recent<Box<[u8]>, Arc<Verdict>>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Verdict {
    /// From what is recorded.
    pub differences: Vec<String>,
    pub change: Option<Change>,
}

/// Verdicts of a scene that are remembered: windows and rows are the caller's to choose.
const VERDICTS_MAX: usize = 512;

#[derive(Debug)]
struct World {
    snapshot: Snapshot,
    /// `None` where any moment may matter.
    moments: Option<Moments>,
}

impl World {
    fn new(set: &Arc<PolicySet>, slice: &[u8], beside: &Beside<'_>) -> Result<Self, Trouble> {
        let (plant, parties) = rebuild::rebuild(slice, beside).map_err(finding)?;
        let moments = Moments::of(&set.uses_of_time, parties.agreements.values());
        let snapshot = Snapshot::partial(set.clone(), Arc::new(plant), Arc::new(parties));
        let snapshot = snapshot.map_err(|findings| finding(unfit(&findings)))?;
        Ok(Self { snapshot, moments })
    }

    /// Times with the same number are the same to its policies.
    fn interval(&self, at: Timestamp) -> i64 {
        let interval = self.moments.as_ref().map(|moments| moments.interval(at));
        interval.map_or(at.millis(), |n| i64::try_from(n).unwrap_or(i64::MAX))
    }

    fn decide(&self, request: AccessRequest, cast: &Cast) -> Decision {
        let references: Vec<&str> = cast.iter().map(|(stands, _)| stands.as_str()).collect();
        self.snapshot.decide_anew(request, &references)
    }
}

fn unfit(findings: &[Finding]) -> String {
    let first = findings.first().map(ToString::to_string).unwrap_or_default();
    format!("the slice does not fit the schema: {first}")
}

impl Scene {
    pub(super) fn new(
        sets: &Sets,
        entry: &Outline<'_>,
        question: &Question<'_>,
        cast: Cast,
        slice: Arc<[u8]>,
    ) -> Result<Self, Trouble> {
        let damaged = || finding("roles or purpose are not as they are written");
        let entry = &whole(entry)?;
        let (roles, purpose) = (roles(entry).ok_or_else(damaged)?, purpose(entry).ok_or_else(damaged)?);
        let data = question.inputs.data;
        let kinds_are_recorded = match data.map(|described| described.records) {
            Some(Records::Alike { .. }) => sets.names_are_known,
            Some(Records::TooMany) => sets.names_are_same,
            _ => true,
        };
        if sets.after.is_some() && !kinds_are_recorded {
            return Err(not_replayable(
                "the candidate names organisations or export classes of records that were not told apart then",
            ));
        }
        let product = question.inputs.product;
        let beside =
            Beside { people: &cast, roles: &roles, purpose: purpose.as_ref(), data, product, named: &sets.named };
        let before = World::new(&sets.before, &slice, &beside)?;
        let after = sets.after.as_ref().map(|set| World::new(set, &slice, &beside)).transpose();
        // What was recorded fits its own schema; another one may ask for what was not recorded.
        let after = after.map_err(|trouble| match trouble {
            Trouble::Finding(why) => not_replayable(format!("under the candidate's schema: {why}")),
            other => other,
        })?;
        Ok(Self { before, after, cast, slice, verdicts: Recent::new(VERDICTS_MAX) })
    }

    /// The verdict on an entry, and whether it had to be found anew.
    pub(super) fn verdict(
        &mut self,
        entry: &Outline<'_>,
        question: &Question<'_>,
    ) -> Result<(Arc<Verdict>, bool), Trouble> {
        let mut key = question.verdict_key(entry, &self.cast);
        let after = self.after.as_ref().map_or(0, |world| world.interval(question.at));
        key.extend_from_slice(&self.before.interval(question.at).to_be_bytes());
        key.extend_from_slice(&after.to_be_bytes());
        let mut fresh = false;
        let Self { before, after, cast, slice, verdicts } = self;
        let verdict = verdicts.get_or_make(key.into(), || {
            fresh = true;
            judge(before, after.as_ref(), cast, slice, entry, question).map(Arc::new)
        })?;
        Ok((verdict.clone(), fresh))
    }
}

fn whole(entry: &Outline<'_>) -> Result<Entry, Trouble> {
    entry.entry().map_err(|error| finding(format!("the entry is damaged: {error}")))
}

fn judge(
    before: &World,
    after: Option<&World>,
    cast: &Cast,
    slice: &[u8],
    entry: &Outline<'_>,
    question: &Question<'_>,
) -> Result<Verdict, Trouble> {
    let entry = &whole(entry)?;
    let request = question.request(entry, cast, &before.snapshot.parties)?;
    let decision = before.decide(request.clone(), cast);
    let recorded_again = match &decision {
        Decision::Permit(permit) => permit.slice(),
        Decision::Denied(denial) => &denial.slice,
    };
    if *recorded_again.bytes != *slice {
        return Err(finding("the plant rebuilt from the slice is not the recorded one"));
    }
    let outcome = Outcome::of(&decision);
    let after = after.map(|world| Outcome::of(&world.decide(request, cast)));
    Ok(Verdict {
        differences: outcome.differences(entry),
        change: after.and_then(|after| Change::between(&outcome, &after)),
    })
}
