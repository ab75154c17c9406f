//! Random references for principals.
//!
//! Entries name a principal by a random reference, so that erasing one row makes them anonymous. The row travels with
//! the first entry that needs it, and with every further one until a commit with it is known to be durable.

use model::Principal;
use model::canonical::hex;
use model::entry::DirectoryRow;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

#[derive(Debug)]
struct Reference {
    text: String,
    durable: bool,
}

/// All principals that the log has met, in memory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    references: RwLock<HashMap<String, Reference>>,
}

impl Directory {
    /// From the rows that are stored.
    pub(crate) fn load(rows: Vec<DirectoryRow>) -> Self {
        let durable = |row: DirectoryRow| (row.principal, Reference { text: row.reference, durable: true });
        Self { references: RwLock::new(rows.into_iter().map(durable).collect()) }
    }

    /// The principal's reference, and the row to store with the entry unless it is stored already.
    ///
    /// `fresh` is used when the principal has no reference yet; of two at the same time one wins for both.
    pub(crate) fn reference(
        &self,
        principal: &Principal,
        fresh: impl FnOnce() -> [u8; 16],
    ) -> (String, Option<DirectoryRow>) {
        let principal = principal.to_text();
        // A thread that panicked cannot have left half a reference behind.
        let known = self.references.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(reference) = known.get(&principal) {
            return answer(principal, reference);
        }
        drop(known);
        let mut known = self.references.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Reference { text: hex(&fresh()), durable: false };
        let reference = known.entry(principal.clone()).or_insert_with(new);
        answer(principal, reference)
    }

    /// These stand for nobody any longer: whoever comes back gets another reference.
    pub(crate) fn forget(&self, references: &[String]) {
        if !references.is_empty() {
            let mut known = self.references.write().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, reference| !references.contains(&reference.text));
        }
    }

    /// These rows are durable.
    pub(crate) fn confirm(&self, rows: &[DirectoryRow]) {
        if rows.is_empty() {
            return;
        }
        let mut known = self.references.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            if let Some(reference) = known.get_mut(&row.principal) {
                reference.durable = true;
            }
        }
    }
}

fn answer(principal: String, reference: &Reference) -> (String, Option<DirectoryRow>) {
    let row = (!reference.durable).then(|| DirectoryRow { principal, reference: reference.text.clone() });
    (reference.text.clone(), row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{OrganisationId, PrincipalKind, Subject};

    fn principal(organisation: &str, subject: &str) -> Principal {
        Principal {
            organisation: OrganisationId::new(organisation).unwrap(),
            kind: PrincipalKind::User,
            subject: Subject::new(subject).unwrap(),
        }
    }

    #[test]
    fn the_row_travels_until_it_is_durable() {
        let directory = Directory::default();
        let anna = principal("acme", "anna");
        let (reference, row) = directory.reference(&anna, || [1; 16]);
        assert_eq!(reference, hex(&[1; 16]));
        // The first commit failed: the row goes along again, and the reference is the same.
        assert_eq!(directory.reference(&anna, || [2; 16]), (reference.clone(), row.clone()));
        directory.confirm(&[row.unwrap()]);
        assert_eq!(directory.reference(&anna, || [3; 16]), (reference, None));
    }

    #[test]
    fn whoever_comes_back_after_an_erasure_is_somebody_else() {
        let directory = Directory::default();
        let anna = principal("acme", "anna");
        let (before, row) = directory.reference(&anna, || [1; 16]);
        directory.confirm(&[row.unwrap()]);
        let (other, _) = directory.reference(&principal("acme", "otto"), || [2; 16]);
        directory.forget(std::slice::from_ref(&before));
        let (after, row) = directory.reference(&anna, || [3; 16]);
        assert_ne!(before, after);
        assert!(row.is_some(), "and has to be stored anew");
        assert_eq!(directory.reference(&principal("acme", "otto"), || [4; 16]).0, other);
    }

    #[test]
    fn equal_subjects_of_two_organisations_are_two_principals() {
        let directory = Directory::default();
        let (acme, _) = directory.reference(&principal("acme", "anna"), || [1; 16]);
        let (borealis, _) = directory.reference(&principal("borealis", "anna"), || [2; 16]);
        assert_ne!(acme, borealis);
    }

    #[test]
    fn threads_that_meet_a_principal_at_once_agree() {
        let directory = Directory::default();
        let anna = principal("acme", "anna");
        let references: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|i| {
                    scope.spawn({
                        let (d, a) = (&directory, &anna);
                        move || d.reference(a, || [i; 16]).0
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(references.windows(2).all(|pair| pair[0] == pair[1]), "{references:?}");
    }
}
