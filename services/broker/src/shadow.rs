//! Policies that are tried beside those in use, on a share of the requests.
//!
//! A decision that has been made is offered to a queue without waiting ([`Tap::offer`]); everything else happens behind it,
//! on a task of its own, over the same catalog and registry. So the tried policies cannot change an answer, and cannot hold
//! one up: when the queue is full the decision is counted as missed. What would differ is counted and recorded, at most so
//! many entries a minute.
//!
//! The folders are watched like those in use. A set that is refused is loud and leaves the last good one being tried.

use crate::reload::{self, Record};
use crate::world::{Folders, World};
use crate::{Broker, BrokerMetrics};
use model::canonical::Value;
use model::entry::Kind;
use model::{AccessRequest, Digest, RequestId};
use pdp::replay::{Change, Direction, Outcome};
use pdp::{Decision, PolicySet, Snapshot};
use registry::Problem;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What is tried, and on how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub policies: Vec<PathBuf>,
    /// Share of requests, 0 to 1.
    pub share: f64,
}

/// Decisions that wait to be compared; a few hundred bytes each.
const QUEUE_MAX: usize = 4_096;
/// Decisions that are compared in one go.
const BATCH_MAX: usize = 256;
/// As for the folders in use.
const POLL: Duration = Duration::from_millis(250);
/// Differences that are recorded one by one; the rest of a minute is counted.
const ENTRIES_PER_MINUTE: u32 = 60;

/// Where decisions are offered.
#[derive(Debug)]
pub struct Tap {
    share: f64,
    queue: mpsc::Sender<Decided>,
}

/// A decision of the policies in use.
#[derive(Debug)]
struct Decided {
    id: RequestId,
    request: AccessRequest,
    references: Vec<String>,
    generation: u64,
    outcome: Outcome,
}

/// The two ends of the queue.
pub fn tap(settings: Settings, folders: &Folders) -> (Tap, Trial) {
    let (queue, decided) = mpsc::channel(QUEUE_MAX);
    let folders = Folders { policies: settings.policies, ..folders.clone() };
    let tap = Tap { share: settings.share, queue };
    (
        tap,
        Trial {
            share: settings.share,
            folders,
            decided,
            tried: None,
            seen: None,
            last: None,
            refused: false,
            budget: Budget::default(),
        },
    )
}

impl Tap {
    /// Takes note of a decision, if it is one of the share. Never waits.
    pub(crate) fn offer(&self, metrics: &BrokerMetrics, id: RequestId, decision: &Decision, references: &[&str]) {
        if !is_sampled(id, self.share) {
            return;
        }
        let (request, generation) = match decision {
            Decision::Permit(permit) => (permit.request(), permit.generation()),
            Decision::Denied(denial) => (&denial.request, denial.generation),
        };
        let decided = Decided {
            id,
            request: request.clone(),
            references: references.iter().map(|r| (*r).to_owned()).collect(),
            generation,
            outcome: Outcome::of(decision),
        };
        if self.queue.try_send(decided).is_err() {
            metrics.shadow_compared(false, 1);
        }
    }
}

/// The same for the same request, whoever looks: so that several brokers, and a reader of the log, agree on it.
fn is_sampled(id: RequestId, share: f64) -> bool {
    let Digest([a, b, c, d, ..]) = Digest::of(id.to_string().as_bytes());
    f64::from(u32::from_be_bytes([a, b, c, d])) < share * (f64::from(u32::MAX) + 1.0)
}

/// The task that tries.
#[derive(Debug)]
pub struct Trial {
    share: f64,
    folders: Folders,
    decided: mpsc::Receiver<Decided>,
    tried: Option<Tried>,
    /// What `tried` was made from, or was refused: the state of the folders, and the generation.
    seen: Option<(Marks, u64)>,
    /// What the last look has found.
    last: Option<Marks>,
    /// The last content was refused: it is tried again with any later change.
    refused: bool,
    budget: Budget,
}

/// Of the folders and the schema.
type Marks = (Vec<Digest>, Option<reload::FileMark>);

/// The tried policies over what one generation of the others decides over.
#[derive(Clone, Debug)]
struct Tried {
    policies: Arc<PolicySet>,
    snapshot: Arc<Snapshot>,
    generation: u64,
}

