//! Receipts: a log's signed promise that the entry of a request stands at an index and that a checkpoint will cover it by a
//! certain time.
//!
//! One signature stands for entries that follow one another and are durable: it is over the root of the tree of their hashes,
//! each together with that of its request's id, and each receipt has its entry's path to that root. Whoever holds a receipt
//! needs nothing else to hold the log to it: a checkpoint that does not come in time, a proof of another entry at that index,
//! or the entry itself where it is of another request, is evidence against whoever signed.

use crate::note::{self, NoteError, Signer, SigningKey, VerifierKey};
use crate::proof::{self, ProofError, root_from_inclusion};
use crate::{Hash, leaf_hash, node_hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The first line of what is signed. No checkpoint begins so: its first line is the log's origin, and its second a number.
const FIRST_LINE: &str = "millgate-receipt/2";
/// The header of an answer that holds it.
pub const HEADER: &str = "audit-receipt";
/// Of key id and Ed25519 signature.
const SIGNATURE_BYTES: usize = 4 + 64;
/// A header is not longer.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// An entry that is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The hash of the entry.
    pub leaf: Hash,
    /// The id of its request. That it is of none is promised too, as an empty text.
    pub request: Option<Arc<str>>,
}

impl Promised {
    fn request(&self) -> &str {
        self.request.as_deref().unwrap_or_default()
    }
}

/// What stands for an entry in the tree that is signed. Both are hashes, so neither can take a part of the other.
fn bound(leaf: Hash, request: &str) -> Hash {
    node_hash(leaf, leaf_hash(request.as_bytes()))
}

/// What is promised of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The log's origin, which is also the name of its key.
    pub origin: String,
    pub index: u64,
    /// The id of the entry's request; empty where it is of none.
    pub request: String,
    /// The hash of the entry.
    pub leaf: Hash,
    /// The first of the entries that the signature stands for, and how many there are.
    pub first: u64,
    pub count: u64,
    /// From the sibling of what stands for the entry to the child of the root over these entries.
    pub path: Vec<Hash>,
    /// When the last of them was durable, in milliseconds since 1970 by the log's clock.
    pub time_ms: i64,
    /// By when a checkpoint covers it.
    pub by_ms: i64,
    /// Key id and signature, as in a signed note.
    pub signature: Vec<u8>,
}

/// Why a text is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("not a receipt: `{0}` is missing, stands twice or is malformed")]
    Member(&'static str),
    #[error("not a receipt: a dictionary of RFC 9651 is expected")]
    Form,
}

