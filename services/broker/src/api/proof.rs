//! `GET /v1/audit/proof`: the proof that an entry is in the log, as a file (C2SP tlog-proof).
//!
//! Whoever may read the log gets it with the entry in it, and that is a reading like any other. Whoever knows the hash of
//! an entry, because a receipt told it, gets the hashes alone: they say nothing about anybody, and are not recorded.

use super::reader::Reader;
use super::{json, unknown, unreadable};
use crate::Broker;
use crate::authenticate::Door;
use crate::listener::Peer;
use crate::record::Slip;
use crate::respond::{self, Body, Refusal};
use audit::evidence::{EvidenceError, Which};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::Response;
use http::request::Parts;
use model::entry::{CommitmentClass, Ended, Entry, Kind};
use model::{OrganisationId, Reason, RequestId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tlog::{Evidence, Hash};

const MEDIA_TYPE: &str = "text/plain; charset=utf-8";

pub(super) async fn handle(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> impl IntoResponse {
    let (parts, _) = request.into_parts();
    let (id, started) = (broker.request_id(), broker.metrics.begin());
    let mut door = Door::new(&broker.api_origins);
    let result = if parts.method == http::Method::GET {
        read(&broker, id, peer, &parts, &mut door).await
    } else {
        unknown(&broker, id, peer, &parts, &mut door).await
    };
    super::answer(&broker, id, started, door, result).await.map(axum::body::Body::new)
}

async fn read(
    broker: &Broker,
    id: RequestId,
    peer: Peer,
    parts: &Parts,
    door: &mut Door<'_>,
) -> Result<Response<Body>, Refusal> {
    let reader = Reader::enter(broker, (id, "audit-proof"), peer, parts, door).await?;
    let evidence = proven(broker, reader, &door.receipt).await?;
    Ok(json(id, respond::full(evidence.to_text()), MEDIA_TYPE))
}

/// The proof that the reader asks for, recorded as a reading unless it holds hashes alone.
pub(super) async fn proven(broker: &Broker, reader: Reader, receipt: &Slip) -> Result<Evidence, Refusal> {
    let id = reader.id;
    let wanted = reader.understood(broker, receipt, Wanted::parse(reader.query())).await?;
    let organisation = reader.organisation().clone();
    if let Some((index, leaf)) = wanted.redeems {
        reader.unrevoked()?;
        let make = || broker.log.redeem(&broker.published, index, leaf);
        let evidence = covered(broker, &organisation, index, make).await;
        return evidence.map_err(|failed| failed.refusal(id));
    }
    let reading = reader.admitted(broker, receipt, wanted.organisation.clone(), Some(1)).await?;
    let mut exchange = reading.exchange;
    exchange.forwarded();
    match prove(broker, &organisation, &wanted).await {
        Ok(evidence) => {
            exchange.answering(200);
            exchange.sent(evidence.to_text().len() as u64);
            exchange.end(Ended::Complete);
            Ok(evidence)
        }
        Err(failed) => {
            let refusal = failed.refusal(id);
            exchange.fail(Ended::SourceFailed, &refusal);
            Err(refusal)
        }
    }
}

/// For somebody of the organisation `of`, in whose places that happens.
async fn prove(broker: &Broker, of: &OrganisationId, wanted: &Wanted) -> Result<Evidence, Failed> {
    let place = broker.readers.place_of(false, of).await?;
    let index = broker.log.which(&wanted.which, wanted.organisation.as_ref()).await?;
    if let Some(organisation) = &wanted.organisation {
        let Some(entry) = broker.log.entry(index).await? else { return Err(broker.log.not_there(index).into()) };
        // Another organisation's entry and none at all look the same.
        let of = Entry::parse(&entry).ok().and_then(|entry| entry.organisation);
        if of.as_ref() != Some(organisation) {
            return Err(EvidenceError::Unknown.into());
        }
    }
    drop(place);
    covered(broker, of, index, || broker.log.evidence(&broker.published, index, &wanted.disclose)).await
}

/// A checkpoint comes once a second, unless the plant wants it otherwise.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// What `make` makes once a checkpoint covers the entry. Nobody keeps others from reading while they wait for it.
async fn covered<F: Future<Output = Result<Evidence, EvidenceError>>>(
    broker: &Broker,
    of: &OrganisationId,
    index: u64,
    make: impl Fn() -> F,
) -> Result<Evidence, Failed> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let is_covered = broker.log.status().checkpoint_size > index;
        let is_late = tokio::time::Instant::now() >= until;
        if is_covered || is_late || index >= broker.log.size() {
            let _place = broker.readers.place_of(false, of).await?;
            match make().await {
                Err(EvidenceError::NotPublished { .. }) if !is_late => {}
                made => return Ok(made?),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Why there is no proof.
enum Failed {
    Busy(Refusal),
    Evidence(EvidenceError),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Busy(refusal)
    }
}

impl From<EvidenceError> for Failed {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(error)
    }
}

impl From<audit::ReadError> for Failed {
    fn from(error: audit::ReadError) -> Self {
        Self::Evidence(error.into())
    }
}

impl Failed {
    fn refusal(self, id: RequestId) -> Refusal {
        match self {
            Self::Busy(refusal) => refusal,
            Self::Evidence(error) => refusal(id, &error),
        }
    }
}

fn refusal(id: RequestId, error: &EvidenceError) -> Refusal {
    match error {
        EvidenceError::Unknown => Refusal::not_found(),
        EvidenceError::NotPublished { .. } => Refusal::new(Reason::NOT_PUBLISHED, error.to_string()).retry_after(1),
        EvidenceError::NotDisclosed { .. } => Refusal::new(Reason::NOT_FOUND, error.to_string()),
        EvidenceError::Pruned { .. } | EvidenceError::PerhapsPruned(_) => {
            Refusal::new(Reason::PRUNED, error.to_string())
        }
        EvidenceError::Read(cause) => unreadable(id, cause),
    }
}

#[derive(Debug)]
struct Wanted {
    which: Which,
    organisation: Option<OrganisationId>,
    disclose: Vec<CommitmentClass>,
    /// The entry's index and its hash, as a receipt has them.
    redeems: Option<(u64, Hash)>,
}

const NAMES: [&str; 6] = ["request", "kind", "index", "leaf", "organisation", "disclose"];

impl Wanted {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Refusal> {
        for (n, (name, _)) in pairs.iter().enumerate() {
            if !NAMES.contains(&name.as_str()) {
                let detail = format!("`{name}` is not known here; there are {}", NAMES.join(", "));
                return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
            }
            if pairs.iter().take(n).any(|(earlier, _)| earlier == name) {
                return Err(Refusal::new(Reason::DUPLICATE_PARAMETER, format!("`{name}` stands more than once")));
            }
        }
        let get = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let bad = |name: &str, expected: &str| {
            let value = get(name).unwrap_or_default();
            Refusal::new(Reason::BAD_PARAMETER, format!("`{name}` is `{value}`; it takes {expected}"))
        };
        let index = get("index").map(|text| text.parse().map_err(|_| bad("index", "an index"))).transpose()?;
        // An id that says when the request came is found without looking through the log.
        let request = get("request").map(|text| {
            let id = RequestId::parse(text).filter(|id| id.time().is_some());
            id.ok_or_else(|| bad("request", "the id of a request, as in `Millgate-Request-Id`"))
        });
        let request = request.transpose()?;
        let kind = get("kind").map(|text| Kind::parse(text).ok_or_else(|| bad("kind", &super::kinds()))).transpose()?;
        let organisation = get("organisation")
            .map(|text| OrganisationId::new(text).map_err(|_| bad("organisation", "an organisation's id")));
        let leaf = get("leaf").map(|text| {
            let hash = model::canonical::unhex(text).and_then(|bytes| Hash::from_slice(&bytes));
            hash.ok_or_else(|| bad("leaf", "64 hexadecimal digits"))
        });
        let disclose = get("disclose").into_iter().flat_map(|list| list.split(',')).map(|class| {
            CommitmentClass::parse(class).ok_or_else(|| bad("disclose", "some of subject, network, payload"))
        });
        let disclose = disclose.collect::<Result<Vec<_>, _>>()?;
        let (organisation, leaf) = (organisation.transpose()?, leaf.transpose()?);
        let which = match (index, request) {
            (Some(index), None) if kind.is_none() => Which::Index(index),
            (None, Some(id)) if leaf.is_none() => Which::Request { id, kind },
            (None, None) => {
                return Err(Refusal::new(Reason::MISSING_PARAMETER, "say which entry: `request`, or `index`"));
            }
            _ => {
                let detail =
                    "an entry is named by `request`, with `kind` or without, or by `index`, with `leaf` or without";
                return Err(Refusal::new(Reason::BAD_PARAMETER, detail));
            }
        };
        let redeems = index.zip(leaf);
        if redeems.is_some() && (organisation.is_some() || !disclose.is_empty()) {
            let detail = "with `leaf` the answer holds hashes alone; leave `organisation` and `disclose` out";
            return Err(Refusal::new(Reason::BAD_PARAMETER, detail));
        }
        if organisation.is_some() && !disclose.is_empty() {
            let detail = "what is behind commitments is shown to those alone who may read the whole log; leave `organisation` out";
            return Err(Refusal::new(Reason::BAD_PARAMETER, detail));
        }
        Ok(Self { which, organisation, disclose, redeems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wanted::parse(&pairs).map_err(|refusal| refusal.reason.as_str().to_owned())
    }

    #[test]
    fn an_entry_is_named_in_one_way() {
        let leaf = "ab".repeat(32);
        let wanted = parsed(&[("index", "7"), ("leaf", &leaf)]).unwrap();
        assert_eq!(wanted.redeems, Some((7, Hash([0xab; 32]))));
        let r = "01a20522-59ec-7312-8079-6642e2582ffb";
        let wanted = parsed(&[("request", r), ("kind", "outcome"), ("disclose", "network,payload")]).unwrap();
        let id = RequestId::parse(r).unwrap();
        assert_eq!(wanted.which, Which::Request { id, kind: Some(Kind::Outcome) });
        assert_eq!((wanted.disclose.len(), wanted.redeems), (2, None));
        for (query, reason) in [
            (&[][..], "missing_parameter"),
            (&[("leaf", leaf.as_str())], "missing_parameter"),
            (&[("index", "7"), ("request", r)], "bad_parameter"),
            (&[("index", "7"), ("kind", "outcome")], "bad_parameter"),
            (&[("request", r), ("leaf", &leaf)], "bad_parameter"),
            (&[("request", "x")], "bad_parameter"),
            (&[("request", "01A20522-59EC-7312-8079-6642E2582FFB")], "bad_parameter"),
            // Of a version that has no time in it.
            (&[("request", "936da01f-9abd-4d9d-80c7-02af85c822a8")], "bad_parameter"),
            (&[("index", "-7")], "bad_parameter"),
            (&[("index", "7"), ("leaf", "ab")], "bad_parameter"),
            (&[("index", "7"), ("disclose", "everything")], "bad_parameter"),
            (&[("index", "7"), ("disclose", "network"), ("organisation", "acme")], "bad_parameter"),
            (&[("index", "7"), ("leaf", &leaf), ("disclose", "network")], "bad_parameter"),
            (&[("index", "7"), ("index", "8")], "duplicate_parameter"),
            (&[("indx", "7")], "undeclared_parameter"),
        ] {
            assert_eq!(parsed(query).err().as_deref(), Some(reason), "{query:?}");
        }
    }
}