impl Trial {
    /// Runs until `stop`.
    pub async fn run(mut self, broker: Arc<Broker>, stop: CancellationToken) {
        let mut look = tokio::time::interval(POLL);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => self.look(&broker).await,
                taken = self.decided.recv_many(&mut batch, BATCH_MAX) => match taken {
                    0 => break,
                    _ => self.compare(&broker, std::mem::take(&mut batch)).await,
                }
            }
            if let Some(counted) = self.budget.due(broker.clock.now().seconds() / 60) {
                reload::record(&broker, summary(&counted)).await;
            }
        }
        if let Some(counted) = self.budget.due(i64::MAX) {
            reload::record(&broker, summary(&counted)).await;
        }
    }

    /// Takes over what has changed, once it lies still.
    async fn look(&mut self, broker: &Arc<Broker>) {
        let folders = self.folders.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || marks(&folders)).await else { return };
        let settled = self.last.replace(found.clone()) == Some(found.clone());
        let world = broker.world();
        let now = (found, world.snapshot.generation());
        if !settled || self.seen.as_ref() == Some(&now) {
            return;
        }
        let unchanged = self.seen.as_ref().is_some_and(|(marks, _)| *marks == now.0) && !self.refused;
        let good = self.tried.as_ref().map(|tried| tried.policies.clone());
        self.seen = Some(now);
        match load(self.folders.clone(), world.clone(), good.clone(), unchanged).await {
            Ok(next) => {
                self.refused = false;
                self.take_over(broker, next).await;
            }
            Err(problems) => {
                self.refused = true;
                self.refuse(broker, &problems).await;
                // The last good one goes on over what the others decide over now.
                if good.is_some()
                    && let Ok(next) = load(self.folders.clone(), world, good, true).await
                {
                    self.tried = Some(next);
                }
            }
        }
    }

    async fn take_over(&mut self, broker: &Broker, next: Tried) {
        let (digest, schema) = (next.policies.policies().digest, next.policies.schema().digest);
        let before =
            self.tried.as_ref().map(|tried| (tried.policies.policies().digest, tried.policies.schema().digest));
        if before != Some((digest, schema)) {
            broker.metrics.reload("shadow", true);
            tracing::info!(digest = digest.to_hex(), "shadow policies are tried beside those in use");
            // A difference must not name what the log does not hold: without the entry the old ones go on.
            if !reload::record(broker, activation(&next, before.map(|(digest, _)| digest), self.share)).await {
                self.seen = None;
                return;
            }
        }
        self.tried = Some(next);
    }

    async fn refuse(&self, broker: &Broker, problems: &[Problem]) {
        broker.metrics.reload("shadow", false);
        for problem in problems {
            tracing::error!(folder = "shadow", "{problem}");
        }
        tracing::error!(
            "the shadow policies were refused; the last good ones are tried on, those in use are not touched"
        );
        reload::record(broker, reload::refusal("shadow", problems)).await;
    }

    async fn compare(&mut self, broker: &Broker, batch: Vec<Decided>) {
        let Some(tried) = self.tried.clone() else { return broker.metrics.shadow_compared(false, batch.len() as u64) };
        let (now, before): (Vec<_>, Vec<_>) = batch.into_iter().partition(|d| d.generation == tried.generation);
        broker.metrics.shadow_compared(false, before.len() as u64);
        broker.metrics.shadow_compared(true, now.len() as u64);
        let snapshot = tried.snapshot.clone();
        let work = move || now.into_iter().filter_map(|d| difference(&snapshot, d)).collect::<Vec<_>>();
        let Ok(found) = tokio::task::spawn_blocking(work).await else { return };
        let minute = broker.clock.now().seconds() / 60;
        for (decided, change) in found {
            broker.metrics.shadow_difference(change.direction.as_str());
            if change.direction.is_felt() && self.budget.charge(minute, change.direction) {
                reload::record(broker, entry(&decided, &change, &tried)).await;
            }
        }
    }
}

fn marks(folders: &Folders) -> Marks {
    let policies = folders.policies.iter().map(|folder| registry::fingerprint(folder));
    (policies.collect(), reload::file_mark(&folders.schema))
}

async fn load(
    folders: Folders,
    world: Arc<World>,
    good: Option<Arc<PolicySet>>,
    unchanged: bool,
) -> Result<Tried, Vec<Problem>> {
    let joined = tokio::task::spawn_blocking(move || join(&folders, &world, good, unchanged)).await;
    joined.unwrap_or_else(|error| {
        let (file, what) = (PathBuf::from("shadow"), format!("could not be loaded: {error}"));
        Err(vec![Problem { file, line: None, column: None, what, help: None }])
    })
}

/// `good`: what was tried before, `unchanged` if the folders hold it still.
fn join(
    folders: &Folders,
    world: &World,
    good: Option<Arc<PolicySet>>,
    unchanged: bool,
) -> Result<Tried, Vec<Problem>> {
    let policies = match good {
        Some(good) if unchanged => good,
        // Both sets mostly share a folder.
        before => folders.load_policies(Some(before.as_deref().unwrap_or(&world.policies)))?,
    };
    let parts = crate::Parts { policies: policies.clone(), ..world.parts() };
    let generation = world.snapshot.generation();
    let joined = World::join(&parts, generation, crate::upstream::Upstreams::new())?;
    Ok(Tried { policies, snapshot: Arc::new(joined.snapshot), generation })
}

