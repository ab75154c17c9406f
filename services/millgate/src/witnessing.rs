//! The log and its witnesses: asked for each checkpoint, and before the log is opened.

use crate::quarantine::{Confirmed, Contradiction, Mark, Views};
use anyhow::{Context as _, bail};
use audit::{Cosigned, Keys, Prove, Publication, Witnesses};
use model::Clock;
use runtime::config::Audit;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tlog::{Checkpoint, Hash, TrustPolicy, empty_root};
use witness::{Answer, Asked, Asker};

#[derive(Debug)]
pub(crate) struct Witnessing {
    asker: Asker,
    /// What each said last: only what is new is logged.
    said: Mutex<HashMap<String, &'static str>>,
    quorum: Mutex<Option<bool>>,
    /// Who has contradicted once and has not been asked again with success, and the size that it named.
    doubted: Mutex<HashMap<String, u64>>,
    audit: Audit,
    clock: Arc<dyn Clock>,
}

/// Between two questions to a witness that contradicts. What it says then is not signed: a slip of the witness, or of whatever
/// stands between, must not be enough to end the log's name, so it has to be said twice.
const ONCE_MORE: Duration = if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(1) };

/// The policy in this file.
pub(crate) fn policy(file: &Path) -> anyhow::Result<TrustPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let policy = TrustPolicy::parse(&text).with_context(|| format!("`{}` is no trust policy", file.display()))?;
    if !policy.witnesses.iter().any(|witness| witness.url.is_some()) {
        bail!("`{}` has no witness with a URL, so nobody would be asked: `witness NAME VKEY URL`", file.display());
    }
    Ok(policy)
}

/// Witnesses that are asked over a network without TLS. Their signatures cannot be forged on the way, but that they contradict
/// can, and that stops the log.
pub(crate) fn exposed(policy: &TrustPolicy) -> impl Iterator<Item = (&str, &str)> {
    let is_here = |host: &str| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    };
    policy.witnesses.iter().filter_map(move |witness| {
        let url = witness.url.as_deref()?;
        let uri: http::Uri = url.parse().ok()?;
        let is_exposed = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_here);
        is_exposed.then_some((witness.name.as_str(), url))
    })
}

