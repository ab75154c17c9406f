//! The commit protocol: a batch is durable, or provably not there, or the writer is poisoned.

use crate::store::{Batch, Head, Store, StoreError};

/// Why a batch is not durable.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database is where it was before; serving may go on.
    RolledBack(StoreError),
    /// What the database holds is unknown. Nothing but reading it anew can tell.
    Unknown(String),
}

/// Makes the batch durable.
///
/// `before` is the head that the batch was built on.
pub(crate) async fn commit<S: Store>(store: &mut S, batch: Batch, before: &Head) -> Result<(), Failure> {
    let error = match attempt(store, batch).await {
        Ok(true) => return Ok(()),
        Ok(false) => {
            // Whoever moved the head, their transaction stands and ours must not.
            let _ = store.roll_back().await;
            return Err(Failure::Unknown(format!("the head of the log is not at size {}", before.size())));
        }
        Err(error) => error,
    };
    match error {
        StoreError::Failed(_) => {
            // Nothing is concluded from it; it only frees the database for whoever comes next.
            let _ = store.roll_back().await;
            Err(Failure::Unknown(error.chain()))
        }
        StoreError::Full(_) | StoreError::Busy(_) => prove_rollback(store, before, error).await,
    }
}

async fn attempt<S: Store>(store: &mut S, batch: Batch) -> Result<bool, StoreError> {
    if !store.stage(batch).await? {
        return Ok(false);
    }
    store.commit().await?;
    Ok(true)
}

/// The rollback must have worked, and the head as read anew must be the one before.
async fn prove_rollback<S: Store>(store: &mut S, before: &Head, error: StoreError) -> Result<(), Failure> {
    let unproven = |e: StoreError| Failure::Unknown(format!("{}; and then: {}", error.chain(), e.chain()));
    store.roll_back().await.map_err(unproven)?;
    let found = store.head().await.map_err(unproven)?;
    if found == *before {
        Err(Failure::RolledBack(error))
    } else {
        Err(Failure::Unknown(format!("{}; and the head moved to size {}", error.chain(), found.size())))
    }
}
