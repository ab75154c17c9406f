//! How a log asks its witnesses, all at once and none for longer than it can wait.

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tlog::policy::Witness;
use tlog::witness::AddCheckpoint;
use tlog::{Hash, TrustPolicy};

/// An answer is one line for each of a witness's keys.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A witness that did not answer is left alone for so long: the next checkpoint must not wait for it again.
const PAUSE: Duration = Duration::from_secs(10);

/// Asks the witnesses of a policy that have a URL.
#[derive(Debug)]
pub struct Asker {
    policy: Arc<TrustPolicy>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
    states: Mutex<HashMap<String, State>>,
}

/// What is known of a witness.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Size that it cosigned last.
    size: u64,
    paused_until: Option<Instant>,
}

/// What one witness said of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its signature lines, one of which verifies.
    Cosigned(String),
    /// It has cosigned a checkpoint of this size, and will not cosign one that does not continue it.
    Conflict(u64),
    /// It has cosigned a tree of this size of which the checkpoint is no continuation, although the proof holds here.
    Refuted(u64),
    /// In words.
    Failed(String),
    /// It failed shortly before, and was not asked.
    Paused,
}

/// A witness, by its name in the policy, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub witness: String,
    pub answer: Answer,
}

impl Asker {
    /// `patience`: how long a checkpoint waits for a witness.
    pub fn new(policy: Arc<TrustPolicy>, connector: HttpsConnector<HttpConnector>, patience: Duration) -> Self {
        let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
        Self { policy, client, patience, states: Mutex::default() }
    }

    pub fn policy(&self) -> &TrustPolicy {
        &self.policy
    }

    /// Asks all of them to cosign the checkpoint in `note`, of `size` entries. `prove` makes the proof of consistency from a
    /// smaller size, which must hold; `None` if it cannot.
    pub async fn ask(&self, note: &str, size: u64, prove: impl Fn(u64) -> Option<Vec<Hash>> + Sync) -> Vec<Asked> {
        let witnesses = self.policy.witnesses.iter().filter(|witness| witness.url.is_some());
        let prove = &prove;
        let asked = witnesses.map(|witness| async move {
            let answer = if self.is_paused(&witness.name) {
                Answer::Paused
            } else {
                let asking = self.ask_one(witness, note, size, prove);
                tokio::time::timeout(self.patience, asking)
                    .await
                    .unwrap_or_else(|_| Answer::Failed(format!("no answer within {:?}", self.patience)))
            };
            self.note(&witness.name, &answer, size);
            Asked { witness: witness.name.clone(), answer }
        });
        join_all(asked).await
    }

    async fn ask_one(
        &self,
        witness: &Witness,
        note: &str,
        size: u64,
        prove: &(impl Fn(u64) -> Option<Vec<Hash>> + Sync),
    ) -> Answer {
        let mut old = self.state(&witness.name).size.min(size);
        // It says where it is if that was not known, and may have moved on once more by then.
        for _ in 0..3 {
            let Some(proof) = prove(old) else {
                return Answer::Failed(format!("no proof from {old} to {size} entries could be made"));
            };
            let body = AddCheckpoint { old, proof, note: note.to_owned() }.to_text();
            match self.post(witness, body).await {
                Ok((StatusCode::OK, lines)) => {
                    let is_good = witness.key.cosigned(&format!("{note}{lines}"));
                    return match is_good {
                        Ok(Some(_)) => Answer::Cosigned(lines),
                        _ => Answer::Failed(String::from("its signature does not verify under its key in the policy")),
                    };
                }
                Ok((StatusCode::CONFLICT, text)) => match text.trim_end().parse::<u64>() {
                    // Where it is already, or another tree of the same size: nothing to try.
                    Ok(known) if known > size || known == old => return Answer::Conflict(known),
                    Ok(known) => old = known,
                    Err(_) => return Answer::Failed(String::from("a conflict without a size")),
                },
                // C2SP tlog-witness: the proof does not verify. It does for the tree that is here, so the witness has another.
                Ok((StatusCode::UNPROCESSABLE_ENTITY, _)) if old > 0 => return Answer::Refuted(old),
                Ok((status, text)) => {
                    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
                    return Answer::Failed(format!("{status}: {text}"));
                }
                Err(why) => return Answer::Failed(why),
            }
        }
        Answer::Failed(String::from("it named another size each time"))
    }

    async fn post(&self, witness: &Witness, body: String) -> Result<(StatusCode, String), String> {
        let prefix = witness.url.as_deref().unwrap_or_default().trim_end_matches('/');
        let uri: Uri = format!("{prefix}/add-checkpoint").parse().map_err(|e| format!("its URL: {e}"))?;
        let request = Request::builder().method(Method::POST).uri(uri).header("content-type", "text/plain");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        let response = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| format!("its answer: {error}"))?.to_bytes();
        Ok((status, String::from_utf8(bytes.into()).map_err(|_| String::from("its answer is not UTF-8"))?))
    }

    fn states(&self) -> std::sync::MutexGuard<'_, HashMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, witness: &str) -> State {
        self.states().get(witness).copied().unwrap_or_default()
    }

    fn is_paused(&self, witness: &str) -> bool {
        self.state(witness).paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn note(&self, witness: &str, answer: &Answer, size: u64) {
        let mut states = self.states();
        let state = states.entry(witness.to_owned()).or_default();
        match answer {
            Answer::Cosigned(_) => *state = State { size, paused_until: None },
            Answer::Conflict(known) => *state = State { size: *known, paused_until: None },
            Answer::Refuted(_) => {}
            Answer::Failed(_) => state.paused_until = Some(Instant::now() + PAUSE),
            Answer::Paused => {}
        }
    }
}
