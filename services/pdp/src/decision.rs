//! Answers. A [`Permit`] is made by [`crate::Snapshot::decide`] and nowhere else: whoever holds one has been decided for.

use crate::replay::Inputs;
use model::entry::Content;
use model::plant::{Alike, Demands, RecordKind};
use model::{AccessRequest, AgreementId, Digest, FieldClassId, Reason};
use std::sync::Arc;

/// The answer to one [`AccessRequest`].
#[derive(Debug)]
#[must_use]
pub enum Decision {
    Permit(Permit),
    Denied(Denial),
}

impl Decision {
    pub fn is_permit(&self) -> bool {
        matches!(self, Self::Permit(_))
    }
}

/// What the decision was made from, each part by the SHA-256 of its canonical content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    pub policies: Digest,
    pub schema: Digest,
    pub catalog: Digest,
    pub registry: Digest,
    /// Of the entities that were looked at; see [`Permit::slice`].
    pub slice: Digest,
}

/// The request may be recorded and then forwarded. Used up by whoever does it.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    pub(crate) request: AccessRequest,
    pub(crate) agreement: Option<AgreementId>,
    pub(crate) actor_agreements: Vec<Option<AgreementId>>,
    pub(crate) policies: Arc<[String]>,
    pub(crate) digests: Digests,
    pub(crate) slice: Content,
    pub(crate) inputs: Inputs,
    pub(crate) classes_revealed: Arc<[FieldClassId]>,
    pub(crate) classes_hidden: Arc<[FieldClassId]>,
    pub(crate) kinds_hidden: Arc<[RecordKind]>,
    pub(crate) kinds_shown: Arc<[RecordKind]>,
    pub(crate) kinds_alike: Option<Arc<Alike>>,
    /// By those that determined it.
    pub(crate) raised: Demands,
    pub(crate) demands: Demands,
    pub(crate) generation: u64,
}

impl Permit {
    pub fn request(&self) -> &AccessRequest {
        &self.request
    }

    /// The legal basis, unless the caller needs none.
    pub fn agreement(&self) -> Option<&AgreementId> {
        self.agreement.as_ref()
    }

    /// For each actor of the caller, in their order, the legal basis of its own part.
    pub fn actor_agreements(&self) -> &[Option<AgreementId>] {
        &self.actor_agreements
    }

    /// `@id`s of the policies that permitted the action, the field classes and the records, sorted.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// What the answer waits for in the log: all that its product and any of these policies demand.
    pub fn demands(&self) -> Demands {
        self.demands
    }

    /// What of it these policies demand.
    pub fn raised(&self) -> Demands {
        self.raised
    }

    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The entities that were looked at: a canonical JSON array in Cedar's JSON format for entities, in which
    /// references stand for the ids of the caller and its actors.
    pub fn slice(&self) -> &Content {
        &self.slice
    }

    /// What else the decision was made from, for the record.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Field classes above public that the answer may show, sorted.
    pub fn classes_revealed(&self) -> &[FieldClassId] {
        &self.classes_revealed
    }

    /// Field classes above public that the answer may hold and that must not leave, sorted: whoever passes the answer on
    /// has to hide their fields.
    pub fn classes_hidden(&self) -> &[FieldClassId] {
        &self.classes_hidden
    }

    /// Kinds of records that the answer may hold and that must not leave: whoever passes the answer on has to leave them out.
    pub fn kinds_hidden(&self) -> &[RecordKind] {
        &self.kinds_hidden
    }

    /// What the kinds stand for, where a dataset has more of them than can be asked about one by one.
    pub fn kinds_alike(&self) -> Option<&Arc<Alike>> {
        self.kinds_alike.as_ref()
    }

    /// The other kinds, where there are any that must not leave.
    pub fn kinds_shown(&self) -> &[RecordKind] {
        &self.kinds_shown
    }

    /// Where there are kinds that must not leave: the others, as far as they name nobody but the caller's organisation. An
    /// organisation may read the entries about itself, and would learn of others.
    pub fn kinds_told(&self) -> Option<impl Iterator<Item = &RecordKind>> {
        let own = |kind: &&RecordKind| {
            let named = [&kind.supplier, &kind.customer];
            named.into_iter().flatten().all(|party| party == self.request.caller.organisation())
        };
        (!self.kinds_hidden.is_empty()).then(|| self.kinds_shown.iter().filter(own))
    }

    /// Of the snapshot that decided.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives the permission up for the request and the slice.
    pub fn into_parts(self) -> (AccessRequest, Content) {
        (self.request, self.slice)
    }
}

/// The request is refused.
#[derive(Clone, Debug)]
pub struct Denial {
    pub request: AccessRequest,
    /// The caller may not know that the resource exists: the answer is the one for an unknown route.
    pub hidden: bool,
    /// Never empty; sorted.
    pub reasons: Vec<Reason>,
    /// `@id`s of the policies that forbade it, sorted. For the steward, not for the caller.
    pub policies: Vec<String>,
    /// `@id`s of the policies that could not be evaluated, sorted. Any makes the reason `policy_error`.
    pub errors: Vec<String>,
    /// What the caller can do about it, for people. Absent when hidden.
    pub ask: Option<String>,
    /// The agreement that was considered, when it was one.
    pub agreement: Option<AgreementId>,
    /// Those that each permit the request, when there are several and none was named.
    pub agreements: Vec<AgreementId>,
    /// Field classes that the answer may hold and the caller may not see; with `shaping_required`.
    pub classes_hidden: Vec<FieldClassId>,
    /// The answer may hold records that the caller may not see; with `shaping_required`.
    pub records_hidden: bool,
    pub digests: Digests,
    /// As [`Permit::slice`].
    pub slice: Content,
    /// As [`Permit::inputs`].
    pub inputs: Inputs,
    /// Of the snapshot that decided.
    pub generation: u64,
}