impl Witnessing {
    /// `None` where the log has none.
    pub(crate) fn new(audit: &Audit, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(file) = &audit.witnesses else { return Ok(None) };
        let policy = policy(file).context("[audit] witnesses")?;
        for (witness, url) in exposed(&policy) {
            tracing::warn!(
                witness,
                url,
                "a witness is asked without TLS: whoever stands between can stop the log in its name"
            );
        }
        let roots = crate::sinks::roots(audit.witnesses_ca_file.as_deref()).context("[audit] witnesses_ca_file")?;
        let mut tcp = hyper_util::client::legacy::connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(broker::tls::client_config(&roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let asker = Asker::new(Arc::new(policy), connector, audit.witness_timeout);
        Ok(Some(Arc::new(Self {
            asker,
            said: Mutex::default(),
            quorum: Mutex::default(),
            doubted: Mutex::default(),
            audit: audit.clone(),
            clock,
        })))
    }

    /// Whether a checkpoint can be cosigned by as many as are asked for. `quorum none` asks for nobody, and what nobody has
    /// seen is not witnessed.
    pub(crate) fn asks_for_witnesses(&self) -> bool {
        self.asker.policy().asks_for_witnesses()
    }

    /// Compares the copy of the log that is here with what witnesses have seen of it, before anything is written to it.
    ///
    /// # Errors
    /// When there is nothing to ask them with.
    pub(crate) async fn views(&self, audit: &Audit, keys: &Keys, stored: u64, views: &mut Views) -> anyhow::Result<()> {
        let dir = audit.publish_directory.clone();
        let published = Publication::open(&dir).ok();
        let (note, size, root) = match &published {
            Some(published) => (published.note().to_owned(), published.size(), published.checkpoint().root),
            None => {
                let (nothing, keys) = (Checkpoint::new(&audit.origin, 0, empty_root()), keys.clone());
                let note = tokio::task::spawn_blocking(move || nothing.sign_all(&keys.signing())).await??;
                (note, 0, empty_root())
            }
        };
        drop(published);
        let prove = |old| Publication::open(&dir).ok()?.consistency(old);
        let prove = |old| if old == size { Some(Vec::new()) } else { prove(old) };
        let asked = self.ask((&note, size), stored, &prove).await;
        for Asked { witness, answer } in asked {
            let by = format!("the witness `{witness}`");
            let key = self.key_of(&witness);
            let against = |seen| Contradiction { by: by.clone(), seen, checkpoint: None, key: key.clone(), stored };
            match answer {
                Answer::Conflict(known) | Answer::Refuted(known) => views.contradictions.push(against(known)),
                Answer::Cosigned(_) => views.confirmed.push(Confirmed { by, size, root, key }),
                Answer::Failed(_) | Answer::Paused => views.silent.push(by),
            }
        }
        Ok(())
    }

    /// What each says of the checkpoint in `note`. A contradiction comes back only where it was said twice, and is about more
    /// than the `stored` entries, or about these very ones.
    async fn ask<P>(&self, (note, size): (&str, u64), stored: u64, prove: &P) -> Vec<Asked>
    where
        P: Fn(u64) -> Option<Vec<Hash>> + Sync + ?Sized,
    {
        let contradicts = |answer: &Answer| match answer {
            Answer::Conflict(known) if *known > stored || (*known == size && size > 0) => Some(*known),
            Answer::Refuted(known) => Some(*known),
            _ => None,
        };
        let mut asked = self.asker.ask(note, size, prove).await;
        let first: HashMap<String, u64> =
            asked.iter().filter_map(|one| Some((one.witness.clone(), contradicts(&one.answer)?))).collect();
        // Whoever said it of an earlier checkpoint says it for the second time.
        let before = self.doubted().clone();
        let is_new = |name: &String, known: u64| before.get(name).is_none_or(|named| *named > known);
        let again: Vec<&str> =
            first.iter().filter(|(name, known)| is_new(name, **known)).map(|(name, _)| name.as_str()).collect();
        if !again.is_empty() {
            for witness in &again {
                tracing::warn!(witness, "a witness contradicts; it is asked once more before that counts");
            }
            tokio::time::sleep(ONCE_MORE).await;
            let second = self.asker.ask_those(|name| again.contains(&name), note, size, prove).await;
            for Asked { witness, answer } in second {
                let named = first.get(&witness).copied().unwrap_or_default();
                let answer = match contradicts(&answer) {
                    // A witness never has less than it had.
                    Some(known) if known < named => {
                        Answer::Failed(format!("it named {named} entries, and {known} when it was asked again"))
                    }
                    _ => answer,
                };
                asked.retain(|one| one.witness != witness);
                asked.push(Asked { witness, answer });
            }
        }
        for one in &mut asked {
            let mut doubted = self.doubted();
            match (&one.answer, first.get(&one.witness)) {
                (Answer::Cosigned(_), _) => drop(doubted.remove(&one.witness)),
                (_, Some(named)) => drop(doubted.insert(one.witness.clone(), *named)),
                _ => {}
            }
            // What was cosigned and not kept, because the process ended in between, is in the store; the next checkpoint
            // proves it. And whoever names a size that it was asked from does not say what it has.
            if let Answer::Conflict(known) = one.answer
                && contradicts(&one.answer).is_none()
            {
                one.answer =
                    Answer::Failed(format!("it says that it has {known} entries, and does not go on from there"));
            }
        }
        self.tell(&asked);
        asked
    }

    fn doubted(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, asked: &[Asked]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for Asked { witness, answer } in asked {
            let word = match answer {
                Answer::Cosigned(_) => "cosigned",
                Answer::Conflict(_) | Answer::Refuted(_) => "conflict",
                Answer::Failed(_) => "failed",
                Answer::Paused => continue,
            };
            if said.insert(witness.clone(), word) == Some(word) {
                continue;
            }
            match answer {
                Answer::Cosigned(_) => tracing::info!(witness, "a witness cosigns the checkpoints of the log"),
                Answer::Conflict(known) | Answer::Refuted(known) => {
                    tracing::error!(witness, known, "a witness has seen another or a longer history of this log");
                }
                Answer::Failed(why) => tracing::warn!(witness, why, "a witness does not cosign"),
                Answer::Paused => {}
            }
        }
    }

    /// The process ends now, and the next one is to know why, whether or not the witness answers then.
    fn mark(&self, witness: &str, seen: u64, stored: u64) {
        let (by, key) = (format!("the witness `{witness}`"), self.key_of(witness));
        Mark::add(&self.audit, &[Contradiction { by, seen, checkpoint: None, key, stored }], self.clock.now());
    }

    fn key_of(&self, witness: &str) -> Option<String> {
        let known = self.asker.policy().witnesses.iter().find(|known| known.name == witness);
        known.map(|known| known.key.to_text())
    }

    fn tell_quorum(&self, is_met: bool) {
        let before = self.quorum.lock().unwrap_or_else(PoisonError::into_inner).replace(is_met);
        match (before, is_met) {
            (Some(before), now) if before == now => {}
            (_, true) => tracing::info!("checkpoints are cosigned by a quorum of witnesses"),
            (_, false) => {
                tracing::error!("checkpoints are not cosigned by a quorum of witnesses; they are published without it")
            }
        }
    }
}

impl Witnesses for Witnessing {
    fn cosign<'a>(
        &'a self,
        note: &'a str,
        size: u64,
        prove: &'a Prove<'a>,
    ) -> Pin<Box<dyn Future<Output = Cosigned> + Send + 'a>> {
        Box::pin(async move {
            let asked = self.ask((note, size), size, prove).await;
            let (mut cosigned, policy) = (Cosigned::default(), self.asker.policy());
            for Asked { witness, answer } in asked {
                match answer {
                    Answer::Cosigned(lines) => {
                        let verified = policy.cosigned(&format!("{note}{lines}"));
                        let time = verified.iter().map(|(_, time)| *time).max();
                        cosigned.lines.extend(time.map(|time| (time, lines)));
                    }
                    Answer::Conflict(known) | Answer::Refuted(known) => {
                        self.mark(&witness, known, size);
                        cosigned.contradiction = Some(format!(
                            "the witness `{witness}` has cosigned a checkpoint of {known} entries of this log, and this one of {size} \
                             does not continue it: another history is written under this log's name"
                        ));
                    }
                    Answer::Failed(_) | Answer::Paused => {}
                }
            }
            cosigned
        })
    }

