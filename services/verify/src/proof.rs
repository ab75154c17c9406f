//! The check of a proof of one entry: a file that says everything itself, but for the log's key.
//!
//! In `extra` stand one or two lines: the entry, and the values that are shown of what it commits to.

use crate::disclosed::{self, Disclosed};
use crate::findings::printable;
use crate::report::{Finding, cosigned_json, cosigned_lines};
use model::entry::Entry;
use serde_json::{Value, json};
use std::fmt;
use tlog::evidence::{Evidence, EvidenceError};
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
    pub findings: Vec<Finding>,
}

/// Checks the proof in `text`, of an entry that stands in it, or of `entry`.
///
/// # Errors
/// When the text is no proof.
pub fn check(text: &str, entry: Option<&[u8]>, key: &VerifierKey) -> Result<ProofReport, EvidenceError> {
    let evidence = Evidence::parse(text)?;
    let (origin, note) = (key.name().to_owned(), evidence.note.clone());
    let mut report = ProofReport { origin, note, index: evidence.index, ..ProofReport::default() };
    let extra = evidence.extra.as_deref().unwrap_or_default();
    let mut lines = extra.splitn(2, |byte| *byte == b'\n');
    let (shown, values) = (lines.next().unwrap_or_default(), lines.next());
    let bytes = entry.unwrap_or(shown);
    if bytes.is_empty() {
        report.finding("the proof does not hold the entry that it is about; name its file with `--entry`");
        return Ok(report);
    }
    if entry.is_some_and(|entry| !shown.is_empty() && entry != shown) {
        report.finding("the proof holds another entry than the one that was named");
    }
    report.entry = String::from_utf8_lossy(bytes).into_owned();
    match evidence.verify(leaf_hash(bytes), key) {
        Ok(checkpoint) => report.tree = Some((checkpoint.size, checkpoint.root.to_base64())),
        Err(error) => report.finding(error.to_string()),
    }
    match Entry::parse(bytes) {
        Ok(entry) => match disclosed::compare(&entry, values) {
            Ok(disclosed) => {
                for one in disclosed.iter().filter(|one| one.verdict.is_fault()) {
                    let what = format!("what is shown as `{}` is not what was recorded", one.class);
                    report.finding(what);
                }
                report.disclosed = disclosed;
            }
            Err(what) => report.finding(what),
        },
        Err(error) => report.finding(format!("what is proven is no entry of this log format: {error}")),
    }
    Ok(report)
}

impl ProofReport {
    fn finding(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { what: printable(&what.into()), entries: None });
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
            "origin": self.origin,
            "index": self.index,
            "size": self.tree.as_ref().map(|(size, _)| size),
            "root": self.tree.as_ref().map(|(_, root)| root),
            "entry": value(&self.entry),
            "cosigned": cosigned_json(&self.cosigned),
            "disclosed": disclosed.collect::<serde_json::Map<_, _>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for ProofReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "proven" } else { "not proven" };
        writeln!(f, "entry {} of log {}: {verdict}", self.index, self.origin)?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        if let Some((size, root)) = &self.tree {
            writeln!(f, "  tree           {size} entries, root {root}")?;
        }
        cosigned_lines(f, &self.cosigned)?;
        for one in &self.disclosed {
            let values = one.values.as_ref().map(|values| String::from_utf8_lossy(&values.encode()).into_owned());
            let values = values.map(|values| format!(": {}", printable(&values))).unwrap_or_default();
            writeln!(f, "  {:<14} {}{values}", printable(&one.class), one.verdict.as_str().replace('_', " "))?;
        }
        writeln!(f, "  entry          {}", crate::findings::printed(&self.entry))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log::published::{checkpoint, key, seal, story};

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
}
