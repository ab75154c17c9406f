//! What is published is what is stored, and nothing else is ever signed.

use super::harness::*;
use crate::evidence::EvidenceError;
use crate::publish::{CHECKPOINT_FILE, CHECKPOINTS_DIR, LINGER_MS, checkpoint_path};
use crate::{LogOptions, PublishError, PublishOptions, Publisher};
#[cfg(test)]
use model::Clock as _;
use model::entry::{Draft, Kind as ModelKind};
use model::{Timestamp, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::Arc;
use tlog::tile::{Kind, TilePath, tiles_for_size};
use tlog::{Checkpoint, CompactRange, hashes_to_bytes};

/// Reads the directory as a stranger would, with nothing but the key; the size of the tree it proves.
fn verify(dir: &Path) -> u64 {
    let named = fs::read_to_string(dir.join(CHECKPOINT_FILE)).unwrap();
    let checkpoint = Checkpoint::open(&named, key().verifier()).unwrap();
    let mut range = CompactRange::new();
    let mut roots = vec![range.root()];
    let mut levels = vec![Vec::new(); 64];
    for path in tiles_for_size(checkpoint.size).filter(|path| path.kind == Kind::Entries) {
        let bytes = fs::read(dir.join(path.to_path())).unwrap();
        let entries = tlog::bundle::decode(&bytes).unwrap();
        assert_eq!(entries.len(), usize::from(path.width));
        for entry in entries {
            range.push_visiting(tlog::leaf_hash(entry), |level, hash| levels[usize::from(level)].push(hash));
            roots.push(range.root());
        }
    }
    assert_eq!((range.size(), range.root()), (checkpoint.size, checkpoint.root));
    for TilePath { kind, index, width } in tiles_for_size(checkpoint.size) {
        if let Kind::Tile(level) = kind {
            let from = usize::try_from(index * 256).unwrap();
            let expected = &levels[usize::from(level) * 8][from..from + usize::from(width)];
            let path = dir.join(TilePath { kind, index, width }.to_path());
            assert_eq!(fs::read(&path).unwrap(), hashes_to_bytes(expected), "{}", path.display());
        }
    }
    for note in kept(dir) {
        let kept = Checkpoint::open(&note, key().verifier()).unwrap();
        assert_eq!(kept.root, roots[usize::try_from(kept.size).unwrap()], "size {}", kept.size);
    }
    assert_eq!(fs::read_to_string(dir.join(checkpoint_path(checkpoint.size))).unwrap(), named);
    checkpoint.size
}

/// Every checkpoint that was kept, by size.
fn kept(dir: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for group in fs::read_dir(dir.join(CHECKPOINTS_DIR)).unwrap() {
        paths.extend(fs::read_dir(group.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

pub async fn what_is_published_can_be_verified_from_the_files_alone(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let publisher = publisher(&log, out.path()).await;
    for count in [0, 3, 0, 250, 1, 600] {
        fill(&log, count).await;
        let published = publisher.publish_now().await.unwrap();
        assert_eq!(published.size, log.size());
        assert_eq!(verify(out.path()), log.size());
    }
    assert_eq!(log.status().checkpoint_size, 855);
    log.seal().await;
    assert_eq!(publisher.stop().await.unwrap().size, 856);
    log.close().await;
    assert_eq!(verify(out.path()), 856);
    // A full tile has no partial ones beside it.
    assert!(!out.path().join("tile/0/000.p").exists() && out.path().join("tile/0/003.p").exists());
    assert_eq!(kept(out.path()).len(), 6);
}

pub async fn what_is_not_published_yet_is_no_damage(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let publisher = publisher(&log, out.path()).await;
    fill(&log, 3).await;
    let early = log.evidence(out.path(), 1, &[]).await;
    assert!(matches!(early, Err(EvidenceError::NotPublished { index: 1, published: 0 })), "{early:?}");
    publisher.publish_now().await.unwrap();
    assert_eq!(log.evidence(out.path(), 1, &[]).await.unwrap().index, 1);
    fill(&log, 3).await;
    let early = log.evidence(out.path(), 5, &[]).await;
    assert!(matches!(early, Err(EvidenceError::NotPublished { index: 5, published: 4 })), "{early:?}");
    // A checkpoint that is there and cannot be read is damage.
    fs::write(out.path().join(CHECKPOINT_FILE), "nothing").unwrap();
    assert!(matches!(log.evidence(out.path(), 1, &[]).await, Err(EvidenceError::Read(_))));
    log.close().await;
}

pub async fn publishing_goes_on_after_a_restart(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    for round in 0..3 {
        let (log, recovered) = crate::Log::open(options(dir.path())).await.unwrap();
        let publisher = publisher(&log, out.path()).await;
        fill(&log, 100 * round + 7).await;
        publisher.publish_now().await.unwrap();
        assert_eq!(verify(out.path()), log.size());
        // What stands under a checkpoint is not hashed again.
        assert_eq!(recovered.verified_from, recovered.size.saturating_sub(1));
        log.close().await;
    }
}

pub async fn files_that_are_gone_are_built_again(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let first = publisher(&log, out.path()).await;
    fill(&log, 300).await;
    first.publish_now().await.unwrap();
    fill(&log, 300).await;
    let last = first.publish_now().await.unwrap();
    let [full, cut] = ["tile/entries/000", "tile/0/001"].map(|name| out.path().join(name));
    for vanished in
        [full, cut.clone(), out.path().join("tile"), out.path().join(CHECKPOINT_FILE), out.path().to_owned()]
    {
        if vanished.is_dir() {
            fs::remove_dir_all(&vanished).unwrap();
        } else if vanished == cut {
            fs::write(&cut, [0; 100]).unwrap();
        } else {
            fs::remove_file(&vanished).unwrap();
        }
        let publisher = publisher(&log, out.path()).await;
        assert_eq!(publisher.publish_now().await.unwrap(), last);
        assert_eq!(verify(out.path()), last.size, "{}", vanished.display());
        assert_eq!(kept(out.path()).len(), 2);
    }
    log.close().await;
}

pub async fn a_failed_round_is_made_up_for(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let publisher = publisher(&log, out.path()).await;
    fill(&log, 10).await;
    publisher.publish_now().await.unwrap();
    fill(&log, 300).await;
    // A file where a directory must be: this round fails halfway.
    let obstacle = out.path().join("tile/1");
    fs::write(&obstacle, "").unwrap();
    assert!(matches!(publisher.publish_now().await, Err(PublishError::File { .. })));
    assert_eq!(fs::read_to_string(out.path().join(CHECKPOINT_FILE)).unwrap().lines().nth(1), Some("11"));
    fs::remove_file(&obstacle).unwrap();
    assert_eq!(publisher.publish_now().await.unwrap().size, 311);
    assert_eq!(verify(out.path()), 311);
    assert!(log.is_healthy());
    log.close().await;
}

/// Every file, by its path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub async fn a_doctored_store_takes_nothing_from_what_is_published(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let first = publisher(&log, out.path()).await;
    fill(&log, 600).await;
    let last = first.publish_now().await.unwrap();
    first.stop().await.unwrap();
    log.close().await;
    let good = stand.copy(&dir).await;
    // One byte of some entry, and a file is gone, so that everything has to be built from the store.
    let byte = "UPDATE bundle SET bytes = CAST(substr(bytes, 1, 99) || x'58' || substr(bytes, 101) AS BLOB) \
                WHERE first_index = (SELECT max(first_index) FROM bundle WHERE first_index < 200)";
    vandalise(dir.path(), byte).await;
    fs::remove_file(out.path().join("tile/0/001")).unwrap();
    let before = files(out.path());
    let doctored = open(dir.path()).await;
    let error = Publisher::start(&doctored, key(), PublishOptions::new(out.path())).await.unwrap_err();
    assert!(error.to_string().ends_with("nothing that is published was changed"), "{error}");
    doctored.close().await;
    let after = files(out.path()).into_iter().filter(|(path, _)| !path.starts_with(".beside"));
    assert_eq!(after.collect::<BTreeMap<_, _>>(), before);
    // The good copy brings back what is missing, and nothing of the other is left.
    let log = open(good.path()).await;
    let publisher = publisher(&log, out.path()).await;
    assert!(publisher.publish_now().await.unwrap().size > last.size);
    verify(out.path());
    assert!(!out.path().join(".beside").exists());
    log.close().await;
}

pub async fn whoever_copies_while_the_log_grows_finds_all_that_its_checkpoint_needs(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    // Files have the times of the file system.
    let made = fs::metadata(out.path()).unwrap().modified().unwrap();
    let now = made.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let clock = PutClock::at(Timestamp(i64::try_from(now).unwrap()));
    let options = LogOptions { clock: clock.clone(), ..options(dir.path()) };
    let publishing = || PublishOptions { interval_ms: 3_600_000, ..PublishOptions::new(out.path()) };
    let (log, _) = crate::Log::open(options.clone()).await.unwrap();
    let publisher = Publisher::start(&log, key(), publishing()).await.unwrap();
    fill(&log, 200).await;
    assert_eq!(publisher.publish_now().await.unwrap().size, 201);
    // Begins with the checkpoint, as whatever goes by the alphabet does, and comes to the tiles later.
    let copy = tempfile::tempdir().unwrap();
    let named = fs::read(out.path().join(CHECKPOINT_FILE)).unwrap();
    fill(&log, 400).await;
    assert_eq!(publisher.publish_now().await.unwrap().size, 601);
    clock.advance(LINGER_MS - 1);
    publisher.publish_now().await.unwrap();
    crate::tests::stand::copy_dir(out.path(), copy.path());
    fs::write(copy.path().join(CHECKPOINT_FILE), &named).unwrap();
    fs::remove_file(copy.path().join(checkpoint_path(601))).unwrap();
    assert_eq!(verify(copy.path()), 201);
    // A start goes on by the age of what the run before has left: it takes nothing away at once, and keeps nothing for longer.
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;
    let (log, _) = crate::Log::open(options).await.unwrap();
    let publisher = Publisher::start(&log, key(), publishing()).await.unwrap();
    publisher.publish_now().await.unwrap();
    let partial = ["tile/0/000.p", "tile/entries/000.p"].map(|name| out.path().join(name));
    assert!(partial.iter().all(|partial| partial.exists()));
    clock.advance(LINGER_MS);
    publisher.publish_now().await.unwrap();
    assert!(!partial.iter().any(|partial| partial.exists()));
    verify(out.path());
    log.close().await;
}

#[cfg(test)]
#[tokio::test]
async fn a_row_that_is_missing_before_later_ones_is_told_and_not_waited_for() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let publisher = publisher(&log, out.path()).await;
    fill(&log, 10).await;
    publisher.publish_now().await.unwrap();
    publisher.stop().await.unwrap();
    log.close().await;
    // Behind the last signed row there is one of this start, and the published files have to be built again.
    let log = open(dir.path()).await;
    fs::remove_dir_all(out.path().join("tile")).unwrap();
    let signed = log.inner.reader.last_checkpoint().await.unwrap().unwrap().range.size();
    let last = format!("DELETE FROM bundle WHERE first_index + count = {signed}");
    vandalise(dir.path(), &last).await;
    let error = Publisher::start(&log, key(), PublishOptions::new(out.path())).await.unwrap_err();
    let PublishError::Mismatch(what) = &error else { panic!("{error:?}") };
    assert!(what.contains("are not in the store"), "{what}");
    log.close().await;
}

pub async fn nothing_is_signed_over_a_store_that_changed(stand: &Stand) {
    for sql in [
        "UPDATE bundle SET bytes = CAST(substr(bytes, 1, 99) || x'58' || substr(bytes, 101) AS BLOB) WHERE first_index > 8",
        "DELETE FROM bundle WHERE first_index = (SELECT max(first_index) FROM bundle)",
        "UPDATE bundle SET bytes = CAST(bytes || x'0000' AS BLOB) WHERE first_index > 8",
        "UPDATE head SET root = zeroblob(32)",
    ] {
        let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
        let log = open(dir.path()).await;
        let publisher = publisher(&log, out.path()).await;
        fill(&log, 10).await;
        let before = publisher.publish_now().await.unwrap();
        fill(&log, 10).await;
        vandalise(dir.path(), sql).await;
        let error = publisher.publish_now().await.unwrap_err();
        assert!(matches!(error, PublishError::Mismatch(_)), "{sql}: {error:?}");
        assert_eq!(fs::read_to_string(out.path().join(CHECKPOINT_FILE)).unwrap(), before.note);
        assert_eq!(log.inner.reader.last_checkpoint().await.unwrap().unwrap().note, before.note);
        log.poisoned().await;
        assert_eq!(log.append(deny(&log, "acme", "late")).await, Err(crate::AppendError::Poisoned));
    }
}

pub async fn nothing_is_signed_that_somebody_else_put_into_the_store(stand: &Stand) {
    for in_motion in [false, true] {
        let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
        let log = open(dir.path()).await;
        let publisher = publisher(&log, out.path()).await;
        fill(&log, 10).await;
        let before = publisher.publish_now().await.unwrap();
        if in_motion {
            // Something of the log's own is waiting for a signature.
            fill(&log, 3).await;
        }
        let written = log.size();
        let evil = tlog::SigningKey::generate(ORIGIN, [66; 32]).unwrap();
        let text = |key: &tlog::SigningKey| Value::text(key.verifier().to_text());
        let members = [("event", Value::text("announced")), ("key", text(&evil)), ("signer", text(&key()))];
        let forged = Draft::new(ModelKind::Key, &log.common(), None, members, vec![]).unwrap().seal(None);
        intrude(dir.path(), &[forged]).await;
        // Everything in the store fits together. Only the writer knows that it was not the one who wrote it.
        assert_eq!(read_all(dir.path()).await.entries.len() as u64, written + 1);
        let error = publisher.publish_now().await.unwrap_err();
        assert!(matches!(error, PublishError::NotCompared(crate::AppendError::Poisoned)), "{error:?}");
        assert_eq!(fs::read_to_string(out.path().join(CHECKPOINT_FILE)).unwrap(), before.note);
        assert_eq!(log.inner.reader.last_checkpoint().await.unwrap().unwrap().note, before.note);
        log.poisoned().await;
        let reason = log.poison_reason().unwrap();
        assert!(reason.contains("somebody else writes there"), "{reason}");
        assert_eq!(log.append(deny(&log, "acme", "late")).await, Err(crate::AppendError::Poisoned));
    }
}

#[cfg(test)]
#[tokio::test]
async fn a_store_older_than_what_is_published_is_not_continued() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backup = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    publisher(&log, out.path()).await.publish_now().await.unwrap();
    log.close().await;
    fs::copy(dir.path().join("log.db"), backup.path().join("log.db")).unwrap();
    let log = open(dir.path()).await;
    publisher(&log, out.path()).await.publish_now().await.unwrap();
    log.close().await;

    let restored = open(backup.path()).await;
    let error = Publisher::start(&restored, key(), PublishOptions::new(out.path())).await.unwrap_err();
    assert!(matches!(error, PublishError::Ahead { published: 3, stored: 1, .. }), "{error}");
    restored.close().await;
}

pub async fn a_key_signs_for_its_own_log_only(stand: &Stand) {
    let (dir, out) = (stand.home().await, tempfile::tempdir().unwrap());
    let log = open(dir.path()).await;
    let foreign = tlog::SigningKey::generate("elsewhere.example/log", [1; 32]).unwrap();
    let error = Publisher::start(&log, foreign, PublishOptions::new(out.path())).await.unwrap_err();
    assert!(matches!(error, PublishError::Key { .. }), "{error}");
    log.close().await;
}

/// Witnesses of which two are asked for: each needs so long by the log's clock, and has one of its own that is so much ahead.
#[cfg(test)]
#[derive(Debug)]
struct Slow {
    clock: Arc<PutClock>,
    /// Milliseconds of each; the first question counts, and every later one is answered at once.
    needs: std::sync::Mutex<[(i64, i64); 3]>,
}

#[cfg(test)]
const QUORUM: usize = 2;

#[cfg(test)]
impl crate::Witnesses for Slow {
    fn cosign<'a>(
        &'a self,
        note: &'a str,
        _: u64,
        _: &'a crate::Prove<'a>,
    ) -> std::pin::Pin<Box<dyn Future<Output = crate::Cosigned> + Send + 'a>> {
        let needs = std::mem::take(&mut *self.needs.lock().unwrap());
        let (asked, text) = (self.clock.now().millis(), format!("{}\n", note.split("\n\n").next().unwrap()));
        let lines = needs.iter().zip(1_u8..).map(|((needs_ms, ahead_ms), n)| {
            let time = u64::try_from((asked + needs_ms + ahead_ms) / 1_000).unwrap();
            let witness = tlog::CosigningKey::generate(&format!("w{n}.example/slow"), [n; 32]).unwrap();
            (time, witness.cosign(&text, time))
        });
        let cosigned = crate::Cosigned { lines: lines.collect(), contradiction: None };
        self.clock.advance(needs.iter().map(|(needs_ms, _)| *needs_ms).max().unwrap());
        Box::pin(async move { cosigned })
    }

    fn is_quorum(&self, note: &str) -> bool {
        note.matches("/slow ").count() >= QUORUM
    }
}

