//! What comes out: the checks, and then who it is or why not.

use crate::table;
use broker::respond::Refusal;
use identity::{Explanation, Failure, LoginError, StepOutcome};
use model::party::{Parties, PrincipalRecord};
use model::{Authenticated, Reason, RoleId, Timestamp};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) explanation: Explanation,
    /// What this command cannot know, or could not do.
    notes: Vec<String>,
    at: Timestamp,
    known: Option<PrincipalRecord>,
    organisation: Option<String>,
}

impl Report {
    pub(super) fn new(explanation: Explanation, parties: &Parties, notes: Vec<String>, at: Timestamp) -> Self {
        let caller = explanation.outcome.as_ref().ok().map(Authenticated::principal);
        let known = caller.and_then(|p| parties.principals.get(&(p.organisation.clone(), p.subject.clone())));
        let organisation = caller.map(|principal| {
            let status = parties.status_of(&principal.organisation).map_or("not registered", |status| status.as_str());
            format!("{}, {status}", principal.organisation)
        });
        Self { known: known.cloned(), organisation, explanation, notes, at }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.explanation.outcome.is_ok()
    }

    pub(super) fn text(&self) -> String {
        let steps = self.explanation.steps.iter();
        let rows: Vec<_> =
            steps.map(|s| vec![s.name.to_owned(), word(s.outcome).to_owned(), s.detail.clone()]).collect();
        let checks = table::render(&["check", "result", ""], &rows);
        let (head, facts) = match &self.explanation.outcome {
            Ok(caller) => (format!("accepted at {}", self.at), self.facts(caller)),
            Err(error) => (format!("refused at {}: {}", self.at, error.reason), self.refusal(error)),
        };
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let facts = facts.iter().map(|(name, value)| format!("  {name:<width$}  {value}"));
        let notes = self.notes.iter().map(|note| format!("note: {note}"));
        [checks, String::new(), head].into_iter().chain(facts).chain(notes).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn json(&self) -> Value {
        let steps = self.explanation.steps.iter();
        let steps: Vec<Value> =
            steps.map(|s| json!({"check": s.name, "result": word(s.outcome), "detail": s.detail})).collect();
        let facts = match &self.explanation.outcome {
            Ok(caller) => self.facts(caller),
            Err(error) => [vec![("reason", error.reason.to_string())], self.refusal(error)].concat(),
        };
        let facts: serde_json::Map<String, Value> =
            facts.into_iter().map(|(name, value)| (name.replace(' ', "_"), Value::String(value))).collect();
        json!({"accepted": self.is_accepted(), "at": self.at.to_string(), "checks": steps, "result": facts,
            "notes": self.notes})
    }

    fn facts(&self, caller: &Authenticated) -> Vec<(&'static str, String)> {
        let principal = caller.principal();
        let known = self.known.as_ref();
        let actors = caller
            .actors()
            .iter()
            .map(|actor| format!("{} (says issuer `{}`)", actor.principal.to_text(), actor.issuer));
        let mut facts = vec![
            ("principal", format!("{} ({})", principal.to_text(), principal.kind.as_str())),
            ("organisation", self.organisation.clone().unwrap_or_default()),
            ("shown", format!("{}, of issuer `{}`", caller.method().as_str(), caller.issuer())),
            ("binding", caller.binding().as_str().to_owned()),
            ("roles by token", list(caller.roles().iter().map(RoleId::to_string))),
            ("roles by registry", known.map_or_else(not_listed, |k| list(k.roles.iter().map(RoleId::to_string)))),
            ("clearance", known.map_or_else(not_listed, |known| clearance(known.clearance))),
            ("assurance", caller.assurance().to_string()),
            ("actors", list(actors)),
            ("expires", caller.expires().to_string()),
            ("fingerprint", caller.fingerprint().to_string()),
        ];
        facts.extend(caller.token_id().map(|id| ("token id", format!("{}/{id}", caller.issuer()))));
        facts.extend(caller.certificate().map(|c| ("certificate", format!("{}/{}", c.authority, c.serial))));
        facts
    }

    fn refusal(&self, error: &LoginError) -> Vec<(&'static str, String)> {
        let status = Refusal::new(error.reason.clone(), "").status();
        let mut facts = vec![("answer", status.to_string()), ("why", error.detail.clone())];
        facts.extend(error.issuer.as_ref().map(|issuer| ("issuer", format!("{issuer}, if it is who it says"))));
        facts.push(("what to do", what_to_do(&error.reason, self.explanation.failure.as_ref()).to_owned()));
        facts
    }
}

/// In the words of the registry.
fn clearance(level: u8) -> String {
    let word = ["public", "internal", "confidential", "secret"].get(usize::from(level));
    word.map_or_else(|| level.to_string(), |word| (*word).to_owned())
}

fn not_listed() -> String {
    String::from("none: the registry does not list the principal")
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { String::from("none") } else { items.join(", ") }
}

fn word(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Passed => "ok",
        StepOutcome::Failed => "failed",
        StepOutcome::Skipped => "skipped",
    }
}

