//! The ladder of a series: where a caller leaves the step open, the finest that it may see is served.

use crate::canonical::Canonical;
use crate::world::World;
use model::{AccessRequest, Shape};
use pdp::Decision;
use registry::Resolved;

/// Of the steps that `first` and those after it ask for, the first that is permitted; where none is, the last that the
/// window has, whose denial the caller hears. `None`: it is `first`. `ask` makes the question of a step; nothing is recorded
/// of those that are only tried.
///
/// A step is tried with as little of it as can be asked for. With the caller's own window and rows it could choose among
/// steps by asking for too much of one, and take a step that it has from another.
pub fn finest(
    world: &World,
    canonical: &Canonical,
    first: &Resolved,
    ask: impl Fn(&Resolved) -> AccessRequest,
) -> Option<Resolved> {
    let mut chosen: Option<Resolved> = None;
    loop {
        let tried = chosen.as_ref().unwrap_or(first);
        let Some(next) = tried.coarser.first().copied() else { break };
        let mut request = ask(tried);
        request.shape = Shape { resolution_ms: request.shape.resolution_ms, rows: 1, ..Shape::default() };
        let now = request.now;
        match world.snapshot.decide(request, &[]) {
            Decision::Permit(_) => break,
            // It is the same for all of them, and must take no longer than for what is not there.
            Decision::Denied(denial) if denial.hidden => break,
            Decision::Denied(_) => {}
        }
        let (method, segments, query) = (canonical.method.as_str(), &canonical.segments, &canonical.query);
        // A window without a whole step of this has none of a coarser one either.
        let Ok(coarser) = world.catalog.resolve_at(method, segments, query, now, Some(next)) else { break };
        chosen = Some(coarser);
    }
    chosen
}
