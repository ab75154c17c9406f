//! The witness's one endpoint.

use crate::store::{NotAdvanced, Store};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use model::Clock;
use std::sync::Arc;
use tlog::note::Note;
use tlog::witness::{AddCheckpoint, NotCosigned};
use tlog::{CosigningKey, VerifierKey};

/// A note of many signatures with the longest proof is smaller.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct Witness {
    pub key: CosigningKey,
    /// The logs that it watches.
    pub logs: Vec<VerifierKey>,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
}

pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    // Keeping what was seen waits for the disk.
    let judged = tokio::task::spawn_blocking(move || {
        let now = u64::try_from(witness.clock.now().seconds()).unwrap_or(0);
        witness.add(&body, now)
    })
    .await;
    match judged {
        Ok(Ok(line)) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], line).into_response(),
        Ok(Err(NotAdvanced::Judged(NotCosigned::Conflict(size)))) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Ok(Err(NotAdvanced::Judged(why))) => {
            let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, format!("{why}\n")).into_response()
        }
        Ok(Err(NotAdvanced::NotKept(error))) => {
            tracing::error!(%error, "what was seen of a log cannot be kept, so nothing is cosigned");
            (StatusCode::INTERNAL_SERVER_ERROR, "what was seen cannot be kept\n").into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a checkpoint could not be judged");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Witness {
    /// The cosignature of the checkpoint in `body`, made at `now`, in seconds since 1970. Blocking.
    fn add(&self, body: &[u8], now: u64) -> Result<String, NotAdvanced> {
        let text = std::str::from_utf8(body).map_err(|_| NotCosigned::Malformed("not UTF-8"))?;
        let request = AddCheckpoint::parse(text)?;
        let origin = request.origin();
        // A log has two keys while one takes the place of the other. One that has signed is enough.
        let keys = || self.logs.iter().filter(|log| log.name() == origin);
        let log = tlog::note::signer(&request.note, keys()).or_else(|| keys().next());
        let log = log.ok_or_else(|| NotCosigned::UnknownLog(origin.chars().take(128).collect()))?;
        let judged = self.store.advance(origin, |seen| request.judge(log, seen));
        if let Err(NotAdvanced::Judged(NotCosigned::Inconsistent | NotCosigned::Conflict(_))) = &judged {
            // Signed by the log, and another history: evidence, if it is not just behind.
            tracing::warn!(
                origin,
                old = request.old,
                "a checkpoint does not continue what was seen; nothing was cosigned"
            );
        }
        let checkpoint = judged?;
        tracing::info!(origin, size = checkpoint.size, "cosigned");
        let note = Note::parse(&request.note).map_err(|_| NotCosigned::Malformed("the checkpoint is none"))?;
        Ok(self.key.cosign(note.text, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{Checkpoint, CompactRange, SigningKey, leaf_hash};

    const ORIGIN: &str = "plant.example/log";

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> model::Timestamp {
            model::Timestamp(0)
        }
    }

    fn note(entries: &[&[u8]]) -> String {
        let mut range = CompactRange::new();
        entries.iter().for_each(|entry| range.push(leaf_hash(entry)));
        let key = SigningKey::generate(ORIGIN, [9; 32]).unwrap();
        Checkpoint::new(ORIGIN, range.size(), range.root()).sign(&key).unwrap()
    }

    fn witness(dir: &std::path::Path) -> Witness {
        Witness {
            key: CosigningKey::generate("witness.example/w1", [1; 32]).unwrap(),
            logs: vec![SigningKey::generate(ORIGIN, [9; 32]).unwrap().verifier().clone()],
            store: Store::open(dir).unwrap(),
            clock: Arc::new(Stopped),
        }
    }

    fn add(witness: &Witness, old: u64, proof: Vec<tlog::Hash>, note: &str) -> Result<String, u16> {
        let text = AddCheckpoint { old, proof, note: note.to_owned() }.to_text();
        witness.add(text.as_bytes(), 1_795_375_200).map_err(|error| match error {
            NotAdvanced::Judged(why) => why.status(),
            NotAdvanced::NotKept(_) => 500,
        })
    }

    #[test]
    fn a_history_is_cosigned_and_another_one_never_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let w = witness(dir.path());
        let (one, two) = (note(&[b"a"]), note(&[b"a", b"b"]));
        let line = add(&w, 0, Vec::new(), &one).unwrap();
        assert_eq!(w.key.verifier().cosigned(&format!("{one}{line}")), Ok(Some(1_795_375_200)));
        assert!(add(&w, 1, Vec::new(), &one).is_ok(), "the same again");
        assert_eq!(add(&w, 0, Vec::new(), &two), Err(409));
        assert!(add(&w, 1, vec![leaf_hash(b"b")], &two).is_ok());
        drop(w);
        let w = witness(dir.path());
        assert_eq!(add(&w, 0, Vec::new(), &one), Err(409), "it was restored from an old copy");
        assert_eq!(add(&w, 1, Vec::new(), &one), Err(409));
        assert_eq!(add(&w, 2, Vec::new(), &note(&[b"a", b"c"])), Err(409), "the same size, another tree");
        assert_eq!(add(&w, 2, vec![leaf_hash(b"x")], &note(&[b"a", b"c", b"d"])), Err(422));
    }

    #[test]
    fn a_log_that_changes_its_key_is_known_by_either() {
        let dir = tempfile::tempdir().unwrap();
        let key = |seed| SigningKey::generate(ORIGIN, [seed; 32]).unwrap();
        let logs = [9, 8].map(|seed| key(seed).verifier().clone()).to_vec();
        let w = Witness { logs, ..witness(dir.path()) };
        let note = |keys: &[u8]| {
            let keys: Vec<SigningKey> = keys.iter().map(|seed| key(*seed)).collect();
            Checkpoint::new(ORIGIN, 0, tlog::empty_root()).sign_all(&keys.iter().collect::<Vec<_>>()).unwrap()
        };
        for keys in [&[9][..], &[9, 8], &[8], &[7, 8]] {
            assert!(add(&w, 0, Vec::new(), &note(keys)).is_ok(), "{keys:?}");
        }
        assert_eq!(add(&w, 0, Vec::new(), &note(&[7])), Err(403));
        let of_old = Witness { logs: vec![key(9).verifier().clone()], ..w };
        assert!(add(&of_old, 0, Vec::new(), &note(&[9, 8])).is_ok(), "the new key is not known there yet");
        assert_eq!(add(&of_old, 0, Vec::new(), &note(&[8])), Err(403));
    }

    #[test]
    fn strangers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let w = witness(dir.path());
        let other = SigningKey::generate("other.example/log", [9; 32]).unwrap();
        let unknown = Checkpoint::new("other.example/log", 0, tlog::empty_root()).sign(&other).unwrap();
        assert_eq!(add(&w, 0, Vec::new(), &unknown), Err(404));
        let forger = SigningKey::generate(ORIGIN, [8; 32]).unwrap();
        let forged = Checkpoint::new(ORIGIN, 0, tlog::empty_root()).sign(&forger).unwrap();
        assert_eq!(add(&w, 0, Vec::new(), &forged), Err(403));
        assert!(matches!(w.add(b"\xff", 0), Err(NotAdvanced::Judged(NotCosigned::Malformed(_)))));
        assert_eq!(w.store.seen(ORIGIN).size, 0);
    }
}