fn what_to_do(reason: &Reason, failure: Option<&Failure>) -> &'static str {
    const REMEDIES: [(&[Reason], &str); 15] = [
        (&[Reason::NO_CREDENTIAL], "show a token or a certificate"),
        (
            &[Reason::SEVERAL_CREDENTIALS, Reason::MISPLACED_CREDENTIAL],
            "send one credential in `authorization`, of one organisation",
        ),
        (
            &[Reason::MALFORMED_TOKEN],
            "see that the file holds an access token and nothing else; for an opaque one, the issuer's `introspection` must \
             have its prefix or host",
        ),
        (&[Reason::UNKNOWN_ISSUER], "compare `iss` with the `url` of the issuers in the registry, byte for byte"),
        (
            &[Reason::ISSUER_UNAVAILABLE],
            "see to what the note says: that this machine reaches the issuer, by which CA, and what it answers; then try again",
        ),
        (
            &[Reason::UNKNOWN_KEY, Reason::BAD_ALGORITHM, Reason::BAD_SIGNATURE, Reason::BAD_TOKEN_TYPE],
            "compare the issuer's `algorithms`, `token_types` and keys in the registry with what the provider signs with",
        ),
        (
            &[Reason::BAD_CLAIM],
            "have the provider put what is missing into the token, or set the issuer's `subject_claim`",
        ),
        (&[Reason::WRONG_AUDIENCE], "ask the provider for a token for one of the issuer's `audiences`"),
        (&[Reason::TOKEN_EXPIRED, Reason::TOKEN_TOO_OLD, Reason::TOKEN_INACTIVE], "get a new token from the provider"),
        (&[Reason::TOKEN_NOT_YET_VALID], "compare the clocks of the provider and of this machine"),
        (
            &[Reason::BAD_CERTIFICATE, Reason::UNKNOWN_AUTHORITY],
            "compare the certificate with the authorities in the registry: their CA, lists, depth and names",
        ),
        (
            &[Reason::BINDING_REQUIRED],
            "get a token from the provider that is bound in one of these ways, and send it so; the `binding` of the issuer \
             and of the organisation in the registry asks for it",
        ),
        (
            &[Reason::BAD_BINDING, Reason::BAD_PROOF, Reason::PROOF_REPLAYED, Reason::NONCE_REQUIRED],
            "send the token as it was given: over the connection with its certificate, or with a fresh proof for this request",
        ),
        (
            &[Reason::BAD_DELEGATION],
            "see who acts for whom: `act` names members only, others need `may_act` and a token",
        ),
        (
            &[Reason::REVOKED],
            "look under `[revoked]` in the registry for whom or what it names, and for a certificate in the revocation lists \
             (`crl_files`) of its authority",
        ),
    ];
    if *reason == Reason::ISSUER_UNAVAILABLE && matches!(failure, Some(Failure::Credentials(_))) {
        return "compare `client_id` and `client_secret` of the issuer's `introspection` with the client that the provider \
             knows, and see that it may ask about tokens";
    }
    let found = REMEDIES.iter().find(|(reasons, _)| reasons.contains(reason));
    found.map_or("look the code up in the callers' guide", |(_, remedy)| remedy)
}
