//! The one thread that speaks with a module.

use super::error::TokenError;
use super::library::Library;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who asks are a publisher and a signer of receipts, one thing at a time each. More of them wait behind one that hangs.
const JOBS_MAX: usize = 8;

/// A module is initialised once in a process (PKCS #11 v3.0 section 5.4), whoever uses it, and logins hold for the whole
/// process. So there is one thread for it, which lasts.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
pub(super) struct Module {
    jobs: SyncSender<Job>,
}

struct Job {
    /// Whoever asked has gone after this.
    until: Instant,
    work: Box<dyn FnOnce(&mut Library) + Send>,
}

impl Module {
    pub(super) fn of(path: &Path) -> Result<Arc<Self>, TokenError> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let library = Library::new(path);
        let started = std::thread::Builder::new().name(String::from("pkcs11")).spawn(move || run(library, &inbox));
        started.map_err(|error| TokenError::Module { path: path.to_owned(), why: error.to_string() })?;
        let module = Arc::new(Self { jobs });
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    /// Has `work` done by the module's thread and waits for it, but no longer than `patience`: what the module does then, it
    /// does for nobody.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut Library) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let (answer, answered) = sync_channel(1);
        let until = Instant::now() + patience;
        let work = Box::new(move |library: &mut Library| drop(answer.send(work(library))));
        self.jobs.try_send(Job { until, work }).map_err(|error| match error {
            TrySendError::Full(_) => TokenError::Busy,
            TrySendError::Disconnected(_) => TokenError::Ended,
        })?;
        match answered.recv_timeout(patience) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => Err(TokenError::Late(patience)),
            // Passed over.
            Err(RecvTimeoutError::Disconnected) if Instant::now() >= until => Err(TokenError::Late(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(TokenError::Ended),
        }
    }
}

fn run(mut library: Library, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        if Instant::now() < job.until {
            (job.work)(&mut library);
        }
    }
}