    fn is_quorum(&self, note: &str) -> bool {
        let policy = self.asker.policy();
        let is_quorum = policy.asks_for_witnesses() && policy.is_met(&policy.cosigned(note));
        if policy.asks_for_witnesses() {
            self.tell_quorum(is_quorum);
        }
        is_quorum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::SystemClock;

    async fn cosigned(quorum: &str) -> (bool, bool) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trust.policy");
        let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap();
        // Nobody listens there.
        let policy = format!("witness w1 {} http://127.0.0.1:9/\nquorum {quorum}\n", key.verifier().to_text());
        std::fs::write(&file, policy).unwrap();
        let audit =
            Audit { witnesses: Some(file), ..Audit::new(dir.path().join("audit"), String::from("plant.example/log")) };
        let witnessing = Witnessing::new(&audit, Arc::new(SystemClock)).unwrap().unwrap();
        let log = tlog::SigningKey::generate(&audit.origin, [9; 32]).unwrap();
        let note = Checkpoint::new(&audit.origin, 0, empty_root()).sign(&log).unwrap();
        let cosigned = witnessing.cosign(&note, 0, &|_| None).await;
        let note = cosigned.lines.into_iter().fold(note, |note, (_, lines)| note + &lines);
        (witnessing.asks_for_witnesses(), witnessing.is_quorum(&note))
    }

