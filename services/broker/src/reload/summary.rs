//! What a new policy set means, in the log: which policies are other in the entry of its activation, and for whom that
//! makes a difference in one of its own, because that takes a moment and a suspension must not wait for it.

use super::{Record, record};
use crate::{Broker, World};
use model::Timestamp;
use model::canonical::Value;
use model::entry::Kind;
use pdp::matrix::{self, Change, Matrix};
use std::sync::Arc;

/// Ids in each list; a policy's id has at most 64 bytes, and an entry 65,535.
const IDS_MAX: usize = 100;
const LINES_MAX: usize = 50;
const LINE_CHARS_MAX: usize = 600;
/// Cells times policies of both sets: seconds of one core, because cells that are alike are asked once. Beyond it,
/// `millgate policy diff` says the same where nobody is served.
const WORK_MAX: usize = 2_000_000;

/// Members of the activation's entry: which policies were added, removed and changed.
pub(super) fn policies(world: &World, old: &World) -> Vec<(&'static str, Value)> {
    let differences = world.policies.differences(&old.policies);
    let lists = [
        ("added", "added_total", differences.added),
        ("removed", "removed_total", differences.removed),
        ("changed", "changed_total", differences.changed),
    ];
    let mut members = Vec::new();
    for (name, total, ids) in lists.into_iter().filter(|(.., ids)| !ids.is_empty()) {
        members.push((total, count(ids.len())));
        members.push((name, Value::texts(ids.into_iter().take(IDS_MAX))));
    }
    members
}

/// Finds out for whom `world` decides otherwise than `old`, beside everything else, and records it.
pub(super) fn follow_up(broker: &Arc<Broker>, world: Arc<World>, old: Arc<World>) {
    let broker = broker.clone();
    tokio::spawn(async move {
        let at = broker.clock.now();
        // One at a time: each takes a core.
        let _turn = broker.effects.lock().await;
        match tokio::task::spawn_blocking(move || effects(&world, &old, at)).await {
            Ok(entry) => drop(record(&broker, entry).await),
            Err(error) => tracing::error!(%error, "what the new policies change could not be found out"),
        }
    });
}

fn effects(world: &World, old: &World, at: Timestamp) -> Record {
    let mut members = vec![
        ("event", Value::text("effects")),
        ("digest", Value::text(world.policies.policies().digest.to_hex())),
        ("previous", Value::text(old.policies.policies().digest.to_hex())),
        ("at", Value::text(at.to_rfc3339())),
    ];
    members.extend(changes(world, old, at));
    (Kind::Policy, members, Vec::new())
}

/// None, where it would take too long.
fn changes(world: &World, old: &World, at: Timestamp) -> Vec<(&'static str, Value)> {
    let work = |world: &World| Matrix::size(&world.snapshot).saturating_mul(world.policies.len());
    if work(world).saturating_add(work(old)) > WORK_MAX {
        return Vec::new();
    }
    let changes = Matrix::of(&old.snapshot, at).changes(&Matrix::of(&world.snapshot, at));
    // An entry cannot be erased, so it names no person.
    let changes: Vec<Change> = changes.into_iter().map(Change::unnamed).collect();
    let lines = matrix::lines(&changes);
    let short = lines.iter().take(LINES_MAX).map(|line| line.chars().take(LINE_CHARS_MAX).collect::<String>());
    vec![("cells_total", count(changes.len())), ("lines_total", count(lines.len())), ("lines", Value::texts(short))]
}

fn count(n: usize) -> Value {
    Value::int(i64::try_from(n).unwrap_or(i64::MAX))
}
