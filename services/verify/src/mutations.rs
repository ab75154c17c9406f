//! Whatever somebody does to the bytes of what is checked: no check panics, and none accepts it as something else than it was.

use crate::archive::{self, ArchiveReport};
use crate::log::published::{Published, key, seal, story};
use crate::monitor::{Files, Seen, Watch};
use crate::proof::tests::proof_of;
use crate::{log, proof, receipt};
use model::{Clock, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;
use std::path::PathBuf;
use std::sync::LazyLock;
use tlog::receipt::{Promised, Signed};
use tlog::{Evidence, TrustPolicy, leaf_hash};

const SIZE: u64 = 40;
const CASES: u32 = 128;

fn bounded() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// One thing done to some bytes.
#[derive(Clone, Debug)]
enum Done {
    Changed(Index, u8),
    Removed(Index, usize),
    Put(Index, Vec<u8>),
    Repeated(Index, usize),
    CutAt(Index),
}

fn done() -> impl Strategy<Value = Done> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 1_u8..).prop_map(|(at, by)| Done::Changed(at, by)),
        1 => (at(), 1_usize..600).prop_map(|(at, count)| Done::Removed(at, count)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Done::Put(at, bytes)),
        1 => (at(), 1_usize..600).prop_map(|(at, count)| Done::Repeated(at, count)),
        1 => at().prop_map(Done::CutAt),
    ]
}

impl Done {
    fn to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let place = |at: &Index, count: usize| {
            let at = at.index(bytes.len());
            at..(at + count).min(bytes.len())
        };
        match self {
            Self::Changed(at, by) => {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }
            Self::Removed(at, count) => {
                bytes.drain(place(at, *count));
            }
            Self::Put(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeated(at, count) => {
                let range = place(at, *count);
                let again = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, again);
            }
            Self::CutAt(at) => bytes.truncate(at.index(bytes.len())),
        }
        bytes
    }
}

/// What an archive is said to prove, but for what nobody has signed.
fn proven(report: &ArchiveReport) -> impl PartialEq + std::fmt::Debug {
    let ArchiveReport { tree, entries, indexes, numbers, organisations, contents, disclosed, open, .. } =
        report.clone();
    (tree, report.signed_by.clone(), (entries, indexes, numbers, organisations), (contents, disclosed, open))
}

fn check_archive(bytes: &[u8]) -> Option<ArchiveReport> {
    let report = archive::check(bytes, key(1).verifier(), |_| {}).ok()?;
    assert_tame(&report.to_string());
    report.to_json();
    Some(report)
}

fn assert_tame(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// One with contents and values that are shown.
static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let bytes = archive::tests::values::showing();
    let report = check_archive(&bytes).unwrap();
    assert!(report.is_ok() && report.contents > 0 && report.disclosed > 0, "{report}");
    bytes
});

/// Where the bytes stand that are under the signature: of the file of this name, or in this folder.
fn of_file(archive: &[u8], name: &str) -> std::ops::Range<usize> {
    let mut tar = tar::Archive::new(archive);
    let mut entries = tar.entries().unwrap().map(Result::unwrap);
    let entry = entries.find(|entry| entry.path_bytes().starts_with(name.as_bytes()) && entry.size() > 0).unwrap();
    let start = usize::try_from(entry.raw_file_position()).unwrap();
    start..start + usize::try_from(entry.size()).unwrap()
}

static ENTRIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seal(&story(SIZE)));
const AT: u64 = 7;
const BY_MS: i64 = 1_795_375_260_123;

static RECEIPT: LazyLock<String> = LazyLock::new(|| {
    let promised = |entry: &Vec<u8>| Promised { leaf: leaf_hash(entry), request: None };
    let promised = ENTRIES[5..9].iter().map(promised).collect();
    Signed::new(&key(1), 5, promised, BY_MS - 60_000, BY_MS).unwrap().receipt(AT).unwrap().to_text()
});

static PROOF: LazyLock<String> = LazyLock::new(|| {
    let extra = Some(ENTRIES[usize::try_from(AT).unwrap()].clone());
    Evidence { extra, ..proof_of(&ENTRIES, AT) }.to_text()
});

fn policy() -> TrustPolicy {
    TrustPolicy::of_log(key(1).verifier().clone())
}

fn shown(proof: Option<&str>) -> receipt::Shown<'_> {
    receipt::Shown { proof, checkpoint: proof, at: Timestamp(BY_MS) }
}

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        let bytes = std::fs::read(self.0.join(path)).ok();
        if bytes.as_ref().is_some_and(|bytes| bytes.len() > bytes_max) {
            Err(String::from("too long"))
        } else {
            Ok(bytes)
        }
    }
}

#[derive(Debug)]
struct Soon;

