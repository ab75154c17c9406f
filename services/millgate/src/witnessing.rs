//! The log and its witnesses: asked for each checkpoint, and before the log is opened.

use crate::quarantine::{Confirmed, Contradiction, Mark, Views};
use anyhow::{Context as _, bail};
use audit::{Cosigned, Keys, Prove, Publication, Witnesses};
use model::Clock;
use runtime::config::Audit;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tlog::{Checkpoint, TrustPolicy, empty_root};
use witness::{Answer, Asked, Asker};

#[derive(Debug)]
pub(crate) struct Witnessing {
    asker: Asker,
    /// What each said last: only what is new is logged.
    said: Mutex<HashMap<String, &'static str>>,
    quorum: Mutex<Option<bool>>,
    audit: Audit,
    clock: Arc<dyn Clock>,
}

/// The policy in this file.
pub(crate) fn policy(file: &Path) -> anyhow::Result<TrustPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let policy = TrustPolicy::parse(&text).with_context(|| format!("`{}` is no trust policy", file.display()))?;
    if !policy.witnesses.iter().any(|witness| witness.url.is_some()) {
        bail!("`{}` has no witness with a URL, so nobody would be asked: `witness NAME VKEY URL`", file.display());
    }
    Ok(policy)
}

impl Witnessing {
    /// `None` where the log has none.
    pub(crate) fn new(audit: &Audit, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(file) = &audit.witnesses else { return Ok(None) };
        let policy = policy(file).context("[audit] witnesses")?;
        let mut tcp = hyper_util::client::legacy::connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(broker::tls::client_config(&broker::tls::Roots::Machine))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let asker = Asker::new(Arc::new(policy), connector, audit.witness_timeout);
        Ok(Some(Arc::new(Self {
            asker,
            said: Mutex::default(),
            quorum: Mutex::default(),
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
        let asked = self.asker.ask(&note, size, |old| if old == size { Some(Vec::new()) } else { prove(old) }).await;
        self.tell(&asked);
        for Asked { witness, answer } in asked {
            let by = format!("the witness `{witness}`");
            let key = self.key_of(&witness);
            let against = |seen| Contradiction { by: by.clone(), seen, checkpoint: None, key: key.clone(), stored };
            match answer {
                // What was cosigned and not kept, because the process ended in between, is in the store; the next checkpoint
                // proves it.
                Answer::Conflict(known) if known > stored || (known == size && known > 0) => {
                    views.contradictions.push(against(known));
                }
                Answer::Refuted(known) => views.contradictions.push(against(known)),
                Answer::Cosigned(_) => views.confirmed.push(Confirmed { by, size, root, key }),
                Answer::Conflict(_) | Answer::Failed(_) | Answer::Paused => views.silent.push(by),
            }
        }
        Ok(())
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
            let asked = self.asker.ask(note, size, prove).await;
            self.tell(&asked);
            let mut cosigned = Cosigned::default();
            for Asked { witness, answer } in asked {
                match answer {
                    Answer::Cosigned(lines) => cosigned.lines.push_str(&lines),
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
            let policy = self.asker.policy();
            if policy.asks_for_witnesses() {
                cosigned.is_quorum = policy.is_met(&policy.cosigned(&format!("{note}{}", cosigned.lines)));
                self.tell_quorum(cosigned.is_quorum);
            }
            cosigned
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::SystemClock;

    async fn cosigned(quorum: &str) -> (bool, Cosigned) {
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
        (witnessing.asks_for_witnesses(), witnessing.cosign(&note, 0, &|_| None).await)
    }

    #[tokio::test]
    async fn nothing_is_witnessed_where_nobody_is_asked_for() {
        for quorum in ["none", "w1"] {
            let (asks, cosigned) = cosigned(quorum).await;
            assert_eq!((asks, cosigned.is_quorum), (quorum == "w1", false), "quorum {quorum}");
        }
    }
}
