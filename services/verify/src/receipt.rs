//! The check of a receipt: does it bind the log, and has the log kept the promise?

use crate::findings::printable;
use crate::report::{Finding, signed_lines};
use crate::verdict::Point;
use model::Timestamp;
use serde_json::{Value, json};
use std::fmt;
use tlog::evidence::Evidence;
use tlog::receipt::{Receipt, ReceiptError};
use tlog::{VerifierKey, leaf_hash};

/// The result of one check.
#[derive(Clone, Debug)]
pub struct ReceiptReport {
    pub receipt: Receipt,
    /// Entries under the checkpoint that covers the entry, if a proof was shown.
    pub redeemed: Option<u64>,
    /// The log has signed that another entry stands there: receipt and proof are evidence against whoever holds its key, or its
    /// keys.
    pub is_contradicted: bool,
    /// The key of the log that has signed the receipt, and those that have signed the proof.
    pub signed_by: Option<String>,
    pub proof_signed_by: Vec<String>,
    pub findings: Vec<Finding>,
}

/// Checks the receipt in `text`, a header's value or the header, and the proof of its entry, if there is one.
///
/// # Errors
/// When the text is no receipt.
pub fn check(text: &str, proof: Option<&str>, key: &VerifierKey) -> Result<ReceiptReport, ReceiptError> {
    check_by(text, proof, std::slice::from_ref(key))
}

/// The same by several keys of the log: what one has promised another may keep.
///
/// # Errors
/// As [`check`].
pub fn check_by(text: &str, proof: Option<&str>, keys: &[VerifierKey]) -> Result<ReceiptReport, ReceiptError> {
    let receipt = Receipt::of_header(text)?;
    let mut report = ReceiptReport {
        receipt,
        redeemed: None,
        is_contradicted: false,
        signed_by: None,
        proof_signed_by: Vec::new(),
        findings: Vec::new(),
    };
    let signed = keys.iter().map(|key| report.receipt.verify(key).map(|()| key)).reduce(Result::or);
    match signed {
        Some(Err(error)) => report.finding(format!("it binds nobody: {error}")),
        Some(Ok(key)) => {
            report.signed_by = Some(key.to_text());
            match proof.map(Evidence::parse) {
                Some(Ok(proof)) => report.redeem(&proof, keys),
                Some(Err(error)) => report.finding(format!("the proof is none: {error}")),
                None => {}
            }
        }
        None => report.finding("there is no key to judge it by"),
    }
    Ok(report)
}