impl Clock for Soon {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_375_210_000)
    }
}

fn files(dir: &std::path::Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

proptest! {
    #![proptest_config(bounded())]

    #[test]
    fn a_receipt_that_was_touched_promises_nothing_else(done in done(), beside in done()) {
        let before = receipt::check(&RECEIPT, shown(Some(&PROOF)), &policy()).unwrap();
        prop_assert!(before.redeemed == Some(SIZE));
        let touched = String::from_utf8_lossy(&done.to(RECEIPT.as_bytes())).into_owned();
        if let Ok(report) = receipt::check(&touched, shown(Some(&PROOF)), &policy()) {
            assert_tame(&report.to_string());
            report.to_json();
            prop_assert!(!report.is_ok() || report.receipt == before.receipt, "{report}");
        }
        // Nor does what is shown beside it make a promise kept, or an honest log a liar.
        let other = String::from_utf8_lossy(&beside.to(PROOF.as_bytes())).into_owned();
        let report = receipt::check(&RECEIPT, shown(Some(&other)), &policy()).unwrap();
        assert_tame(&report.to_string());
        prop_assert!(!report.is_broken(), "{report}");
        prop_assert!(report.redeemed.is_none_or(|size| size == SIZE), "{report}");
    }

    #[test]
    fn a_proof_that_was_touched_proves_nothing_else(done in done()) {
        let keys = [key(1).verifier().clone()];
        let before = proof::check_by(&PROOF, None, &keys).unwrap();
        prop_assert!(before.is_ok());
        let touched = String::from_utf8_lossy(&done.to(PROOF.as_bytes())).into_owned();
        if let Ok(report) = proof::check_by(&touched, None, &keys) {
            assert_tame(&report.to_string());
            report.to_json();
            let same = (&report.entry, report.index, &report.tree) == (&before.entry, before.index, &before.tree);
            prop_assert!(!report.is_ok() || same, "{report}");
        }
    }

    #[test]
    fn what_is_none_of_ours_is_refused_and_breaks_nothing(bytes: Vec<u8>, text: String) {
        prop_assert!(check_archive(&bytes).is_none());
        prop_assert!(proof::check_by(&text, Some(&bytes), &[key(1).verifier().clone()]).is_err());
        prop_assert!(receipt::check(&text, shown(None), &policy()).is_err());
        prop_assert!(TrustPolicy::parse(&text).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 3, ..bounded() })]

    #[test]
    fn an_archive_that_was_touched_proves_nothing_else(done in done()) {
        let before = check_archive(&ARCHIVE).unwrap();
        if let Some(report) = check_archive(&done.to(&ARCHIVE)).filter(ArchiveReport::is_ok) {
            prop_assert_eq!(proven(&report), proven(&before));
        }
    }

    #[test]
    fn no_byte_of_what_an_archive_shows_can_be_another(
        name in prop::sample::select(vec!["checkpoint", "tree/", "disclosed/", "content/"]), at: Index, by in 1_u8..
    ) {
        let (mut bytes, file) = (ARCHIVE.clone(), of_file(&ARCHIVE, name));
        bytes[file.start + at.index(file.len())] ^= by;
        prop_assert!(check_archive(&bytes).is_none_or(|report| !report.is_ok()));
    }

    #[test]
    fn no_byte_of_a_published_log_can_be_another(file: Index, done in done()) {
        let published = Published::of(&ENTRIES, &[3, 20], &key(1));
        let dir = published.dir.path();
        let mut all = Vec::new();
        files(dir, &mut all);
        all.sort_unstable();
        let path = &all[file.index(all.len())];
        let bytes = std::fs::read(path).unwrap();
        let touched = done.to(&bytes);
        prop_assume!(touched != bytes);
        std::fs::write(path, touched).unwrap();
        if let Ok(report) = log::check(dir, key(1).verifier(), None) {
            assert_tame(&report.to_string());
            report.to_json();
            prop_assert!(!report.is_ok(), "{path:?}: {report}");
        }
        // Whoever watches takes over nothing but what was signed: a watch reads neither hash tiles nor kept checkpoints.
        let watch = Watch { key: key(1).verifier().clone(), policy: policy(), silence_ms: i64::MAX, kept_days: None };
        let mut seen = Seen::nothing();
        if let Ok(look) = seen.look(&watch, &mut Folder(dir.to_owned()), &Soon) {
            prop_assert!(seen.size() == 0 || (seen.size() == SIZE && look.new == SIZE));
            let is_read = path.ends_with("checkpoint") || path.parent().is_some_and(|dir| dir.ends_with("tile/entries/000.p"));
            prop_assert!(!is_read || seen.size() == 0, "{path:?}: {look:?}");
        }
    }
}
