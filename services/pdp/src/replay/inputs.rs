//! The member `inputs` of an entry: what a decision was made from, as far as neither the rest of the entry nor its slice
//! says it.

use crate::snapshot::{Data, Fields, Kinds, Snapshot};
use model::canonical::{Members, Raw, RawObject};
use model::plant::{Acknowledgement, Demands};
use model::{AccessRequest, AgreementId, PurposeId, Timestamp};

/// See the module. Names nobody and repeats nothing that a caller made up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Named by the caller, and one of an organisation that takes part.
    pub(super) agreement: Option<AgreementId>,
    /// The caller named another one.
    pub(super) unknown_agreement: bool,
    /// The caller named a purpose that the plant does not have.
    pub(super) unknown_purpose: bool,
    /// The caller, one who acts for it, or what it was shown with was revoked.
    pub(super) revoked: bool,
    /// `None` where there is no such dataset or signal.
    pub(super) data: Option<Described>,
    /// What the product demands of the log, whatever policies do.
    pub(super) product: Demands,
}

/// How answers of a dataset or signal can be shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub fields: Fields,
    pub records: Records,
}

/// Of which kinds records can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Records {
    /// There are none.
    None,
    /// Those of the slice; whether some can be left out.
    Listed {
        can_be_filtered: bool,
    },
    /// Those of the slice, which stand for others, too.
    Alike {
        can_be_filtered: bool,
    },
    TooMany,
}

const FIELDS: [(&str, Fields); 3] = [
    ("whole", Fields::Whole),
    ("some_public", Fields::Apart { some_public: true }),
    ("none_public", Fields::Apart { some_public: false }),
];
const RECORDS: [(&str, Records); 6] = [
    ("none", Records::None),
    ("listed", Records::Listed { can_be_filtered: false }),
    ("filtered", Records::Listed { can_be_filtered: true }),
    ("alike", Records::Alike { can_be_filtered: false }),
    ("alike_filtered", Records::Alike { can_be_filtered: true }),
    ("too_many", Records::TooMany),
];

impl Inputs {
    /// `listed`: there are kinds of records that were asked about.
    pub(crate) fn of(snapshot: &Snapshot, request: &AccessRequest, listed: bool) -> Self {
        // Also of somebody who acts: naming it makes it one that is looked at.
        let is_own = |id: &&AgreementId| {
            let of = snapshot.parties.agreements.get(*id).map(|agreement| &agreement.consumer);
            request.caller.principals().any(|principal| Some(&principal.organisation) == of)
        };
        let has = |purpose: &PurposeId| snapshot.plant.purposes.contains_key(purpose);
        let agreement = request.agreement.as_ref().filter(is_own).cloned();
        Self {
            unknown_agreement: request.agreement.is_some() && agreement.is_none(),
            agreement,
            unknown_purpose: request.purpose.as_ref().is_some_and(|purpose| !has(purpose)),
            revoked: request.caller.is_revoked(&snapshot.parties.revocations),
            data: snapshot.offer.data.get(&request.resource).map(|data| Described::of(data, listed)),
            product: snapshot.product_demands(&request.resource),
        }
    }

    /// The object that stands in entries. `at`: when it was decided.
    pub fn members(&self, at: Timestamp) -> Members {
        let mut members = Members::with_capacity(192);
        members.text("at", at.to_rfc3339());
        if let Some(agreement) = &self.agreement {
            members.text("agreement", agreement);
        }
        let unknown = [("agreement", self.unknown_agreement), ("purpose", self.unknown_purpose)];
        let unknown: Vec<&str> = unknown.into_iter().filter(|(_, yes)| *yes).map(|(name, _)| name).collect();
        if !unknown.is_empty() {
            members.texts("unknown", unknown);
        }
        if self.revoked {
            members.bool("revoked", true);
        }
        if let Some(Described { fields, records }) = &self.data {
            members.text("fields", name_of(&FIELDS, fields));
            members.text("records", name_of(&RECORDS, records));
        }
        self.product.record(&mut members);
        members
    }

    /// What [`Self::members`] has written, and when it was decided.
    pub(super) fn read(object: &RawObject<'_>) -> Option<(Timestamp, Self)> {
        let text = |name: &str| object.get(name).map(|value| value.as_text().ok_or(())).transpose();
        let unknown = object.get("unknown").map_or_else(|| Some(Vec::new()), Raw::items)?;
        let unknown = |name: &str| unknown.iter().any(|item| item.as_text().as_deref() == Some(name));
        let data = match (text("fields").ok()?, text("records").ok()?) {
            (None, None) => None,
            (Some(fields), Some(records)) => {
                Some(Described { fields: value_of(&FIELDS, &fields)?, records: value_of(&RECORDS, &records)? })
            }
            _ => return None,
        };
        let product = Demands {
            acknowledgement: match text("acknowledgement").ok()? {
                None => Acknowledgement::Durable,
                Some(level) => Acknowledgement::parse(&level)?,
            },
            outcome_before_complete: object.get("outcome_before_complete").and_then(Raw::as_bool) == Some(true),
        };
        let inputs = Self {
            agreement: text("agreement").ok()?.map(|id| AgreementId::new(&id)).transpose().ok()?,
            unknown_agreement: unknown("agreement"),
            unknown_purpose: unknown("purpose"),
            revoked: object.get("revoked").and_then(Raw::as_bool) == Some(true),
            data,
            product,
        };
        Some((Timestamp::parse_rfc3339(&text("at").ok()??)?, inputs))
    }
}

impl Described {
    fn of(data: &Data, listed: bool) -> Self {
        let records = match data.kinds {
            Kinds::None => Records::None,
            Kinds::Some { can_be_filtered, .. } => Records::Listed { can_be_filtered },
            Kinds::Many { can_be_filtered, .. } if listed => Records::Alike { can_be_filtered },
            Kinds::Many { .. } => Records::TooMany,
        };
        Self { fields: data.fields, records }
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name)
}

fn value_of<T: Copy>(names: &[(&'static str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}
