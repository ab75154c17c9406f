//! The check of a proof of one entry: a file that says everything itself, but for the log's key.
//!
//! In `extra` stand one or two lines: the entry, and the values that are shown of what it commits to.

use crate::clocks::NO_WITNESSES;
use crate::disclosed::{self, Disclosed};
use crate::findings::{Findings, printable, worded};
use crate::keys::{Change, KeyRing, unopened};
use crate::report::{Finding, Found, cosigned_json, cosigned_lines, signed_lines};
use crate::verdict::{Point, Results};
use model::entry::Entry;
use serde_json::{Value, json};
use std::fmt;
use tlog::evidence::{DoesNotHold, Evidence, EvidenceError};
use tlog::{VerifierKey, leaf_hash};

/// The result of one check.
#[derive(Clone, Debug, Default)]
pub struct ProofReport {
    pub origin: String,
    pub index: u64,
    /// Entries under the checkpoint, and its root in base64; if it verified.
    pub tree: Option<(u64, String)>,
    /// The bytes that the proof is about.
    pub entry: String,
    pub disclosed: Vec<Disclosed>,
    /// The signed note of the checkpoint, and the witnesses of the trust policy that cosigned it.
    pub note: String,
    pub cosigned: Vec<(String, u64)>,
    /// The log's keys that signed it.
    pub signed_by: Vec<String>,
    /// What its checks have come to, beside what was found.
    pub verdict: Results,
    pub findings: Vec<Finding>,
}

/// Checks the proof in `text`, of an entry that stands in it, or of `entry`.
///
/// # Errors
/// When the text is no proof.
pub fn check(text: &str, entry: Option<&[u8]>, key: &VerifierKey) -> Result<ProofReport, EvidenceError> {
    check_by(text, entry, std::slice::from_ref(key))
}

/// The same by several keys of the log, any of which may have signed.
///
/// # Errors
/// As [`check`].
pub fn check_by(text: &str, entry: Option<&[u8]>, keys: &[VerifierKey]) -> Result<ProofReport, EvidenceError> {
    let evidence = Evidence::parse(text)?;
    let (origin, note) = (keys.first().map(VerifierKey::name).unwrap_or_default().to_owned(), evidence.note.clone());
    let mut report = ProofReport { origin, note, index: evidence.index, ..ProofReport::default() };
    report.verdict.not_done(Point::Cosignatures, NO_WITNESSES);
    let extra = evidence.extra.as_deref().unwrap_or_default();
    let mut lines = extra.splitn(2, |byte| *byte == b'\n');
    let (shown, values) = (lines.next().unwrap_or_default(), lines.next());
    let bytes = entry.unwrap_or(shown);
    if bytes.is_empty() {
        let what = "the proof does not hold the entry that it is about: name its file with `--entry`, or, where the proof was made for a \
                    receipt, check it with that by `millgate-verify receipt RECEIPT --proof FILE`";
        report.finding(Point::EntriesPresent, what);
        for point in [Point::CheckpointSignature, Point::EntryForm, Point::Tree, Point::Disclosures] {
            report.verdict.not_done(point, "there is no entry");
        }
        return Ok(report);
    }
    if entry.is_some_and(|entry| !shown.is_empty() && entry != shown) {
        report.finding(Point::EntriesPresent, "the proof holds another entry than the one that was named");
    }
    report.entry = String::from_utf8_lossy(bytes).into_owned();
    match evidence.verify_any(leaf_hash(bytes), keys) {
        Ok((checkpoint, signers)) => {
            report.signed_by = signers.iter().map(|key| key.to_text()).collect();
            report.tree = Some((checkpoint.size, checkpoint.root.to_base64()));
        }
        Err(DoesNotHold::Checkpoint(error)) => {
            let why = unopened(&error, &evidence.note, keys);
            report.finding(Point::CheckpointSignature, format!("the checkpoint: {why}"));
            report.verdict.not_done(Point::Tree, "the checkpoint does not verify");
        }
        Err(error @ DoesNotHold::Proof(_)) => report.finding(Point::Tree, error.to_string()),
    }
    let entry = Entry::parse(bytes);
    if let (Some(_), Some(change)) = (&report.tree, entry.as_ref().ok().and_then(Change::read)) {
        // A tree that retires a key is not signed by it.
        let mut ring = KeyRing::new(keys);
        ring.said(evidence.index, &change, &mut Findings::default());
        if let Err(why) = ring.judge(&evidence.note) {
            report.finding(Point::CheckpointSignature, format!("the checkpoint: {why}"));
        }
    }
    match entry {
        Ok(entry) => match disclosed::compare(&entry, values) {
            Ok(disclosed) => {
                for one in disclosed.iter().filter(|one| one.verdict.is_fault()) {
                    let what = format!("what is shown as `{}` is not what was recorded", one.class);
                    report.finding(Point::Disclosures, what);
                }
                if disclosed.iter().all(|one| one.verdict == disclosed::Verdict::NotShown) {
                    report.verdict.not_done(Point::Disclosures, "no values are shown");
                }
                report.disclosed = disclosed;
            }
            Err(what) => report.finding(Point::Disclosures, what),
        },
        Err(error) => {
            report.finding(Point::EntryForm, format!("what is proven is no entry of this log format: {error}"));
            report.verdict.not_done(Point::Disclosures, "there is no entry");
        }
    }
    Ok(report)
}

