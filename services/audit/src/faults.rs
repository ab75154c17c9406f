//! A store that fails on demand, or in which somebody meddles, for tests of the log and of those who depend on it.

use crate::store::{Batch, Cause, CheckpointRow, Head, OrganisationState, Scrubbed, Store, StoreError};
use model::OrganisationId;
use std::fmt;
use std::pin::Pin;

/// A moment in the life of a store. Failing before an operation leaves it undone, failing after it leaves it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    BeforeStage,
    AfterStage,
    BeforeCommit,
    AfterCommit,
    RollBack,
    Head,
    BeforeCheckpoint,
    AfterCheckpoint,
    Maintain,
}

impl Step {
    pub const ALL: [Self; 9] = [
        Self::BeforeStage,
        Self::AfterStage,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::RollBack,
        Self::Head,
        Self::BeforeCheckpoint,
        Self::AfterCheckpoint,
        Self::Maintain,
    ];
}

/// What a failing step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Full,
    Busy,
    /// An input/output error: what is on the disk is unknown.
    Failed,
    /// None; but it takes so many milliseconds more, in which everybody else goes on.
    Slow(u64),
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("injected at {0:?}")]
struct Injected(Step);

/// What somebody does to a store, or to what is about to be put into it.
pub type Meddled<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;
type Meddle<S> = dyn for<'a> FnMut(&'a mut S, &'a mut Batch) -> Meddled<'a> + Send;

/// Wraps a store; asks before and after every operation whether to fail.
pub struct FailingStore<S> {
    inner: S,
    plan: Box<dyn FnMut(Step) -> Option<Fault> + Send>,
    meddle: Option<Box<Meddle<S>>>,
}

impl<S: Store> FailingStore<S> {
    /// `plan` is asked at every step, in order.
    pub fn new(inner: S, plan: impl FnMut(Step) -> Option<Fault> + Send + 'static) -> Self {
        Self { inner, plan: Box::new(plan), meddle: None }
    }

    /// One that never fails by itself. `meddle` comes before each batch is staged, and may change the batch or the store.
    pub fn meddling(
        inner: S,
        meddle: impl for<'a> FnMut(&'a mut S, &'a mut Batch) -> Meddled<'a> + Send + 'static,
    ) -> Self {
        Self { inner, plan: Box::new(|_| None), meddle: Some(Box::new(meddle)) }
    }

    async fn ask(&mut self, step: Step) -> Result<(), StoreError> {
        let cause: Cause = Box::new(Injected(step));
        match (self.plan)(step) {
            None => Ok(()),
            Some(Fault::Slow(ms)) => {
                tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
                Ok(())
            }
            Some(Fault::Full) => Err(StoreError::Full(cause)),
            Some(Fault::Busy) => Err(StoreError::Busy(cause)),
            Some(Fault::Failed) => Err(StoreError::Failed(cause)),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for FailingStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailingStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Store> Store for FailingStore<S> {
    async fn head(&mut self) -> Result<Head, StoreError> {
        self.ask(Step::Head).await?;
        self.inner.head().await
    }

    async fn organisations(&mut self) -> Result<Vec<(OrganisationId, OrganisationState)>, StoreError> {
        self.inner.organisations().await
    }

    async fn stage(&mut self, mut batch: Batch) -> Result<bool, StoreError> {
        self.ask(Step::BeforeStage).await?;
        if let Some(meddle) = &mut self.meddle {
            meddle(&mut self.inner, &mut batch).await?;
        }
        let moved = self.inner.stage(batch).await?;
        self.ask(Step::AfterStage).await?;
        Ok(moved)
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.ask(Step::BeforeCommit).await?;
        self.inner.commit().await?;
        self.ask(Step::AfterCommit).await
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.ask(Step::RollBack).await?;
        self.inner.roll_back().await
    }

    async fn put_checkpoint(&mut self, row: CheckpointRow) -> Result<(), StoreError> {
        self.ask(Step::BeforeCheckpoint).await?;
        self.inner.put_checkpoint(row).await?;
        self.ask(Step::AfterCheckpoint).await
    }

    async fn maintain(&mut self) -> Result<(), StoreError> {
        self.ask(Step::Maintain).await?;
        self.inner.maintain().await
    }

    async fn scrub(&mut self) -> Result<Scrubbed, StoreError> {
        self.inner.scrub().await
    }

    async fn close(self) -> Result<(), StoreError> {
        self.inner.close().await
    }

    fn abandon(self) {
        self.inner.abandon();
    }
}
