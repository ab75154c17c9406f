//! A share for each organisation: one of them asking without end must not take the log's queue from all the others.

use model::OrganisationId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts requests between login and the head of their answer. What streams after that is bounded per source; a tail of the
/// audit log, which has none, is counted to its end.
#[derive(Debug)]
pub struct Shares {
    max: usize,
    /// Only organisations with open requests; of the registry, so nobody can make up more.
    open: Mutex<HashMap<OrganisationId, usize>>,
}

/// One request's place, given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    organisation: OrganisationId,
}

impl Shares {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    pub fn max(&self) -> usize {
        self.max
    }

    /// A place, unless the organisation has all of its places taken.
    pub fn take(self: &Arc<Self>, organisation: &OrganisationId) -> Option<Share> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.entry(organisation.clone()).or_default();
        if *taken >= self.max {
            return None;
        }
        *taken += 1;
        Some(Share { shares: self.clone(), organisation: organisation.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = open.get_mut(&self.organisation) {
            *taken -= 1;
            if *taken == 0 {
                open.remove(&self.organisation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organisation_does_not_take_anothers_places_and_gives_its_own_back() {
        let shares = Shares::new(2);
        let (acme, bolt) = (OrganisationId::new("acme").unwrap(), OrganisationId::new("bolt").unwrap());
        let held: Vec<_> = (0..2).map(|_| shares.take(&acme).unwrap()).collect();
        assert!(shares.take(&acme).is_none());
        assert!(shares.take(&bolt).is_some());
        drop(held);
        assert!(shares.take(&acme).is_some());
        assert!(shares.open.lock().unwrap().is_empty(), "nothing is kept of who asks no more");
    }
}