impl ReceiptReport {
    fn finding(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { check: Point::Receipt, what: printable(&what.into()), entries: None });
    }

    fn redeem(&mut self, proof: &Evidence, keys: &[VerifierKey]) {
        if proof.index != self.receipt.index {
            return self.finding(format!("the proof is of entry {}, not of {}", proof.index, self.receipt.index));
        }
        let texts = |signers: Vec<&VerifierKey>| signers.iter().map(|key| key.to_text()).collect();
        match proof.verify_any(self.receipt.leaf, keys) {
            Ok((checkpoint, signers)) => {
                (self.redeemed, self.proof_signed_by) = (Some(checkpoint.size), texts(signers))
            }
            Err(error) => {
                let other = proof.extra.as_deref().and_then(|extra| extra.split(|byte| *byte == b'\n').next());
                match other.and_then(|other| proof.verify_any(leaf_hash(other), keys).ok()) {
                    Some((_, signers)) => {
                        self.proof_signed_by = texts(signers);
                        self.contradicted();
                    }
                    None => self.finding(format!("the proof does not hold for the promised entry: {error}")),
                }
            }
        }
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

    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.is_ok(),
            "origin": self.receipt.origin,
            "index": self.receipt.index,
            "leaf": self.receipt.leaf.to_string(),
            "durable": Timestamp(self.receipt.time_ms).to_rfc3339(),
            "checkpoint_by": Timestamp(self.receipt.by_ms).to_rfc3339(),
            "redeemed": self.redeemed,
            "contradicted": self.is_contradicted,
            "signed_by": self.signed_by,
            "proof_signed_by": self.proof_signed_by,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for ReceiptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_ok(), self.redeemed) {
            (true, Some(_)) => "kept",
            (true, None) => "binds the log",
            (false, _) if self.is_contradicted => "broken",
            (false, _) => "not kept",
        };
        let Receipt { origin, index, leaf, time_ms, by_ms, .. } = &self.receipt;
        writeln!(f, "receipt of log {} for entry {index}: {verdict}", printable(origin))?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        writeln!(f, "  hash           {leaf}")?;
        writeln!(f, "  durable        {}", Timestamp(*time_ms).to_rfc3339())?;
        writeln!(f, "  checkpoint by  {}", Timestamp(*by_ms).to_rfc3339())?;
        signed_lines(f, self.signed_by.as_slice())?;
        self.proof_signed_by.iter().try_for_each(|key| writeln!(f, "  proof signed   by {key}"))?;
        match self.redeemed {
            Some(size) => writeln!(f, "  redeemed       under a checkpoint of {size} entries"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::published::{key, seal, story};
    use crate::proof::tests::{proof_of, public, signed_by};
    use tlog::receipt::Signed;

    fn receipt(entries: &[Vec<u8>]) -> String {
        let leaves = entries[5..9].iter().map(|entry| leaf_hash(entry)).collect();
        Signed::new(&key(1), 5, leaves, 1_795_375_200_123, 1_795_375_260_123).unwrap().receipt(7).unwrap().to_text()
    }

    fn checked(text: &str, proof: Option<&str>) -> ReceiptReport {
        check(text, proof, key(1).verifier()).unwrap()
    }

    #[test]
    fn a_promise_is_kept_open_or_broken() {
        let entries = seal(&story(300));
        let text = receipt(&entries);
        let open = checked(&text, None);
        assert!(open.is_ok() && open.to_string().contains("binds the log"), "{open}");
        let proof = |entries: &[Vec<u8>], index, extra: Option<Vec<u8>>| {
            Evidence { extra, ..proof_of(entries, index) }.to_text()
        };
        for extra in [None, Some(entries[7].clone())] {
            let kept = checked(&text, Some(&proof(&entries, 7, extra)));
            assert_eq!((kept.is_ok(), kept.redeemed), (true, Some(300)));
            assert!(kept.to_string().contains("for entry 7: kept\n"), "{kept}");
        }
        // The operator has put another entry in its place, and signed that.
        let mut forged = entries.clone();
        forged[7] = entries[8].clone();
        let broken = checked(&text, Some(&proof(&forged, 7, Some(forged[7].clone()))));
        assert!(!broken.is_ok() && broken.is_contradicted);
        assert_eq!(broken.to_json()["contradicted"], true);
        // Without the other entry nobody can tell who forged what.
        let unclear = checked(&text, Some(&proof(&forged, 7, None)));
        assert!(!unclear.is_ok() && !unclear.is_contradicted);
        let other = checked(&text, Some(&proof(&entries, 8, None)));
        assert_eq!(other.findings[0].what, "the proof is of entry 8, not of 7");
    }

    #[test]
    fn two_keys_that_contradict_each_other_are_both_named() {
        let entries = seal(&story(300));
        // By key 1, which is the log's; and by key 2, which was retired and is somebody else's by now.
        let text = receipt(&entries);
        let mut forged = entries.clone();
        forged[7] = entries[8].clone();
        let proof = |keys: &[u8]| {
            let proof = signed_by(proof_of(&forged, 7), &forged, keys);
            Evidence { extra: Some(forged[7].clone()), ..proof }.to_text()
        };
        let [own, other] = [1, 2].map(|seed| key(seed).verifier().to_text());
        let known = public(&[2, 1]);
        let broken = check_by(&text, Some(&proof(&[2])), &known).unwrap();
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
            let broken = check_by(&text, Some(&proof(keys)), &known).unwrap();
            assert!(broken.is_contradicted && !broken.findings[0].what.contains("two have signed"), "{broken}");
        }
        // A line in a known key's name that is not its signature refuses the whole note.
        let good = signed_by(proof_of(&entries, 7), &entries, &[1]);
        let bad = signed_by(proof_of(&forged, 7), &forged, &[2]).note;
        let mixed = Evidence { note: format!("{}{}\n", good.note, bad.split('\n').nth(4).unwrap()), ..good };
        let mixed = check_by(&text, Some(&mixed.to_text()), &known).unwrap();
        assert!(!mixed.is_ok() && mixed.findings[0].what.contains("does not verify"), "{mixed}");
    }

    #[test]
    fn what_the_log_did_not_sign_binds_nobody() {
        let entries = seal(&story(300));
        let text = receipt(&entries);
        let forged = text.replace("index=7", "index=6");
        assert!(!checked(&forged, None).is_ok());
        assert!(!check(&text, None, key(2).verifier()).unwrap().is_ok());
        assert!(check("nonsense", None, key(1).verifier()).is_err());
        let hostile = checked(&text.replace("plant.example/log", "\u{1b}[2J\nfine"), None).to_string();
        assert!(!hostile.contains('\u{1b}') && !hostile.contains("\nfine"), "{hostile}");
        assert!(!checked(&text, Some("nonsense")).is_ok());
    }
}