/// Why a receipt does not bind the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotBind {
    #[error("the receipt is of log `{found}`; the key is that of `{expected}`")]
    Origin { expected: String, found: String },
    #[error("the entry is not among those that the receipt was signed for: {0}")]
    Path(#[from] ProofError),
    #[error("{0}")]
    Signature(#[from] NoteError),
}

fn promise(origin: &str, first: u64, count: u64, root: Hash, time_ms: i64, by_ms: i64) -> String {
    format!("{FIRST_LINE}\n{origin}\n{first}\n{count}\n{}\n{time_ms}\n{by_ms}\n", root.to_base64())
}

impl Receipt {
    /// As the value of a header: a dictionary of RFC 9651.
    pub fn to_text(&self) -> String {
        let bytes = |bytes: &[u8]| format!(":{}:", STANDARD.encode(bytes));
        let path: Vec<String> = self.path.iter().map(|hash| bytes(&hash.0)).collect();
        format!(
            "origin={}, index={}, request={}, leaf={}, first={}, count={}, path=({}), time={}, by={}, sig={}",
            quoted(&self.origin),
            self.index,
            quoted(&self.request),
            bytes(&self.leaf.0),
            self.first,
            self.count,
            path.join(" "),
            self.time_ms,
            self.by_ms,
            bytes(&self.signature)
        )
    }

    /// # Errors
    /// The member that is missing or malformed. Others than those of [`Receipt::to_text`] are ignored.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ReceiptError::Form);
        }
        let members = members(text).ok_or(ReceiptError::Form)?;
        let get = |name: &'static str| {
            let mut found = members.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value);
            found.next().filter(|_| found.next().is_none()).ok_or(ReceiptError::Member(name))
        };
        let number = |name| get(name)?.parse::<u64>().map_err(|_| ReceiptError::Member(name));
        let time = |name| get(name)?.parse::<i64>().map_err(|_| ReceiptError::Member(name));
        let bytes = |value: &str| STANDARD.decode(value.strip_prefix(':')?.strip_suffix(':')?).ok();
        let hash = |value: &str| bytes(value).and_then(|bytes| Hash::from_slice(&bytes));
        let string = |name| unquoted(get(name)?).ok_or(ReceiptError::Member(name));
        let path = get("path")?.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let path = path.and_then(|list| list.split(' ').filter(|item| !item.is_empty()).map(hash).collect());
        Ok(Self {
            origin: string("origin")?,
            index: number("index")?,
            request: string("request")?,
            leaf: hash(get("leaf")?).ok_or(ReceiptError::Member("leaf"))?,
            first: number("first")?,
            count: number("count")?,
            path: path.ok_or(ReceiptError::Member("path"))?,
            time_ms: time("time")?,
            by_ms: time("by")?,
            signature: bytes(get("sig")?).ok_or(ReceiptError::Member("sig"))?,
        })
    }

    /// [`Receipt::parse`] of a header as it was noted down: its value, with white space around it, with or without its name.
    ///
    /// # Errors
    /// As [`Receipt::parse`].
    pub fn of_header(text: &str) -> Result<Self, ReceiptError> {
        let text = text.trim();
        let name = text
            .get(..HEADER.len() + 1)
            .filter(|name| name.strip_suffix(':').is_some_and(|name| name.eq_ignore_ascii_case(HEADER)));
        Self::parse(name.map_or(text, |name| text.get(name.len()..).unwrap_or_default()).trim())
    }

    /// Checks that whoever holds the log's key has signed this.
    ///
    /// # Errors
    /// Why it binds nobody.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), DoesNotBind> {
        if self.origin != key.name() {
            return Err(DoesNotBind::Origin { expected: key.name().to_owned(), found: self.origin.clone() });
        }
        let at = self.index.checked_sub(self.first).ok_or(ProofError::Index { index: self.index, size: 0 })?;
        let root = root_from_inclusion(bound(self.leaf, &self.request), at, self.count, &self.path)?;
        let text = promise(&self.origin, self.first, self.count, root, self.time_ms, self.by_ms);
        let note = note::assemble(&text, &self.origin, &self.signature);
        note::verify(&note, std::slice::from_ref(key))?;
        Ok(())
    }
}

/// A string of RFC 9651.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What [`quoted`] was given; `None` where a quote or a backslash is not escaped.
fn unquoted(text: &str) -> Option<String> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return None,
            '\\' => out.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => out.push(c),
        }
    }
    Some(out)
}

/// The members of a dictionary, values as they stand there. Quotes and brackets hold commas.
fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    let (mut quoted, mut listed, mut escaped) = (false, false, false);
    let members = text.split(|c: char| {
        let is_escaped = escaped;
        escaped = quoted && !is_escaped && c == '\\';
        match c {
            '"' if !is_escaped => quoted = !quoted,
            '(' | ')' if !quoted => listed = c == '(',
            _ => {}
        }
        c == ',' && !quoted && !listed
    });
    members.map(|member| member.trim_matches([' ', '\t']).split_once('=')).collect()
}

/// Durable entries that follow one another, and the signature over them: what their receipts are made from.
#[derive(Debug)]
pub struct Signed {
    origin: String,
    first: u64,
    entries: Vec<Promised>,
    /// Complete subtrees by level, from what stands for each entry on.
    levels: Vec<Vec<Hash>>,
    time_ms: i64,
    by_ms: i64,
    signature: Vec<u8>,
}

