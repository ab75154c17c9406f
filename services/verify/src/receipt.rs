//! The check of a receipt: does it bind the log, and has the log kept the promise?
//!
//! A promise is broken for everybody to see by another entry in the place of the promised one, by an entry of another request
//! than the receipt says, and by a checkpoint that witnesses cosigned when it had to cover the entry and does not, if no quorum
//! can have cosigned another one in time without any of these. That there is no proof when the time is over says the same to
//! whoever has asked for one.

use crate::findings::{printable, worded};
use crate::report::{Finding, cosigned_json, cosigned_lines, count, signed_lines};
use crate::verdict::Point;
use model::Timestamp;
use model::entry::Entry;
use serde_json::{Value, json};
use std::fmt;
use tlog::evidence::Evidence;
use tlog::receipt::{Receipt, ReceiptError};
use tlog::{Checkpoint, TrustPolicy, VerifierKey, leaf_hash};

/// No plant promises a checkpoint later than this.
const DEADLINE_MS_MAX: i64 = 86_400_000;

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The proof of its entry.
    pub proof: Option<&'a str>,
    /// A signed checkpoint, with the cosignatures of witnesses.
    pub checkpoint: Option<&'a str>,
    /// The moment as of which it is judged.
    pub at: Timestamp,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub struct ReceiptReport {
    pub receipt: Receipt,
    /// Entries under the checkpoint that covers the entry, if a proof was shown.
    pub redeemed: Option<u64>,
    /// The log has signed that another entry stands there, or that this entry is of another request than it is: evidence
    /// against whoever holds its key, or its keys.
    pub is_contradicted: bool,
    /// A checkpoint that does not cover the entry was cosigned when one had to, by witnesses of whom every quorum has one.
    pub is_left_out: bool,
    /// For how many milliseconds a proof could have been shown that was not.
    pub overdue_ms: Option<i64>,
    /// Whether the promised entry is of the request; `None` where it was not shown.
    pub is_of_request: Option<bool>,
    /// The key of the log that has signed the receipt, and those that have signed the proof.
    pub signed_by: Option<String>,
    pub proof_signed_by: Vec<String>,
    /// The signed note of the proof that holds, and the witnesses of the trust policy that cosigned it.
    pub note: Option<String>,
    pub cosigned: Vec<(String, u64)>,
    pub checkpoint: Option<Beside>,
    pub findings: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

/// A checkpoint that was shown beside the proof.
#[derive(Clone, Debug)]
pub struct Beside {
    pub size: u64,
    pub signed_by: Vec<String>,
    pub cosigned: Vec<(String, u64)>,
}

/// Checks the receipt in `text`, a header's value or the header. Of a log with several keys, what one has promised another may
/// keep.
///
/// # Errors
/// When the text is no receipt.
pub fn check(text: &str, shown: Shown<'_>, policy: &TrustPolicy) -> Result<ReceiptReport, ReceiptError> {
    let keys: Vec<VerifierKey> = policy.logs.iter().map(|log| log.key.clone()).collect();
    let mut report = ReceiptReport {
        receipt: Receipt::of_header(text)?,
        redeemed: None,
        is_contradicted: false,
        is_left_out: false,
        overdue_ms: None,
        is_of_request: None,
        signed_by: None,
        proof_signed_by: Vec::new(),
        note: None,
        cosigned: Vec::new(),
        checkpoint: None,
        findings: Vec::new(),
        warnings: Vec::new(),
    };
    let signed = keys.iter().map(|key| report.receipt.verify(key).map(|()| key)).reduce(Result::or);
    match signed {
        Some(Err(error)) => report.finding(format!("it binds nobody: {error}")),
        Some(Ok(key)) => {
            report.signed_by = Some(key.to_text());
            match shown.proof.map(Evidence::parse) {
                Some(Ok(proof)) => report.redeem(&proof, &keys, policy),
                Some(Err(error)) => report.finding(format!("the proof is none: {error}")),
                None => {}
            }
            if let Some(note) = shown.checkpoint {
                report.hold_against(note, shown.at, &keys, policy);
            }
            report.look_at_the_time(shown);
        }
        None => report.finding("there is no key to judge it by"),
    }
    Ok(report)
}

/// Why an entry with the hash that a receipt promises is not what it promises, if it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPromised {
    NoEntry(String),
    /// Of this request, or of none.
    OfAnotherRequest(Option<String>),
}