#[cfg(test)]
#[tokio::test]
async fn what_is_cosigned_so_late_that_entries_since_would_look_dated_back_is_left_out() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = PutClock::at(START);
    let options = LogOptions { clock: clock.clone(), ..options(dir.path()) };
    let (log, _) = crate::Log::open(options).await.unwrap();
    let (quick, slow, slower, ahead) = ((0, 0), (59_000, 0), (62_000, 0), (0, 3_600_000));
    for (needs, kept) in [
        ([quick; 3], vec![1, 2, 3]),
        ([slow; 3], vec![1, 2, 3]),
        // A clock that is wrong keeps nothing from being published.
        ([ahead; 3], vec![1, 2, 3]),
        // Whoever trusts the slow one alone would take entries of that minute for dated back.
        ([quick, quick, slower], vec![1, 2]),
        ([quick, slower, slower], vec![1]),
        ([slower; 3], vec![]),
    ] {
        let witnesses: Arc<dyn crate::Witnesses> = Arc::new(Slow { clock: clock.clone(), needs: needs.into() });
        let publishing =
            PublishOptions { interval_ms: 3_600_000, witnesses: Some(witnesses), ..PublishOptions::new(out.path()) };
        let publisher = Publisher::start(&log, key(), publishing).await.unwrap();
        fill(&log, 3).await;
        let (size, before) = (log.size(), log.status());
        let published = publisher.publish_now().await.unwrap();
        let who: Vec<_> = (1..=3).filter(|n| published.note.contains(&format!("w{n}.example/slow"))).collect();
        assert_eq!((&who, published.size), (&kept, size), "{needs:?} {}", published.note);
        let (now, is_quorum) = (log.status(), kept.len() >= QUORUM);
        assert_eq!(now.witnessed_size, if is_quorum { size } else { before.witnessed_size }, "{needs:?}");
        assert_eq!(now.cosigned_late - before.cosigned_late, 3 - kept.len() as u64);
        // It is not left at that: the log grows, and has the next checkpoint cosigned.
        log.settle().await.unwrap();
        assert_eq!(log.size(), if is_quorum { size } else { size + 1 }, "{needs:?}");
        publisher.publish_now().await.unwrap();
        assert_eq!(log.status().witnessed_size, log.size(), "{needs:?}");
        assert_eq!(verify(out.path()), log.size());
    }
    log.close().await;
}

