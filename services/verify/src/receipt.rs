//! The check of a receipt: does it bind the log, and has the log kept the promise?
//!
//! A promise is broken for everybody to see by another entry in the place of the promised one, by an entry of another request
//! than the receipt says, and by a checkpoint that witnesses cosigned when it had to cover the entry and does not, if no quorum
//! can have cosigned another one in time without any of these. That there is no proof when the time is over says the same to
//! whoever has asked for one.

use crate::findings::{printable, worded};
use crate::keys::unopened;
use crate::report::{Finding, cosigned_json, cosigned_lines, count, signed_lines};
use crate::verdict::Point;
use model::Timestamp;
use model::entry::Entry;
use serde_json::{Value, json};
use std::fmt;
use tlog::evidence::Evidence;
use tlog::note::NoteError;
use tlog::receipt::{DoesNotBind, Receipt, ReceiptError};
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
        Some(Err(error)) => {
            let hint = match error {
                DoesNotBind::Signature(NoteError::NoKnownSignature) => {
                    ": is the key that you gave the right one, and all that the log has had since?"
                }
                DoesNotBind::Origin { .. } => ": give the key of that log",
                _ => "",
            };
            report.finding(format!("it binds nobody: {error}{hint}"));
        }
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
            Err(error) => {
                let why = unopened(&error, note, keys);
                return self.finding(format!("the checkpoint is none of this log: {why}"));
            }
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
mod tests;
