//! Signals and the two ways to end: draining, then at once.
//!
//! SIGTERM or SIGINT asks for a drain: listeners stop accepting, requests that have begun go on. A second one, or the end
//! of the drain's time, ends everything at once. SIGHUP asks for a reload. Nothing here knows what is drained or
//! reloaded: tasks are tracked, tokens are watched.

use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: CancellationToken,
    immediate: CancellationToken,
    /// Counts the requests to reload, so that none is lost on a receiver that was busy with the one before.
    reloads: watch::Sender<u64>,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every tracked task ended by itself.
    Finished,
    /// Time was up or a second signal came with this many tasks still running; they have been told to end at once.
    CutOff { tasks: usize },
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    pub fn new() -> Self {
        Self {
            draining: CancellationToken::new(),
            immediate: CancellationToken::new(),
            reloads: watch::Sender::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Listens to SIGTERM, SIGINT and SIGHUP from here on, in a task of the current runtime.
    ///
    /// # Errors
    /// When the operating system refuses to install a handler.
    pub fn listen_to_signals(&self) -> std::io::Result<JoinHandle<()>> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        Ok(tokio::spawn(self.clone().follow(terminate, interrupt, hangup)))
    }

    async fn follow(self, mut terminate: Signal, mut interrupt: Signal, mut hangup: Signal) {
        while !self.immediate.is_cancelled() {
            tokio::select! {
                _ = terminate.recv() => self.begin("SIGTERM"),
                _ = interrupt.recv() => self.begin("SIGINT"),
                _ = hangup.recv() => self.reload(),
            }
        }
    }

    /// The first call begins the drain, the second ends everything at once. `cause` is logged.
    pub fn begin(&self, cause: &str) {
        if self.draining.is_cancelled() {
            tracing::warn!(cause, "asked again to end: ending at once");
            self.immediate.cancel();
        } else {
            tracing::info!(cause, "draining: no new connections, requests in flight go on");
            self.draining.cancel();
        }
    }

    /// Asks every holder of [`Self::reloads`] to reload.
    pub fn reload(&self) {
        tracing::info!("reload requested");
        self.reloads.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Changes whenever a reload is requested.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// Cancelled when the drain begins: stop accepting.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when nothing may wait any longer: drop what is in flight.
    pub fn immediate(&self) -> &CancellationToken {
        &self.immediate
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Spawns a task that a drain waits for: a connection, a stream, a writer.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits for the tracked tasks, for at most `limit` or until a second signal. Begins the drain if nobody has.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.draining.cancel();
        self.tasks.close();
        let finished = tokio::select! {
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(limit) => false,
            () = self.immediate.cancelled() => false,
        };
        if finished {
            return Drained::Finished;
        }
        let tasks = self.tasks.len();
        self.immediate.cancel();
        Drained::CutOff { tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_tasks_and_then_reports_them_finished() {
        let shutdown = Shutdown::new();
        let token = shutdown.draining().clone();
        let task = shutdown.spawn(async move { token.cancelled().await });
        assert_eq!(shutdown.drain(Duration::from_secs(60)).await, Drained::Finished);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_cut_off_and_told_so() {
        let shutdown = Shutdown::new();
        let token = shutdown.immediate().clone();
        let task = shutdown.spawn(async move { token.cancelled().await });
        assert_eq!(shutdown.drain(Duration::ZERO).await, Drained::CutOff { tasks: 1 });
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_second_request_to_end_does_not_wait_for_the_limit() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        shutdown.begin("test");
        assert!(shutdown.is_draining() && !shutdown.immediate().is_cancelled());
        shutdown.begin("test");
        assert_eq!(shutdown.drain(Duration::from_secs(3600)).await, Drained::CutOff { tasks: 1 });
    }

    #[tokio::test]
    async fn a_reload_reaches_every_receiver_even_a_late_reader() {
        let shutdown = Shutdown::new();
        let (mut one, mut two) = (shutdown.reloads(), shutdown.reloads());
        shutdown.reload();
        shutdown.reload();
        one.changed().await.unwrap();
        two.changed().await.unwrap();
        assert!(!one.has_changed().unwrap());
    }
}