fn difference(snapshot: &Snapshot, decided: Decided) -> Option<(Decided, Change)> {
    let references: Vec<&str> = decided.references.iter().map(String::as_str).collect();
    let after = Outcome::of(&snapshot.decide(decided.request.clone(), &references));
    Change::between(&decided.outcome, &after).map(|change| (decided, change))
}

// === entries

type Members = Vec<(&'static str, Value)>;

fn count(n: u64) -> Value {
    Value::int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn activation(tried: &Tried, previous: Option<Digest>, share: f64) -> Record {
    let (policies, schema) = (tried.policies.policies().clone(), tried.policies.schema().clone());
    #[expect(clippy::cast_possible_truncation, reason = "0 to a million")]
    let share = (share * 1e6).round() as i64;
    let mut members: Members = vec![
        ("event", Value::text("shadow_activated")),
        ("digest", Value::text(policies.digest.to_hex())),
        ("schema", Value::text(schema.digest.to_hex())),
        ("policies_total", count(tried.policies.len() as u64)),
        ("share_per_million", Value::int(share)),
    ];
    members.extend(previous.map(|digest| ("previous", Value::text(digest.to_hex()))));
    (Kind::Policy, members, vec![policies, schema])
}

/// Not in the organisation's own sequence: it may read that, and what is only tried is not its business.
fn entry(decided: &Decided, change: &Change, tried: &Tried) -> Record {
    let texts = |items: &[String]| Value::texts(items.iter().cloned());
    let request = &decided.request;
    let principal = request.caller.principal();
    let mut members: Members = vec![
        ("event", Value::text("shadow_difference")),
        ("direction", Value::text(change.direction.as_str())),
        ("request", Value::text(decided.id.to_string())),
        ("principal", Value::text(decided.references.first().cloned().unwrap_or_default())),
        ("principal_kind", Value::text(principal.kind.as_str())),
        ("of_organisation", Value::text(principal.organisation.as_str())),
        ("action", Value::text(request.action.as_str())),
        ("resource", Value::text(request.resource.to_text())),
        ("gains", texts(&change.gains)),
        ("loses", texts(&change.loses)),
        ("policies", texts(&change.policies)),
        ("digest", Value::text(tried.policies.policies().digest.to_hex())),
        ("generation", count(tried.generation)),
    ];
    if let Some((before, after)) = &change.said {
        members.extend([("said", Value::text(before.as_str())), ("would_say", Value::text(after.as_str()))]);
    }
    (Kind::Policy, members, Vec::new())
}

fn summary(counted: &BTreeMap<Direction, u64>) -> Record {
    let counts = Value::object(counted.iter().map(|(direction, n)| (direction.as_str(), count(*n))));
    (Kind::Policy, vec![("event", Value::text("shadow_differences")), ("counts", counts)], Vec::new())
}

/// Entries of the current minute, and what was only counted.
#[derive(Debug, Default)]
struct Budget {
    minute: i64,
    written: u32,
    counted: BTreeMap<Direction, u64>,
}

impl Budget {
    /// Whether there is room for an entry. If not, it is counted.
    fn charge(&mut self, minute: i64, direction: Direction) -> bool {
        if self.minute != minute {
            (self.minute, self.written) = (minute, 0);
        }
        let room = self.written < ENTRIES_PER_MINUTE;
        if room {
            self.written += 1;
        } else {
            *self.counted.entry(direction).or_default() += 1;
        }
        room
    }

    /// What was counted, once its minute is over.
    fn due(&mut self, minute: i64) -> Option<BTreeMap<Direction, u64>> {
        (self.minute != minute && !self.counted.is_empty()).then(|| std::mem::take(&mut self.counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    #[test]
    fn a_request_is_sampled_or_not_for_good_and_so_many_are() {
        let id = |n: u16| {
            let [a, b] = n.to_be_bytes();
            RequestId::new(Timestamp(1_795_375_200_000), [a, b, 0, 0, 0, 0, 0, 0, 0, 0])
        };
        let sampled = |share: f64| (0..10_000).filter(|n| is_sampled(id(*n), share)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&sampled(0.1)), "{}", sampled(0.1));
        assert_eq!(sampled(0.1), sampled(0.1));
    }

    #[test]
    fn a_flood_of_differences_is_counted_and_said_once_a_minute() {
        let mut budget = Budget::default();
        let written = (0..1_000).filter(|_| budget.charge(7, Direction::WouldLose)).count();
        assert_eq!((written, budget.due(7)), (60, None));
        assert_eq!(budget.due(8), Some(BTreeMap::from([(Direction::WouldLose, 940)])));
        assert_eq!(budget.due(9), None);
        assert!(budget.charge(8, Direction::WouldGain));
    }
}