impl Signed {
    /// Signs the promise for `entries`, those from `first` on, with a key in memory.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(
        key: &SigningKey,
        first: u64,
        entries: Vec<Promised>,
        time_ms: i64,
        by_ms: i64,
    ) -> Result<Self, NoteError> {
        Self::with(key.verifier(), first, entries, (time_ms, by_ms), |text| Ok(key.signature(text)))
    }

    /// The same by whoever holds the key: it may take its time, and its answer is verified.
    ///
    /// # Errors
    /// When there are none, or there is no signature that verifies.
    pub fn by(
        signer: &(impl Signer + ?Sized),
        first: u64,
        entries: Vec<Promised>,
        time_ms: i64,
        by_ms: i64,
    ) -> Result<Self, NoteError> {
        Self::with(signer.verifier(), first, entries, (time_ms, by_ms), |text| note::signature(signer, text))
    }

    fn with(
        key: &VerifierKey,
        first: u64,
        entries: Vec<Promised>,
        (time_ms, by_ms): (i64, i64),
        sign: impl FnOnce(&str) -> Result<[u8; 64], NoteError>,
    ) -> Result<Self, NoteError> {
        let origin = key.name().to_owned();
        let count = entries.len() as u64;
        let mut levels: Vec<Vec<Hash>> = vec![entries.iter().map(|entry| bound(entry.leaf, entry.request())).collect()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let pairs = below.as_chunks::<2>().0;
            levels.push(pairs.iter().map(|[left, right]| node_hash(*left, *right)).collect());
        }
        let mut signed = Self { origin, first, entries, levels, time_ms, by_ms, signature: Vec::new() };
        let lowest = signed.levels.first().and_then(|level| level.first().copied()).ok_or(NoteError::Form)?;
        let path = signed.path(0).ok_or(NoteError::Form)?;
        let root = root_from_inclusion(lowest, 0, count, &path).map_err(|_| NoteError::Form)?;
        let text = promise(&signed.origin, first, count, root, time_ms, by_ms);
        signed.signature = note::identified(key, &sign(&text)?);
        debug_assert_eq!(signed.signature.len(), SIGNATURE_BYTES);
        Ok(signed)
    }

    fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn path(&self, at: u64) -> Option<Vec<Hash>> {
        let fetch =
            |level: u8, index: u64| self.levels.get(usize::from(level))?.get(usize::try_from(index).ok()?).copied();
        proof::inclusion(at, self.count(), fetch).ok()
    }

    /// The receipt for the entry with this index; `None` when it is not among these.
    pub fn receipt(&self, index: u64) -> Option<Receipt> {
        let at = index.checked_sub(self.first)?;
        let entry = self.entries.get(usize::try_from(at).ok()?)?;
        Some(Receipt {
            origin: self.origin.clone(),
            index,
            request: entry.request().to_owned(),
            leaf: entry.leaf,
            first: self.first,
            count: self.count(),
            path: self.path(at)?,
            time_ms: self.time_ms,
            by_ms: self.by_ms,
            signature: self.signature.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, known};
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate("plant.example/log", [seed; 32]).unwrap()
    }

    /// Each of another request, but for every fifth, which is of none.
    fn entries(count: u64) -> Vec<Promised> {
        let request = |at: u64| (at % 5 != 4).then(|| format!("01a20522-59ec-7312-8079-{at:012}").into());
        (0..).zip(known::leaves(count)).map(|(at, leaf)| Promised { leaf, request: request(at) }).collect()
    }

    fn signed(first: u64, count: u64) -> Signed {
        Signed::new(&key(9), first, entries(count), 1_795_375_200_123, 1_795_375_260_123).unwrap()
    }

    #[test]
    fn every_entry_of_a_batch_has_a_receipt_that_binds() {
        for count in [1, 2, 3, 7, 8, 100, 1024] {
            let signed = signed(1_000, count);
            for index in (1_000..1_000 + count).step_by(count as usize / 7 + 1).chain([999 + count]) {
                let receipt = signed.receipt(index).unwrap();
                assert_eq!(receipt.request.is_empty(), (index - 1_000) % 5 == 4);
                assert_eq!(Receipt::parse(&receipt.to_text()), Ok(receipt.clone()));
                assert_eq!(receipt.verify(key(9).verifier()), Ok(()), "{index} of {count}");
                assert!(receipt.to_text().len() < 900, "{}", receipt.to_text());
            }
            assert!(signed.receipt(999).is_none() && signed.receipt(1_000 + count).is_none());
        }
        assert!(Signed::new(&key(9), 0, Vec::new(), 0, 0).is_err());
    }

    #[test]
    fn a_header_is_taken_as_it_was_noted_down() {
        let good = signed(1_000, 3).receipt(1_001).unwrap();
        for text in ["{}", "  {}\r\n", "Audit-Receipt: {}\n", "audit-receipt:{}"] {
            assert_eq!(Receipt::of_header(&text.replace("{}", &good.to_text())).as_ref(), Ok(&good), "{text}");
        }
        assert!(Receipt::of_header("audit-receipt:").is_err() && Receipt::of_header("é").is_err());
    }

    #[test]
    fn any_origin_can_stand_in_a_header() {
        let origin = r#"a\"b,(c=)\"#;
        let key = SigningKey::generate(origin, [9; 32]).unwrap();
        let receipt = Signed::new(&key, 3, entries(2), 0, 1).unwrap().receipt(4).unwrap();
        let read = Receipt::parse(&receipt.to_text()).unwrap();
        assert_eq!((read.verify(key.verifier()), read.origin.as_str()), (Ok(()), origin));
    }

    #[test]
    fn nothing_of_a_receipt_can_be_changed() {
        let good = signed(1_000, 11).receipt(1_004).unwrap();
        let binds = |receipt: &Receipt| receipt.verify(key(9).verifier()).is_ok();
        assert!(binds(&good));
        let other = known::leaves(20)[19];
        let mut path = good.path.clone();
        path[1] = other;
        let mut signature = good.signature.clone();
        signature[20] ^= 1;
        for bad in [
            Receipt { origin: String::from("other.example/log"), ..good.clone() },
            Receipt { index: 1_005, ..good.clone() },
            Receipt { index: 999, ..good.clone() },
            Receipt { index: u64::MAX, ..good.clone() },
            Receipt { leaf: other, ..good.clone() },
            Receipt { request: String::from("01a20522-59ec-7312-8079-000000000003"), ..good.clone() },
            Receipt { request: String::from("x"), ..good.clone() },
            Receipt { first: 1_001, index: 1_005, ..good.clone() },
            Receipt { count: 12, ..good.clone() },
            Receipt { count: 0, ..good.clone() },
            Receipt { path, ..good.clone() },
            Receipt { path: Vec::new(), ..good.clone() },
            Receipt { time_ms: 0, ..good.clone() },
            Receipt { by_ms: i64::MAX, ..good.clone() },
            Receipt { signature, ..good.clone() },
            Receipt { signature: Vec::new(), ..good.clone() },
        ] {
            assert!(!binds(&bad), "{bad:?}");
        }
        assert!(good.verify(key(8).verifier()).is_err());
    }

    /// What is signed, put together without any code of ours but the hashes and the signature, as the format is described.
    #[test]
    fn the_request_is_under_the_signature_as_the_format_says() {
        let receipt = signed(1_000, 2).receipt(1_001).unwrap();
        let stands_for = node_hash(receipt.leaf, leaf_hash(b"01a20522-59ec-7312-8079-000000000001"));
        let root = node_hash(receipt.path[0], stands_for).to_base64();
        let text = format!("millgate-receipt/2\nplant.example/log\n1000\n2\n{root}\n1795375200123\n1795375260123\n");
        let note = note::assemble(&text, "plant.example/log", &receipt.signature);
        assert!(note::verify(&note, &[key(9).verifier().clone()]).is_ok());
    }

    /// The entry at 4 is of no request.
    #[test]
    fn that_an_entry_is_of_no_request_is_promised_too() {
        let good = signed(1_000, 11).receipt(1_004).unwrap();
        assert!(good.request.is_empty() && good.to_text().contains("request=\"\""), "{}", good.to_text());
        let bad = Receipt { request: String::from("01a20522-59ec-7312-8079-000000000004"), ..good.clone() };
        assert!(good.verify(key(9).verifier()).is_ok() && bad.verify(key(9).verifier()).is_err());
    }

    /// A promise must not pass for a checkpoint of the log, nor a checkpoint for a promise.
    #[test]
    fn what_is_signed_is_no_checkpoint() {
        let signed = signed(3, 1);
        let root = bound(entries(1)[0].leaf, entries(1)[0].request());
        let text = promise("plant.example/log", 3, 1, root, 1_795_375_200_123, 1_795_375_260_123);
        let note = note::assemble(&text, "plant.example/log", &signed.signature);
        assert!(note::verify(&note, &[key(9).verifier().clone()]).is_ok(), "it is signed");
        assert!(Checkpoint::open(&note, key(9).verifier()).is_err());
        let strange = SigningKey::generate(FIRST_LINE, [9; 32]).unwrap();
        let strange = Signed::new(&strange, 3, entries(1), 0, 1).unwrap();
        let text = promise(FIRST_LINE, 3, 1, root, 0, 1);
        let note = note::assemble(&text, FIRST_LINE, &strange.signature);
        let key = SigningKey::generate(FIRST_LINE, [9; 32]).unwrap();
        assert!(Checkpoint::open(&note, key.verifier()).is_err());
    }

    #[test]
    fn texts_that_are_no_receipts_are_refused() {
        let good = signed(1_000, 3).receipt(1_001).unwrap().to_text();
        for (from, to, member) in [
            ("origin=\"plant.example/log\", ", "", "origin"),
            ("index=1001", "index=-1", "index"),
            // As receipts of the first version were.
            (", request=\"01a20522-59ec-7312-8079-000000000001\"", "", "request"),
            ("request=\"", "request=x\"", "request"),
            ("request=\"", "request=\"\", request=\"", "request"),
            ("leaf=:", "leaf=", "leaf"),
            ("path=(", "path=", "path"),
            ("path=(:", "path=(:AAAA: :", "path"),
            ("count=3", "count=3, count=3", "count"),
            ("by=", "bye=", "by"),
            ("sig=:", "sig=?", "sig"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(Receipt::parse(&bad), Err(ReceiptError::Member(member)), "{bad}");
        }
        assert_eq!(Receipt::parse("nonsense"), Err(ReceiptError::Form));
        assert_eq!(Receipt::parse(&" ".repeat(20_000)), Err(ReceiptError::Form));
        assert!(Receipt::parse(&format!("{good}, more=?1, and=\"a, b\"")).is_ok());
    }

    proptest! {
        #[test]
        fn a_receipt_binds_to_its_own_request_and_to_no_other(
            requests in prop::collection::vec(prop::option::of("[ -~]{0,40}"), 1..20),
            picked in any::<prop::sample::Index>(),
            other in "[ -~]{0,40}",
        ) {
            let promised = |(leaf, request): (Hash, &Option<String>)| {
                Promised { leaf, request: request.as_deref().map(Arc::from) }
            };
            let entries: Vec<_> = known::leaves(requests.len() as u64).into_iter().zip(&requests).map(promised).collect();
            let at = picked.index(requests.len());
            let receipt = Signed::new(&key(9), 7, entries, 0, 1).unwrap().receipt(7 + at as u64).unwrap();
            let read = Receipt::parse(&receipt.to_text());
            prop_assert_eq!(read.as_ref(), Ok(&receipt));
            prop_assert_eq!(&receipt.request, requests[at].as_deref().unwrap_or_default());
            prop_assert!(receipt.verify(key(9).verifier()).is_ok());
            let is_same = other == receipt.request;
            let altered = Receipt { request: other, ..receipt };
            prop_assert_eq!(altered.verify(key(9).verifier()).is_ok(), is_same);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "([a-z]{1,3}=|[0-9]{1,3}|:[A-Za-z0-9/+]{4}:|[\"(), ]){0,12}") {
            let _ = Receipt::parse(&text);
        }
    }
}
