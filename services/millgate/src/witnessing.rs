//! The log and its witnesses: asked for each checkpoint, and before the log is opened.

use anyhow::{Context as _, bail};
use audit::{Cosigned, Log, Prove, Publication, Witnesses};
use runtime::config::Audit;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tlog::{Checkpoint, SigningKey, TrustPolicy, empty_root};
use witness::{Answer, Asked, Asker};

#[derive(Debug)]
pub(crate) struct Witnessing {
    asker: Asker,
    /// What each said last: only what is new is logged.
    said: Mutex<HashMap<String, &'static str>>,
    quorum: Mutex<Option<bool>>,
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
    pub(crate) fn new(audit: &Audit) -> anyhow::Result<Option<Arc<Self>>> {
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
        Ok(Some(Arc::new(Self { asker, said: Mutex::default(), quorum: Mutex::default() })))
    }

    /// Compares the copy of the log that is here with what witnesses have seen of it, before anything is written to it.
    ///
    /// # Errors
    /// A witness has seen more: this copy was restored from an older one or cut, and going on would make a second history.
    pub(crate) async fn guard(&self, audit: &Audit, key: &SigningKey) -> anyhow::Result<()> {
        let stored = Log::stored_size(crate::store::of(audit)?)
            .await
            .context("the store of the log cannot be read")?
            .unwrap_or(0);
        let dir = audit.publish_directory.clone();
        let published = Publication::open(&dir).ok();
        let (note, size) = match &published {
            Some(published) => (published.note().to_owned(), published.size()),
            None => (Checkpoint::new(&audit.origin, 0, empty_root()).sign(key)?, 0),
        };
        drop(published);
        let prove = |old| {
            let mut published = Publication::open(&dir).ok()?;
            tlog::proof::consistency(old, size, |level, index| published.subtree(level, index).ok()).ok()
        };
        let asked = self.asker.ask(&note, size, |old| if old == size { Some(Vec::new()) } else { prove(old) }).await;
        self.tell(&asked);
        for Asked { witness, answer } in &asked {
            let Answer::Conflict(known) = answer else { continue };
            // What was cosigned and not kept, because the process ended in between, is in the store; the next checkpoint proves it.
            if *known > stored || (*known == size && *known > 0) {
                bail!(
                    "the witness `{witness}` has cosigned a checkpoint of {known} entries of the log `{}`, and the copy here has \
                     {stored}, or others: it was restored from an older copy, or cut. Going on would make a second history, so nothing \
                     is served. Bring the newer copy back; if it is lost, begin a log with another origin, and keep this one for the auditors",
                    audit.origin
                );
            }
        }
        Ok(())
    }

    fn tell(&self, asked: &[Asked]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for Asked { witness, answer } in asked {
            let word = match answer {
                Answer::Cosigned(_) => "cosigned",
                Answer::Conflict(_) => "conflict",
                Answer::Failed(_) => "failed",
                Answer::Paused => continue,
            };
            if said.insert(witness.clone(), word) == Some(word) {
                continue;
            }
            match answer {
                Answer::Cosigned(_) => tracing::info!(witness, "a witness cosigns the checkpoints of the log"),
                Answer::Conflict(known) => {
                    tracing::error!(witness, known, "a witness has seen another or a longer history of this log");
                }
                Answer::Failed(why) => tracing::warn!(witness, why, "a witness does not cosign"),
                Answer::Paused => {}
            }
        }
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
                    Answer::Conflict(known) => {
                        cosigned.contradiction = Some(format!(
                            "the witness `{witness}` has cosigned a checkpoint of {known} entries of this log, and this one of {size} \
                             does not continue it: another history is written under this log's name"
                        ));
                    }
                    Answer::Failed(_) | Answer::Paused => {}
                }
            }
            let policy = self.asker.policy();
            cosigned.is_quorum = policy.is_met(&policy.cosigned(&format!("{note}{}", cosigned.lines)));
            self.tell_quorum(cosigned.is_quorum);
            cosigned
        })
    }
}