    /// A witness that gives these answers to one question after the other, and the last of them from then on.
    async fn scripted(answers: Vec<(u16, String)>) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(Mutex::new(answers));
        let answer = move || {
            let left = Arc::clone(&left);
            async move {
                let mut left = left.lock().unwrap();
                let (status, text) = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
                (http::StatusCode::from_u16(status).unwrap(), text)
            }
        };
        let router = axum::Router::new().route("/add-checkpoint", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Whether each of some checkpoints of 7 entries, one after the other, is contradicted; and whether that is marked.
    async fn contradicted(answers: &[(u16, &str)], checkpoints: usize) -> (Vec<bool>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trust.policy");
        let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap();
        let audit = Audit {
            witnesses: Some(file.clone()),
            ..Audit::new(dir.path().join("audit"), String::from("plant.example/log"))
        };
        let log = tlog::SigningKey::generate(&audit.origin, [9; 32]).unwrap();
        let checkpoint = Checkpoint::new(&audit.origin, 7, empty_root());
        let note = checkpoint.sign(&log).unwrap();
        let good = key.cosign(&checkpoint.to_text(), 1_795_375_200);
        let script = answers
            .iter()
            .map(|(status, text)| (*status, if *status == 200 { good.clone() } else { (*text).to_owned() }));
        let address = scripted(script.collect()).await;
        let policy = format!("witness w1 {} http://{address}\nquorum w1\n", key.verifier().to_text());
        std::fs::write(file, policy).unwrap();
        let witnessing = Witnessing::new(&audit, Arc::new(SystemClock)).unwrap().unwrap();
        let mut said = Vec::new();
        for _ in 0..checkpoints {
            said.push(witnessing.cosign(&note, 7, &|_| Some(Vec::new())).await.contradiction.is_some());
        }
        (said, Mark::read(&audit).unwrap().is_some())
    }

    #[tokio::test]
    async fn what_a_witness_says_without_a_signature_has_to_be_said_twice() {
        let (many, more, fewer) = ((409, "99999999\n"), (409, "999999999\n"), (409, "9999\n"));
        for (answers, checkpoints, said) in [
            (&[many][..], 1, &[true][..]),
            (&[many, more], 1, &[true]),
            // A slip: nothing is marked, and the log goes on.
            (&[many, (200, "")], 2, &[false, false]),
            (&[many, (500, "oh"), (200, "")], 1, &[false]),
            // It contradicts itself.
            (&[many, fewer, (200, "")], 1, &[false]),
            // That its tree is another one is no more signed than that it is larger.
            (&[(409, "3\n"), (422, ""), (200, "")], 1, &[false]),
            (&[(409, "3\n"), (422, ""), (409, "3\n"), (422, "")], 1, &[true]),
            // Less than the checkpoint, time and again: it does not know what it has, and nobody is stopped.
            (&[(409, "3\n")], 1, &[false]),
        ] {
            let (found, is_marked) = contradicted(answers, checkpoints).await;
            assert_eq!((found.as_slice(), is_marked), (said, said.contains(&true)), "{answers:?}");
        }
    }

    #[test]
    fn witnesses_without_tls_beyond_this_machine_are_named() {
        let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap().verifier().to_text();
        for (url, is_exposed) in [
            ("http://127.0.0.1:8080/w", false),
            ("http://[::1]:8080", false),
            ("http://localhost", false),
            ("https://witness.acme.example", false),
            ("http://witness.acme.example", true),
            ("http://192.0.2.7:8080", true),
            ("http://localhost.acme.example", true),
        ] {
            let policy = TrustPolicy::parse(&format!("witness w1 {key} {url}\nquorum w1\n")).unwrap();
            assert_eq!(
                exposed(&policy).collect::<Vec<_>>(),
                if is_exposed { vec![("w1", url)] } else { vec![] },
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_witnessed_where_nobody_is_asked_for() {
        for quorum in ["none", "w1"] {
            assert_eq!(cosigned(quorum).await, (quorum == "w1", false), "quorum {quorum}");
        }
    }
}