/// A witness that writes a bad line in the log's own name under the checkpoint.
#[cfg(test)]
#[derive(Debug)]
struct Forger;

#[cfg(test)]
impl crate::Witnesses for Forger {
    fn cosign<'a>(
        &'a self,
        note: &'a str,
        _: u64,
        _: &'a crate::Prove<'a>,
    ) -> std::pin::Pin<Box<dyn Future<Output = crate::Cosigned> + Send + 'a>> {
        // As the log's line, and of other bytes.
        let line = note.lines().last().unwrap();
        let (name, signature) = line.rsplit_once(' ').unwrap();
        let (kept, rest) = signature.split_at(signature.len() / 2);
        let flipped: String = rest.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
        let end = if rest.ends_with('=') { "=" } else { "" };
        let flipped = flipped.get(..flipped.len() - end.len()).unwrap();
        let lines = vec![(u64::try_from(START.millis() / 1_000).unwrap(), format!("{name} {kept}{flipped}{end}\n"))];
        Box::pin(async move { crate::Cosigned { lines, contradiction: None } })
    }

    fn is_quorum(&self, note: &str) -> bool {
        note.lines().count() > 6
    }
}

#[cfg(test)]
#[tokio::test]
async fn no_witness_makes_a_checkpoint_that_nobody_can_verify() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        let log = open(dir.path()).await;
        let publishing = PublishOptions {
            interval_ms: 3_600_000,
            witnesses: Some(Arc::new(Forger)),
            ..PublishOptions::new(out.path())
        };
        let publisher = Publisher::start(&log, key(), publishing).await.unwrap();
        fill(&log, 3).await;
        let size = log.size();
        let published = publisher.publish_now().await.unwrap();
        assert_eq!((published.size, verify(out.path())), (size, size));
        assert_eq!(log.status().witnessed_size, 0);
        log.close().await;
    }
}