/// Compares the request of an entry with that of its receipt.
///
/// # Errors
/// What is wrong with the entry.
pub fn compare(receipt: &Receipt, entry: &[u8]) -> Result<(), NotPromised> {
    let entry = Entry::parse(entry).map_err(|error| NotPromised::NoEntry(error.to_string()))?;
    let request = entry.text("request");
    let is_none = receipt.request.is_empty() && entry.get("request").is_none();
    if is_none || request.is_some_and(|request| !request.is_empty() && request == receipt.request) {
        return Ok(());
    }
    Err(NotPromised::OfAnotherRequest(request.map(str::to_owned)))
}

/// In milliseconds since 1970.
fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
}

impl ReceiptReport {
    fn finding(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { check: Point::Receipt, what: worded(&what.into()), entries: None });
    }

    fn warning(&mut self, what: impl Into<String>) {
        self.warnings.push(Finding { check: Point::Receipt, what: worded(&what.into()), entries: None });
    }

    fn redeem(&mut self, proof: &Evidence, keys: &[VerifierKey], policy: &TrustPolicy) {
        if proof.index != self.receipt.index {
            return self.finding(format!("the proof is of entry {}, not of {}", proof.index, self.receipt.index));
        }
        let texts = |signers: Vec<&VerifierKey>| signers.iter().map(|key| key.to_text()).collect();
        let entry = proof.extra.as_deref().and_then(|extra| extra.split(|byte| *byte == b'\n').next());
        let entry = entry.filter(|entry| !entry.is_empty());
        let promised = entry.filter(|entry| leaf_hash(entry) == self.receipt.leaf);
        match proof.verify_any(self.receipt.leaf, keys) {
            Ok((checkpoint, signers)) => {
                (self.redeemed, self.proof_signed_by) = (Some(checkpoint.size), texts(signers));
                (self.note, self.cosigned) = (Some(proof.note.clone()), policy.cosigned(&proof.note));
                if entry.is_some() && promised.is_none() {
                    self.finding("the proof shows another entry than the promised one, which it is of");
                }
            }
            Err(error) => match entry.and_then(|other| proof.verify_any(leaf_hash(other), keys).ok()) {
                Some((_, signers)) => {
                    self.proof_signed_by = texts(signers);
                    self.contradicted();
                }
                None => self.finding(format!("the proof does not hold for the promised entry: {error}")),
            },
        }
        // The receipt alone says of which request it is, whatever tree it stands in.
        if let Some(entry) = promised {
            self.is_of_request = Some(self.compare_request(entry));
        }
    }

    fn compare_request(&mut self, entry: &[u8]) -> bool {
        let request = match compare(&self.receipt, entry) {
            Ok(()) => return true,
            Err(NotPromised::NoEntry(error)) => {
                self.finding(format!("what was promised is no entry of this log format: {error}"));
                return false;
            }
            Err(NotPromised::OfAnotherRequest(request)) => request,
        };
        self.is_contradicted = true;
        let other = request.map_or_else(
            || String::from("no request"),
            // An id is no longer than this.
            |id| format!("another request, `{}`", id.chars().take(40).collect::<String>()),
        );
        self.finding(format!(
            "the entry that stands there is of {other}: receipt and proof are evidence against whoever holds the log's key"
        ));
        false
    }

    /// Says by whom: of a log that has had two keys, one of which may be somebody else's by now.
    fn contradicted(&mut self) {
        self.is_contradicted = true;
        let by = self.signed_by.clone().unwrap_or_default();
        let evidence =
            "the log has signed that another entry stands there: receipt and proof together are evidence against";
        if self.proof_signed_by.contains(&by) {
            return self.finding(format!("{evidence} whoever holds its key"));
        }
        // By which, the lines below say in full.
        self.finding(format!(
            "{evidence} whoever holds its keys: two have signed, and one of them may be somebody else's by now"
        ));
    }

    /// Does it leave the entry out when one had to cover it? Only cosignatures tell when a checkpoint was there; and a witness
    /// that nobody has asked for long cosigns an old one for whoever brings it, so that a quorum must have, and one without which
    /// there is none: where two quorums need not share a witness, another may have cosigned what the plant did in time.
    fn hold_against(&mut self, note: &str, at: Timestamp, keys: &[VerifierKey], policy: &TrustPolicy) {
        let (checkpoint, signers) = match Checkpoint::open_any(note, keys) {
            Ok(opened) => opened,
            Err(error) => return self.finding(format!("the checkpoint is none of this log: {error}")),
        };
        let Receipt { index, by_ms, .. } = self.receipt;
        let (size, cosigned) = (checkpoint.size, policy.cosigned(note));
        let after = |(_, seconds): &&(String, u64)| (by_ms.saturating_add(1)..=at.millis()).contains(&millis(*seconds));
        let late: Vec<(String, u64)> = cosigned.iter().filter(after).cloned().collect();
        let signed_by = signers.iter().map(|key| key.to_text()).collect();
        self.checkpoint = Some(Beside { size, signed_by, cosigned });
        let has = format!("the checkpoint has {}", count(size, "entry", "entries"));
        if size > index {
            if self.redeemed.is_none() {
                self.warning(format!("{has}, entry {index} among them: whether that is the promised one a proof says"));
            }
            return;
        }
        if !policy.asks_for_witnesses() || !policy.is_met(&late) {
            let by = Timestamp(by_ms).to_rfc3339();
            return self.warning(format!(
                "{has} and leaves entry {index} out, but no quorum of witnesses says that it is from after {by}: it shows nothing"
            ));
        }
        let in_time = |(_, seconds): &&(String, u64)| millis(*seconds) <= by_ms;
        let early: Vec<(String, u64)> = self.cosigned.iter().filter(in_time).cloned().collect();
        if policy.is_met(&early) {
            return self.warning(format!("{has} and is from later, but the one of the proof was cosigned in time"));
        }
        if !policy.needs_one_of(&late) {
            // The plant may have had one in time, by those who have nothing to do with this one.
            let others = policy.witnesses.iter().filter(|one| late.iter().all(|(name, _)| *name != one.name));
            let others: Vec<String> = others.map(|one| format!("`{}`", one.name)).collect();
            return self.warning(format!(
                "{has} and leaves entry {index} out, and a quorum cosigned it after the time, but that proves nothing yet: quorums of \
                 this policy need not share a witness, and without these {} can have cosigned one in time that has the entry. Ask them: it \
                 is proof once enough of them have cosigned this one, too, or by a policy whose quorums overlap",
                others.join(", ")
            ));
        }
        self.is_left_out = true;
        let since = late.iter().map(|(_, seconds)| millis(*seconds).saturating_sub(by_ms)).max().unwrap_or_default();
        self.finding(format!(
            "the promise is broken: {} after a checkpoint had to cover entry {index}, witnesses cosigned one of {}",
            seconds(since),
            count(size, "entry", "entries")
        ));
    }

    fn look_at_the_time(&mut self, shown: Shown<'_>) {
        let Receipt { index, by_ms, .. } = self.receipt;
        let by = Timestamp(by_ms).to_rfc3339();
        let past = shown.at.millis().saturating_sub(by_ms);
        if past < -DEADLINE_MS_MAX {
            self.warning(format!("it leaves the log time until {by}, which is more than a day from now"));
        }
        if past > 0 && self.redeemed.is_none() && !self.is_contradicted {
            self.overdue_ms = Some(past);
            let holds = if shown.proof.is_some() { " that holds" } else { "" };
            self.finding(format!(
                "overdue: a checkpoint had to cover entry {index} by {by}, {} ago, and no proof{holds} is shown",
                seconds(past)
            ));
        }
    }

    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// For everybody to see who is shown the same.
    pub fn is_broken(&self) -> bool {
        self.is_contradicted || self.is_left_out
    }

    /// Where a proof is to be had.
    fn redeem_at(&self) -> String {
        format!("/v1/audit/proof?index={}&leaf={}", self.receipt.index, self.receipt.leaf)
    }

    pub fn to_json(&self) -> Value {
        let checkpoint = self.checkpoint.as_ref().map(|beside| {
            json!({
                "size": beside.size,
                "signed_by": beside.signed_by,
                "cosigned": cosigned_json(&beside.cosigned),
            })
        });
        json!({
            "ok": self.is_ok(),
            "origin": self.receipt.origin,
            "index": self.receipt.index,
            "request": self.receipt.request,
            "leaf": self.receipt.leaf.to_string(),
            "durable": Timestamp(self.receipt.time_ms).to_rfc3339(),
            "checkpoint_by": Timestamp(self.receipt.by_ms).to_rfc3339(),
            "redeemed": self.redeemed,
            "redeem_at": self.redeemed.is_none().then(|| self.redeem_at()),
            "of_request": self.is_of_request,
            "contradicted": self.is_contradicted,
            "broken": self.is_broken(),
            "overdue": self.overdue_ms.is_some(),
            "overdue_seconds": self.overdue_ms.map(|past| past.div_euclid(1_000)),
            "signed_by": self.signed_by,
            "proof_signed_by": self.proof_signed_by,
            "cosigned": cosigned_json(&self.cosigned),
            "checkpoint": checkpoint,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "warnings": self.warnings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

fn seconds(ms: i64) -> String {
    count(u64::try_from(ms.div_euclid(1_000)).unwrap_or_default(), "second", "seconds")
}

impl fmt::Display for ReceiptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_ok(), self.redeemed) {
            (true, Some(_)) => "kept",
            (true, None) => "binds the log",
            (false, Some(_)) if self.is_left_out && !self.is_contradicted => "kept late",
            (false, _) if self.is_broken() => "broken",
            (false, _) if self.overdue_ms.is_some() => "overdue",
            (false, _) => "not kept",
        };
        let Receipt { origin, index, request, leaf, time_ms, by_ms, .. } = &self.receipt;
        writeln!(f, "receipt of log {} for entry {index}: {verdict}", printable(origin))?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  warning: {warning}"))?;
        let of_request = match self.is_of_request {
            None => " (the entry was not shown)",
            Some(true) => "",
            Some(false) => " (the entry is of another)",
        };
        let request = if request.is_empty() { "none" } else { request };
        writeln!(f, "  request        {}{of_request}", printable(request))?;
        writeln!(f, "  hash           {leaf}")?;
        writeln!(f, "  durable        {}", Timestamp(*time_ms).to_rfc3339())?;
        writeln!(f, "  checkpoint by  {}", Timestamp(*by_ms).to_rfc3339())?;
        signed_lines(f, self.signed_by.as_slice())?;
        self.proof_signed_by.iter().try_for_each(|key| writeln!(f, "  proof signed   by {key}"))?;
        match self.redeemed {
            Some(size) => writeln!(f, "  redeemed       under a checkpoint of {size} entries")?,
            None => writeln!(f, "  to redeem it   `millgate audit prove --receipt FILE`, or {}", self.redeem_at())?,
        }
        cosigned_lines(f, &self.cosigned)?;
        self.checkpoint.as_ref().map_or(Ok(()), |beside| write!(f, "{beside}"))
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  checkpoint     of {}", count(self.size, "entry", "entries"))?;
        signed_lines(f, &self.signed_by)?;
        cosigned_lines(f, &self.cosigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::published::{checkpoint, key, seal, story};
    use crate::proof::tests::{proof_of, public, signed_by};
    use std::sync::Arc;
    use tlog::CosigningKey;
    use tlog::receipt::{Promised, Signed};

    const REQUEST: &str = "01a20522-59ec-7312-8079-6642e2582ffb";
    const DURABLE_MS: i64 = 1_795_375_200_123;
    const BY_MS: i64 = DURABLE_MS + 60_000;
    /// The first second behind the time for a checkpoint.
    const LATE: u64 = 1_795_375_261;

    /// Entry 7 is of a request.
    fn entries() -> Vec<Vec<u8>> {
        let mut story = story(300);
        story[7].members.push(("request", model::Value::text(REQUEST)));
        seal(&story)
    }

    fn receipt_for(entries: &[Vec<u8>], request: Option<&str>) -> String {
        let promised = |entry: &Vec<u8>| Promised { leaf: leaf_hash(entry), request: request.map(Arc::from) };
        let signed = Signed::new(&key(1), 5, entries[5..9].iter().map(promised).collect(), DURABLE_MS, BY_MS);
        signed.unwrap().receipt(7).unwrap().to_text()
    }

    fn receipt(entries: &[Vec<u8>]) -> String {
        receipt_for(entries, Some(REQUEST))
    }

    /// In time.
    fn shown(proof: Option<&str>) -> Shown<'_> {
        Shown { proof, checkpoint: None, at: Timestamp(BY_MS) }
    }

    fn by(text: &str, proof: Option<&str>, keys: &[u8]) -> ReceiptReport {
        check(text, shown(proof), &TrustPolicy::of_keys(public(keys))).unwrap()
    }

    fn checked(text: &str, proof: Option<&str>) -> ReceiptReport {
        by(text, proof, &[1])
    }

    fn proof(entries: &[Vec<u8>], index: u64, extra: Option<Vec<u8>>) -> String {
        Evidence { extra, ..proof_of(entries, index) }.to_text()
    }

    #[test]
    fn a_promise_is_kept_open_or_broken() {
        let entries = entries();
        let text = receipt(&entries);
        let open = checked(&text, None);
        assert!(open.is_ok() && open.to_string().contains("binds the log"), "{open}");
        for (extra, shows) in [(None, None), (Some(entries[7].clone()), Some(true))] {
            let kept = checked(&text, Some(&proof(&entries, 7, extra)));
            assert_eq!((kept.is_ok(), kept.redeemed, kept.is_of_request), (true, Some(300), shows));
            assert!(kept.to_string().contains("for entry 7: kept\n"), "{kept}");
        }
        // The operator has put another entry in its place, and signed that.
        let mut forged = entries.clone();
        forged[7] = entries[8].clone();
        let broken = checked(&text, Some(&proof(&forged, 7, Some(forged[7].clone()))));
        assert!(!broken.is_ok() && broken.is_contradicted);
        assert_eq!((&broken.to_json()["contradicted"], &broken.to_json()["broken"]), (&true.into(), &true.into()));
        // Without the other entry nobody can tell who forged what.
        let unclear = checked(&text, Some(&proof(&forged, 7, None)));
        assert!(!unclear.is_ok() && !unclear.is_contradicted);
        let other = checked(&text, Some(&proof(&entries, 8, None)));
        assert_eq!(other.findings[0].what, "the proof is of entry 8, not of 7");
        // What stands beside the hashes of a proof is under no signature.
        let beside = checked(&text, Some(&proof(&entries, 7, Some(entries[8].clone()))));
        assert!(!beside.is_ok() && !beside.is_broken() && beside.is_of_request.is_none(), "{beside}");
    }

    #[test]
    fn a_receipt_for_the_entry_of_another_request_is_evidence_by_itself() {
        let entries = entries();
        let other = "01a20522-59ec-7312-8079-000000000000";
        // Given out for an entry that there is, and that is somebody else's; or of no request at all.
        for (of, said) in [(Some(other), "of another request, `01a20522-59ec-7312"), (None, "of another request")] {
            let text = receipt_for(&entries, of);
            let hidden = checked(&text, Some(&proof(&entries, 7, None)));
            assert!(hidden.is_ok() && hidden.is_of_request.is_none(), "{hidden}");
            assert!(hidden.to_string().contains("(the entry was not shown)\n"), "{hidden}");
            let broken = checked(&text, Some(&proof(&entries, 7, Some(entries[7].clone()))));
            assert!(broken.is_contradicted && broken.is_of_request == Some(false), "{broken}");
            assert!(broken.findings[0].what.contains(said), "{broken}");
            assert!(broken.to_string().contains("for entry 7: broken\n"), "{broken}");
        }
        // The entry is of none, whatever the receipt says.
        let sealed = seal(&story(300));
        let broken = checked(&receipt(&sealed), Some(&proof(&sealed, 7, Some(sealed[7].clone()))));
        assert!(broken.is_contradicted && broken.findings[0].what.contains("is of no request:"), "{broken}");
        let kept = checked(&receipt_for(&sealed, None), Some(&proof(&sealed, 7, Some(sealed[7].clone()))));
        assert!(kept.is_ok() && kept.to_string().contains("  request        none\n"), "{kept}");
        // Under a checkpoint of somebody else the entry is the one that was promised all the same.
        let stranger = signed_by(proof_of(&entries, 7), &entries, &[3]);
        let stranger = Evidence { extra: Some(entries[7].clone()), ..stranger }.to_text();
        let broken = checked(&receipt_for(&entries, Some(other)), Some(&stranger));
        assert!(broken.is_contradicted && broken.redeemed.is_none(), "{broken}");
        // What cannot be read is of no request either, and no reason to call it kept.
        let mut odd = entries;
        odd[7] = b"{}".to_vec();
        let odd = checked(&receipt(&odd), Some(&proof(&odd, 7, Some(odd[7].clone()))));
        assert!(!odd.is_ok() && odd.findings[0].what.contains("no entry of this log format"), "{odd}");
    }

    #[test]
    fn a_receipt_whose_request_was_altered_binds_nobody() {
        let text = receipt(&entries());
        for other in ["01a20522-59ec-7312-8079-6642e2582ffc", ""] {
            let altered = checked(&text.replace(REQUEST, other), None);
            assert!(altered.findings[0].what.starts_with("it binds nobody"), "{altered}");
        }
        let first = text.replace(&format!("request=\"{REQUEST}\", "), "");
        assert!(check(&first, shown(None), &TrustPolicy::of_keys(public(&[1]))).is_err());
    }

    #[test]
    fn a_receipt_that_is_not_redeemed_in_time_is_overdue() {
        let entries = entries();
        let (text, policy) = (receipt(&entries), TrustPolicy::of_keys(public(&[1])));
        let at =
            |at: i64, proof: Option<&str>| check(&text, Shown { at: Timestamp(at), ..shown(proof) }, &policy).unwrap();
        for now in [DURABLE_MS, BY_MS] {
            let open = at(now, None);
            assert!(open.is_ok() && open.to_json()["overdue"] == false, "{open}");
        }
        let overdue = at(BY_MS + 90_500, None);
        assert!(!overdue.is_ok() && !overdue.is_broken(), "{overdue}");
        let said = overdue.to_string();
        assert!(
            said.contains("for entry 7: overdue\n") && said.contains("by 2026-11-22T19:21:00.123Z, 90 seconds ago"),
            "{said}"
        );
        assert!(said.contains(&format!("/v1/audit/proof?index=7&leaf={}\n", leaf_hash(&entries[7]))), "{said}");
        let json = overdue.to_json();
        assert_eq!((&json["overdue"], &json["overdue_seconds"]), (&true.into(), &90.into()));
        assert_eq!(at(BY_MS + 1, None).overdue_ms, Some(1), "the clock is believed to the millisecond");
        // A proof that does not hold is none, one that holds is in time whenever it is shown.
        let bad = at(BY_MS + 1, Some("nonsense"));
        assert!(bad.overdue_ms.is_some() && bad.findings[1].what.contains("no proof that holds"), "{bad}");
        let kept = at(i64::MAX, Some(&proof(&entries, 7, None)));
        assert!(kept.is_ok() && kept.overdue_ms.is_none(), "{kept}");
        // Nobody has to believe in a promise for the year after next.
        let far = at(BY_MS - 86_400_001, None);
        assert!(far.is_ok() && far.warnings[0].what.contains("more than a day"), "{far}");
        assert!(at(i64::MIN, None).is_ok());
    }

    /// Whatever else is asked for, two of three.
    fn watched() -> (TrustPolicy, [CosigningKey; 3]) {
        let witnesses =
            [1, 2, 3].map(|n| CosigningKey::generate(&format!("witness.example/w{n}"), [n + 10; 32]).unwrap());
        let mut policy = format!("log {}\n", key(1).verifier().to_text());
        for (n, witness) in (1..).zip(&witnesses) {
            policy.push_str(&format!("witness w{n} {}\n", witness.verifier().to_text()));
        }
        (TrustPolicy::parse(&format!("{policy}group two 2 w1 w2 w3\nquorum two\n")).unwrap(), witnesses)
    }

    fn cosign(note: &str, by: &[(&CosigningKey, u64)]) -> String {
        let text = format!("{}\n", note.split("\n\n").next().unwrap());
        let lines: String = by.iter().map(|(witness, time)| witness.cosign(&text, *time)).collect();
        format!("{note}{lines}")
    }

    #[test]
    fn a_cosigned_checkpoint_that_leaves_the_entry_out_after_its_time_breaks_the_promise() {
        let entries = entries();
        let text = receipt(&entries);
        let (policy, [a, b, c]) = watched();
        let held = |note: &str, proof: Option<&str>, policy: &TrustPolicy| {
            let at = Timestamp(BY_MS + 3_600_000);
            check(&text, Shown { proof, checkpoint: Some(note), at }, policy).unwrap()
        };
        let without = checkpoint(&entries[..7], &key(1));
        let late = cosign(&without, &[(&a, LATE), (&b, LATE + 9)]);
        let broken = held(&late, None, &policy);
        assert!(broken.is_left_out && broken.is_broken() && !broken.is_contradicted, "{broken}");
        assert!(broken.findings[0].what.contains("9 seconds after a checkpoint had to cover entry 7"), "{broken}");
        assert!(broken.to_string().contains("for entry 7: broken\n"), "{broken}");
        let json = broken.to_json();
        assert_eq!(
            (&json["broken"], &json["checkpoint"]["size"], &json["overdue"]),
            (&true.into(), &7.into(), &true.into())
        );
        assert_eq!(json["checkpoint"]["cosigned"].as_array().map(Vec::len), Some(2));
        // What stands there by now came late.
        let proven = proof(&entries, 7, Some(entries[7].clone()));
        let kept_late = held(&late, Some(&proven), &policy);
        assert!(kept_late.is_left_out && kept_late.redeemed == Some(300), "{kept_late}");
        assert!(kept_late.to_string().contains("for entry 7: kept late\n"), "{kept_late}");

        // One witness that was not asked for long cosigns the old one for anybody; nor does a time that is yet to come count,
        // nor a witness whom the policy does not know.
        let (second, future) = (LATE - 1, LATE + 86_400);
        let stranger = CosigningKey::generate("witness.example/w9", [99; 32]).unwrap();
        for cosigned in [
            vec![],
            vec![(&a, LATE)],
            vec![(&a, second), (&b, second), (&c, second)],
            vec![(&a, LATE), (&b, second)],
            vec![(&a, LATE), (&b, future)],
            vec![(&a, LATE), (&stranger, LATE)],
        ] {
            let told = held(&cosign(&without, &cosigned), None, &policy);
            assert!(!told.is_broken() && told.overdue_ms.is_some(), "{cosigned:?}: {told}");
            assert!(told.warnings[0].what.contains("no quorum of witnesses"), "{told}");
        }
        // Without witnesses nothing tells when a checkpoint was there.
        let told = held(&late, None, &TrustPolicy::of_keys(public(&[1])));
        assert!(!told.is_broken() && told.warnings[0].what.contains("no quorum of witnesses"), "{told}");

        // Whoever has a checkpoint over the entry from before the time has kept the promise, whatever was signed afterwards.
        let evidence = proof_of(&entries, 7);
        let early = Evidence { note: cosign(&evidence.note, &[(&a, second), (&b, second)]), ..evidence.clone() };
        let kept = held(&late, Some(&early.to_text()), &policy);
        assert!(kept.is_ok() && kept.warnings[0].what.contains("was cosigned in time"), "{kept}");
        let half = Evidence { note: cosign(&evidence.note, &[(&a, second), (&b, LATE)]), ..evidence };
        assert!(held(&late, Some(&half.to_text()), &policy).is_left_out);

        // One more entry, and it says nothing against the log, nor for it.
        let with = cosign(&checkpoint(&entries[..8], &key(1)), &[(&a, LATE), (&b, LATE)]);
        let told = held(&with, None, &policy);
        assert!(!told.is_broken() && told.overdue_ms.is_some(), "{told}");
        assert!(told.warnings[0].what.contains("a proof says"), "{told}");
        // Nor does somebody else's.
        let foreign = cosign(&checkpoint(&entries[..7], &key(2)), &[(&a, LATE), (&b, LATE)]);
        let told = held(&foreign, None, &policy);
        assert!(!told.is_broken() && told.findings[0].what.contains("none of this log"), "{told}");
    }

    /// An honest plant had its checkpoint cosigned by one of two witnesses, in time; somebody brings an old one to the other.
    #[test]
    fn a_quorum_that_need_not_share_a_witness_with_another_proves_nothing_against_a_plant() {
        let entries = entries();
        let text = receipt(&entries);
        let (three, [a, b, c]) = watched();
        let of = |quorum: &str| {
            let text = three.to_text();
            let lines = text.lines().filter(|line| line.starts_with("log ") || line.starts_with("witness "));
            TrustPolicy::parse(&format!("{}\n{quorum}\n", lines.collect::<Vec<_>>().join("\n"))).unwrap()
        };
        let without = checkpoint(&entries[..7], &key(1));
        let held = |cosigned: &[(&CosigningKey, u64)], quorum: &str| {
            let note = cosign(&without, cosigned);
            let shown = Shown { proof: None, checkpoint: Some(&note), at: Timestamp(BY_MS + 3_600_000) };
            check(&text, shown, &of(quorum)).unwrap()
        };
        for (quorum, cosigned, broken) in [
            ("group g any w1 w2\nquorum g", &[(&a, LATE)][..], false),
            // Nobody is left who can have cosigned another one in time.
            ("group g any w1 w2\nquorum g", &[(&a, LATE), (&b, LATE)], true),
            ("group g any w1 w2 w3\nquorum g", &[(&a, LATE), (&b, LATE)], false),
            ("group x any w1 w2\ngroup g all x w3\nquorum g", &[(&a, LATE), (&c, LATE)], true),
            ("quorum w1", &[(&a, LATE)], true),
        ] {
            let told = held(cosigned, quorum);
            assert_eq!((told.is_left_out, told.is_broken()), (broken, broken), "{quorum}: {told}");
            assert!(!told.is_ok() && told.overdue_ms.is_some(), "{quorum}: {told}");
            let asks =
                told.warnings.iter().any(|warning| warning.what.contains("quorums of this policy need not share"));
            assert_eq!(asks, !broken, "{quorum}: {told}");
        }
        let told = held(&[(&a, LATE)], "group g any w1 w2 w3\nquorum g");
        let said = &told.warnings[0].what;
        assert!(said.contains("without these `w2`, `w3` can have cosigned one in time"), "{said}");
        assert!(said.ends_with("by a policy whose quorums overlap"), "{said}");
    }

    #[test]
    fn two_keys_that_contradict_each_other_are_both_named() {
        let entries = entries();
        // By key 1, which is the log's; and by key 2, which was retired and is somebody else's by now.
        let text = receipt(&entries);
        let mut forged = entries.clone();
        forged[7] = entries[8].clone();
        let proof = |keys: &[u8]| {
            let proof = signed_by(proof_of(&forged, 7), &forged, keys);
            Evidence { extra: Some(forged[7].clone()), ..proof }.to_text()
        };
        let [own, other] = [1, 2].map(|seed| key(seed).verifier().to_text());
        let broken = by(&text, Some(&proof(&[2])), &[2, 1]);
        assert!(broken.is_contradicted && broken.findings[0].what.contains("two have signed"), "{broken}");
        let said = broken.to_string();
        assert!(
            said.contains(&format!("  signed         by {own}\n"))
                && said.contains(&format!("  proof signed   by {other}\n")),
            "{said}"
        );
        let json = broken.to_json();
        assert_eq!(
            (&json["signed_by"], &json["proof_signed_by"]),
            (&serde_json::json!(own), &serde_json::json!([other]))
        );
        for keys in [&[1][..], &[2, 1]] {
            let broken = by(&text, Some(&proof(keys)), &[2, 1]);
            assert!(broken.is_contradicted && !broken.findings[0].what.contains("two have signed"), "{broken}");
        }
        // A line in a known key's name that is not its signature refuses the whole note.
        let good = signed_by(proof_of(&entries, 7), &entries, &[1]);
        let bad = signed_by(proof_of(&forged, 7), &forged, &[2]).note;
        let mixed = Evidence { note: format!("{}{}\n", good.note, bad.split('\n').nth(4).unwrap()), ..good };
        let mixed = by(&text, Some(&mixed.to_text()), &[2, 1]);
        assert!(!mixed.is_ok() && mixed.findings[0].what.contains("does not verify"), "{mixed}");
    }

    #[test]
    fn what_the_log_did_not_sign_binds_nobody() {
        let entries = entries();
        let text = receipt(&entries);
        let forged = text.replace("index=7", "index=6");
        assert!(!checked(&forged, None).is_ok());
        assert!(!by(&text, None, &[2]).is_ok() && !by(&text, None, &[]).is_ok());
        assert!(check("nonsense", shown(None), &TrustPolicy::of_keys(public(&[1]))).is_err());
        let hostile = checked(&text.replace("plant.example/log", "\u{1b}[2J\nfine"), None).to_string();
        assert!(!hostile.contains('\u{1b}') && !hostile.contains("\nfine"), "{hostile}");
        assert!(!checked(&text, Some("nonsense")).is_ok());
    }
}
