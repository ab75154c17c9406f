//! How many requests may wait for somebody else's server.
//!
//! A request that waits holds its connection, its memory and its caller. Anybody can write a token that makes us ask, and
//! an issuer that is slow, by mishap or on purpose, would keep them all. Who finds no place is told at once to come again.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Of one issuer: who may be a stranger, with a key or a token that nobody knows.
pub(crate) const STRANGERS_MAX: usize = 64;

/// Of one issuer: with tokens that counted a moment ago, or before anything is known of its keys.
pub(crate) const OTHERS_MAX: usize = 256;

/// Of the whole process, whatever they wait for.
static ALL: Semaphore = Semaphore::const_new(2_000);

#[derive(Debug)]
pub(crate) struct WaitingRoom(Arc<Semaphore>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

impl WaitingRoom {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// `None` if all places are taken.
    pub(crate) fn enter(&self) -> Option<Place> {
        let own = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Place { _own: own, _of_all: ALL.try_acquire().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crowds_of_many_issuers_are_bounded_together() {
        let rooms: Vec<WaitingRoom> = (0..40).map(|_| WaitingRoom::new(STRANGERS_MAX)).collect();
        let places: Vec<Place> = rooms.iter().flat_map(|room| std::iter::from_fn(|| room.enter())).collect();
        assert_eq!(places.len(), 2_000);
        drop(places);
        assert!(rooms.iter().all(|room| room.enter().is_some()));
    }
}
