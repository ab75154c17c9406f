//! The ladder of a series: where a caller leaves the step open, the finest that is permitted is served.

use crate::canonical::Canonical;
use crate::world::World;
use model::AccessRequest;
use registry::Resolved;

/// Of the steps that `first` and those after it ask for, the first that is permitted; where none is, the last that the
/// window has, whose denial the caller hears. `None`: it is `first`. `ask` makes the question of a step; nothing is recorded
/// of those that are only tried.
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
        let request = ask(tried);
        let now = request.now;
        if world.snapshot.decide(request, &[]).is_permit() {
            break;
        }
        let (method, segments, query) = (canonical.method.as_str(), &canonical.segments, &canonical.query);
        // A window without a whole step of this has none of a coarser one either.
        let Ok(coarser) = world.catalog.resolve_at(method, segments, query, now, Some(next)) else { break };
        chosen = Some(coarser);
    }
    chosen
}