impl ProofReport {
    fn finding(&mut self, check: Point, what: impl Into<String>) {
        self.findings.push(Finding { check, what: worded(&what.into()), entries: None });
    }

    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn to_json(&self) -> Value {
        let text = |value: &model::Value| String::from_utf8_lossy(&value.encode()).into_owned();
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        let disclosed = self.disclosed.iter().map(|one| {
            let values = one.values.as_ref().and_then(|values| value(&text(values)));
            let said = json!({ "verdict": one.verdict.as_str(), "values": values });
            (one.class.clone(), said)
        });
        json!({
            "ok": self.is_ok(),
            "checks": self.verdict.to_json(&Point::OF_PROOF, &self.findings),
            "origin": self.origin,
            "index": self.index,
            "size": self.tree.as_ref().map(|(size, _)| size),
            "root": self.tree.as_ref().map(|(_, root)| root),
            "entry": value(&self.entry),
            "cosigned": cosigned_json(&self.cosigned),
            "signed_by": self.signed_by,
            "disclosed": disclosed.collect::<serde_json::Map<_, _>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for ProofReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "proven" } else { "not proven" };
        writeln!(f, "entry {} of log {}: {verdict}", self.index, self.origin)?;
        self.verdict.lines(f, &Point::OF_PROOF, &self.findings)?;
        Found { findings: &self.findings, findings_left_off: 0, warnings: &[], warnings_left_off: 0 }.lines(f)?;
        if let Some((size, root)) = &self.tree {
            writeln!(f, "  tree           {size} entries, root {root}")?;
        }
        signed_lines(f, &self.signed_by)?;
        cosigned_lines(f, &self.cosigned)?;
        for one in &self.disclosed {
            let values = one.values.as_ref().map(|values| String::from_utf8_lossy(&values.encode()).into_owned());
            let values = values.map(|values| format!(": {}", printable(&values))).unwrap_or_default();
            writeln!(f, "  {:<14} {}{values}", printable(&one.class), one.verdict.as_str().replace('_', " "))?;
        }
        if self.entry.is_empty() {
            return Ok(());
        }
        writeln!(f, "  entry          {}", crate::findings::printed(&self.entry))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log::published::{ORIGIN, Told, checkpoint, key, root, seal, story, told};
    use model::entry::Kind;

    /// Of entry `index` of a log that holds these.
    pub(crate) fn proof_of(entries: &[Vec<u8>], index: u64) -> Evidence {
        let (mut range, mut nodes) = (tlog::CompactRange::new(), std::collections::HashMap::new());
        for (at, entry) in (0_u64..).zip(entries) {
            range.push_visiting(leaf_hash(entry), |level, hash| {
                nodes.insert((level, at >> level), hash);
            });
        }
        let fetch = |level, index| nodes.get(&(level, index)).copied();
        let proof = tlog::proof::inclusion(index, range.size(), fetch).unwrap();
        Evidence { extra: None, index, proof, note: checkpoint(entries, &key(1)) }
    }

    fn proof(extra: impl Fn(&[u8]) -> Option<Vec<u8>>) -> (String, Vec<u8>) {
        let entries = seal(&story(300));
        let extra = extra(&entries[7]);
        (Evidence { extra, ..proof_of(&entries, 7) }.to_text(), entries[7].clone())
    }

    fn findings(text: &str, entry: Option<&[u8]>) -> Vec<String> {
        let report = check(text, entry, key(1).verifier()).unwrap();
        assert_eq!(report.is_ok(), report.findings.is_empty());
        report.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_proof_is_proven_with_the_entry_in_it_or_beside_it() {
        let (with, entry) = proof(|entry| Some(entry.to_vec()));
        assert!(findings(&with, None).is_empty() && findings(&with, Some(&entry)).is_empty());
        let report = check(&with, None, key(1).verifier()).unwrap();
        assert!(report.to_string().starts_with("entry 7 of log plant.example/log: proven\n"), "{report}");
        let json = report.to_json();
        assert_eq!((&json["ok"], &json["index"], &json["size"]), (&true.into(), &7.into(), &300.into()));
        assert_eq!(json["entry"], serde_json::from_slice::<Value>(&entry).unwrap());
        let (without, entry) = proof(|_| None);
        assert!(findings(&without, Some(&entry)).is_empty());
        assert_eq!(findings(&without, None).len(), 1);
    }

    #[test]
    fn other_entries_and_other_keys_are_not_proven() {
        let (with, entry) = proof(|entry| Some(entry.to_vec()));
        let mut changed = entry;
        let at = changed.iter().position(|byte| *byte == b'0').unwrap();
        changed[at] = b'1';
        assert!(!findings(&with, Some(&changed)).is_empty());
        let (forged, _) = proof(|_| Some(changed.clone()));
        assert_eq!(findings(&forged, None), ["the proof does not lead to the root"]);
        assert_eq!(check(&with, None, key(2).verifier()).unwrap().findings.len(), 1);
        assert!(check("nonsense", None, key(1).verifier()).is_err());
        let (shown, _) = proof(|entry| Some([entry, b"\n{\"subject\":{\"salt\":\"00\",\"values\":{}}}"].concat()));
        assert_eq!(findings(&shown, None), ["what is shown as `subject` is not what was recorded"]);
    }

    /// Its note signed by these.
    pub(crate) fn signed_by(evidence: Evidence, entries: &[Vec<u8>], keys: &[u8]) -> Evidence {
        let keys: Vec<tlog::SigningKey> = keys.iter().map(|seed| key(*seed)).collect();
        let checkpoint = tlog::Checkpoint::new(ORIGIN, entries.len() as u64, root(entries));
        Evidence { note: checkpoint.sign_all(&keys.iter().collect::<Vec<_>>()).unwrap(), ..evidence }
    }

    pub(crate) fn public(keys: &[u8]) -> Vec<VerifierKey> {
        keys.iter().map(|seed| key(*seed).verifier().clone()).collect()
    }

    #[test]
    fn a_retired_key_does_not_prove_that_it_was_retired() {
        let mut story = story(300);
        let text = |seed: u8| model::Value::text(key(seed).verifier().to_text());
        let members = vec![("event", model::Value::text("retired")), ("key", text(1)), ("signer", text(2))];
        story[151] = Told { organisation: None, members, ..told(Kind::Key, "") };
        let entries = seal(&story);
        let by = |keys: &[u8]| {
            let proof = Evidence { extra: Some(entries[151].clone()), ..proof_of(&entries, 151) };
            check_by(&signed_by(proof, &entries, keys).to_text(), None, &public(&[1, 2])).unwrap()
        };
        let by_old = by(&[1]);
        assert_eq!(by_old.findings.len(), 1, "{by_old}");
        assert!(by_old.findings[0].what.contains("signed by a key that entry 151 retired"), "{by_old}");
        let by_new = by(&[2]);
        assert!(by_new.is_ok() && by_new.signed_by == [key(2).verifier().to_text()], "{by_new}");
        assert_eq!(by_new.to_json()["signed_by"][0], key(2).verifier().to_text());
    }

    #[test]
    fn a_signature_that_was_changed_refuses_a_proof_whatever_the_other_says() {
        let entries = seal(&story(300));
        let good = Evidence { extra: Some(entries[7].clone()), ..signed_by(proof_of(&entries, 7), &entries, &[1, 2]) };
        let report = |text: &str| check_by(text, None, &public(&[1, 2])).unwrap();
        assert_eq!(report(&good.to_text()).signed_by.len(), 2);
        let lines: Vec<&str> = good.note.split('\n').collect();
        let forged = signed_by(proof_of(&entries[..299], 7), &entries[..299], &[2]).note;
        let bad = forged.split('\n').nth(4).unwrap();
        let mixed = Evidence { note: format!("{}\n{bad}\n", lines[..5].join("\n")), ..good };
        let mixed = report(&mixed.to_text());
        assert!(mixed.findings[0].what.contains("the signature of key `plant.example/log` does not verify"), "{mixed}");
    }
}
