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
        self.ask_those(|_| true, note, size, prove).await
    }

    /// Asks those of them whose names `which` picks.
    pub async fn ask_those(
        &self,
        which: impl Fn(&str) -> bool + Sync,
        note: &str,
        size: u64,
        prove: impl Fn(u64) -> Option<Vec<Hash>> + Sync,
    ) -> Vec<Asked> {
        let witnesses = self.policy.witnesses.iter().filter(|witness| witness.url.is_some() && which(&witness.name));
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
                    return match witness.key.own_line(note, &lines) {
                        Some(line) => Answer::Cosigned(line.to_owned()),
                        None => {
                            Answer::Failed(String::from("its signature does not verify under its key in the policy"))
                        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use std::net::SocketAddr;
    use tlog::{Checkpoint, CosigningKey, SigningKey, empty_root};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const ORIGIN: &str = "plant.example/log";
    const SIZE: u64 = 7;

    fn witness(seed: u8) -> CosigningKey {
        CosigningKey::generate("witness.example/w1", [seed; 32]).unwrap()
    }

    fn note(size: u64) -> String {
        let key = SigningKey::generate(ORIGIN, [9; 32]).unwrap();
        Checkpoint::new(ORIGIN, size, empty_root()).sign(&key).unwrap()
    }

    fn cosigned(by: &CosigningKey, note: &str) -> String {
        by.cosign(note.split_inclusive("\n\n").next().unwrap().strip_suffix('\n').unwrap(), 1_795_375_200)
    }

    fn answer(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    /// A witness that says the same to whoever asks, or nothing at all.
    async fn saying(says: Option<Vec<u8>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
                while !asked.ends_with(b"\n") || !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = socket.read(&mut buffer).await.unwrap();
                    asked.extend_from_slice(&buffer[..read]);
                }
                match &says {
                    Some(says) => drop(socket.write_all(says).await),
                    None => silent.push(socket),
                }
            }
        });
        address
    }

    fn asker(address: SocketAddr, patience: Duration) -> Asker {
        let log = SigningKey::generate(ORIGIN, [9; 32]).unwrap();
        let policy = format!(
            "log {}\nwitness w1 {} http://{address}\nquorum w1\n",
            log.verifier().to_text(),
            witness(1).verifier().to_text()
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        Asker::new(Arc::new(TrustPolicy::parse(&policy).unwrap()), connector.enable_http1().build(), patience)
    }

    async fn asked(asker: &Asker) -> Answer {
        let mut asked = asker.ask(&note(SIZE), SIZE, |_| Some(Vec::new())).await;
        assert_eq!(asked.len(), 1);
        asked.remove(0).answer
    }

    #[tokio::test]
    async fn a_witness_that_lies_or_answers_garbage_is_not_counted() {
        let good = cosigned(&witness(1), &note(SIZE));
        let patience = Duration::from_secs(30);
        let first = saying(Some(answer("200 OK", &good))).await;
        assert_eq!(
            asked(&asker(first, patience)).await,
            Answer::Cosigned(good.clone()),
            "the others differ from this one"
        );
        let other_key = cosigned(&witness(2), &note(SIZE));
        let other_checkpoint = cosigned(&witness(1), &note(SIZE - 1));
        let failing = "its signature does not verify";
        for (what, says, why) in [
            ("nothing", answer("200 OK", ""), failing),
            ("garbage", answer("200 OK", "<html>hello</html>"), failing),
            ("a line of another key", answer("200 OK", other_key), failing),
            ("a line for another checkpoint", answer("200 OK", other_checkpoint), failing),
            ("a note of its own in front", answer("200 OK", format!("\n{good}")), failing),
            ("bytes that are no text", answer("200 OK", b"\xff\xfe"), "not UTF-8"),
            ("more than fits", answer("200 OK", "x".repeat(ANSWER_BYTES_MAX + 1)), "its answer: "),
            ("a conflict with words", answer("409 Conflict", "seven"), "a conflict without a size"),
            ("another conflict each time", answer("409 Conflict", "3\n"), ""),
            ("that it does not follow nothing", answer("422 Unprocessable Entity", ""), "422"),
            ("an error", answer("500 Internal Server Error", "oh\x1b[31m no"), "500 Internal Server Error: oh[31m no"),
            ("to ask elsewhere", answer("302 Found", ""), "302"),
            ("no HTTP", b"SSH-2.0-OpenSSH\r\n".to_vec(), ""),
        ] {
            let asker = asker(saying(Some(says)).await, patience);
            match (what, asked(&asker).await) {
                // It stays at 3 when it is asked from there: that is where it is.
                ("another conflict each time", Answer::Conflict(3)) => continue,
                (_, Answer::Failed(told)) => assert!(told.contains(why), "{what}: {told}"),
                (_, other) => panic!("{what}: {other:?}"),
            }
            assert_eq!(asked(&asker).await, Answer::Paused, "{what}: the next checkpoint does not wait for it");
        }
    }

    /// A line as a key of this name and id would write it, and no signature.
    fn forged(name: &str, id: &str) -> String {
        let id = u32::from_str_radix(id, 16).unwrap().to_be_bytes();
        let bytes = [&id[..], &[7; 72]].concat();
        format!("\u{2014} {name} {}\n", base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    #[tokio::test]
    async fn nothing_of_a_witness_but_its_own_signature_gets_under_a_checkpoint() {
        let good = cosigned(&witness(1), &note(SIZE));
        let log = SigningKey::generate(ORIGIN, [9; 32]).unwrap().verifier().to_text();
        let id_of = |key: &str| key.split('+').nth(1).unwrap().to_owned();
        let other = witness(2);
        let other = other.verifier();
        let of_log = forged(ORIGIN, &id_of(&log));
        let of_other = forged(other.name(), &id_of(&other.to_text()));
        let more: String = (0..90).map(|n| forged(&format!("n{n}.example"), "0a0b0c0d")).collect();
        for (what, said) in [
            ("in the log's name", format!("{good}{of_log}")),
            ("in the log's name, first", format!("{of_log}{good}")),
            ("in another witness's name", format!("{of_other}{good}")),
            ("twice", format!("{good}{good}")),
            ("with many more", format!("{more}{good}")),
        ] {
            let asker = asker(saying(Some(answer("200 OK", said))).await, Duration::from_secs(30));
            assert_eq!(asked(&asker).await, Answer::Cosigned(good.clone()), "{what}");
        }
        let own = forged(witness(1).verifier().name(), &id_of(&witness(1).verifier().to_text()));
        for (what, said) in [("a bad one of its own", format!("{own}{good}")), ("no line", format!("{good}\n"))] {
            let asker = asker(saying(Some(answer("200 OK", said))).await, Duration::from_secs(30));
            assert!(matches!(asked(&asker).await, Answer::Failed(_)), "{what}");
        }
    }

    #[tokio::test]
    async fn a_witness_that_says_nothing_or_is_down_holds_nobody_up() {
        let silent = asker(saying(None).await, Duration::from_millis(20));
        assert_eq!(asked(&silent).await, Answer::Failed(String::from("no answer within 20ms")));
        assert_eq!(asked(&silent).await, Answer::Paused);
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let down = asker(address, Duration::from_secs(30));
        assert!(matches!(asked(&down).await, Answer::Failed(_)));
        assert_eq!(asked(&down).await, Answer::Paused);
    }
}
