//! What the broker counts. Labels are closed sets of ours; reason codes of policies are bounded by the registry.

mod issuers;

use audit::Log;
use http::StatusCode;
use identity::Identity;
use model::{Clock, Reason};
use runtime::metrics::{Counter, Family, Gauge, Histogram, Registry, SECONDS};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct BrokerMetrics {
    registry: Registry,
    open: Arc<Gauge>,
    requests: Family<Counter, 2>,
    seconds: Arc<Histogram>,
    refusals: Family<Counter, 2>,
    decisions: [Arc<Counter>; 2],
    differences: Arc<Counter>,
    refused_logins: Family<Counter, 1>,
    reloads: Family<Counter, 2>,
    shadow_compared: Family<Counter, 1>,
    shadow_differences: Family<Counter, 1>,
}

/// A request that has begun and not ended.
#[derive(Debug)]
pub struct Started {
    at: Instant,
    open: Arc<Gauge>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}

impl BrokerMetrics {
    pub fn new(registry: Registry, log: &Log, identity: &Arc<Identity>, clock: Arc<dyn Clock>) -> Self {
        watch_log(&registry, log);
        issuers::watch(&registry, identity, clock);
        let decisions =
            registry.counters("millgate_decisions_total", "Decisions of the policy decision point.", ["decision"]);
        Self {
            open: registry.gauge("millgate_requests_open", "Requests whose answer has not begun."),
            requests: registry.counters(
                "millgate_requests_total",
                "Requests by listener and status of the answer.",
                ["listener", "status"],
            ),
            seconds: registry.histogram(
                "millgate_request_seconds",
                "From the end of a request's headers to the head of its answer.",
                SECONDS,
            ),
            refusals: registry.counters(
                "millgate_refusals_total",
                "Refused requests by listener and reason.",
                ["listener", "reason"],
            ),
            decisions: [decisions.with(["allow"]), decisions.with(["deny"])],
            differences: registry.counter(
                "millgate_decision_differences_total",
                "Generations whose policy index answered otherwise than all policies do.",
            ),
            refused_logins: registry.counters("millgate_refused_logins_total", "Failed logins by reason.", ["reason"]),
            reloads: registry.counters(
                "millgate_reloads_total",
                "Changes of folders and certificates by result.",
                ["folder", "result"],
            ),
            shadow_compared: registry.counters(
                "millgate_shadow_decisions_total",
                "Sampled decisions that were compared with the shadow policies', or missed.",
                ["result"],
            ),
            shadow_differences: registry.counters(
                "millgate_shadow_differences_total",
                "Decisions that the shadow policies would have made otherwise, by direction.",
                ["direction"],
            ),
            registry,
        }
    }

    pub fn begin(&self) -> Started {
        self.open.add(1);
        Started { at: Instant::now(), open: self.open.clone() }
    }

    pub fn end(&self, started: Started, listener: &'static str, status: StatusCode, reason: Option<&Reason>) {
        let elapsed: Duration = started.at.elapsed();
        self.seconds.observe(elapsed);
        self.requests.with([listener, status.as_str()]).increment();
        if let Some(reason) = reason {
            self.refusals.with([listener, reason.as_str()]).increment();
        }
        drop(started);
    }

    pub fn decision(&self, allow: bool) {
        let [allowed, denied] = &self.decisions;
        if allow { allowed.increment() } else { denied.increment() }
    }

    pub fn difference(&self) {
        self.differences.increment();
    }

    pub fn refused_login(&self, reason: &Reason) {
        self.refused_logins.with([reason.as_str()]).increment();
    }

    pub fn reload(&self, folder: &'static str, taken: bool) {
        self.reloads.with([folder, if taken { "taken" } else { "refused" }]).increment();
    }

    pub fn shadow_compared(&self, compared: bool, n: u64) {
        let counter = self.shadow_compared.with([if compared { "compared" } else { "missed" }]);
        (0..n).for_each(|_| counter.increment());
    }

    pub fn shadow_difference(&self, direction: &'static str) {
        self.shadow_differences.with([direction]).increment();
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

fn watch_log(registry: &Registry, log: &Log) {
    crate::quarantine::gauge(registry, false);
    let gauge = |name, help, read: fn(&audit::LogStatus) -> u64| {
        let log = log.clone();
        registry.gauge_from(name, help, move || i64::try_from(read(&log.status())).unwrap_or(i64::MAX));
    };
    gauge("millgate_audit_entries", "Entries in the audit log.", |s| s.size);
    gauge("millgate_audit_pruned_entries", "Entries that are not kept any longer, of all that were written.", |s| {
        s.pruned_size
    });
    gauge("millgate_audit_checkpoint_entries", "Entries that the latest signed checkpoint covers.", |s| {
        s.checkpoint_size
    });
    gauge(
        "millgate_audit_witnessed_entries",
        "Entries that the latest checkpoint covers which a quorum of witnesses cosigned.",
        |s| s.witnessed_size,
    );
    gauge("millgate_audit_indexed_entries", "Entries that questions find by the index.", |s| s.indexed_size);
    gauge("millgate_audit_queue", "Entries that wait for the writer.", |s| s.queue);
    gauge("millgate_audit_open_exchanges", "Allowed exchanges without an outcome.", |s| s.open);
    let counter = |name, help, read: fn(&audit::LogStatus) -> u64| {
        let log = log.clone();
        registry.counter_from(name, help, move || read(&log.status()));
    };
    counter(
        "millgate_audit_publish_failures_total",
        "Rounds that published no checkpoint, because something failed.",
        |s| s.publish_failures,
    );
    counter(
        "millgate_audit_cosigned_late_total",
        "Cosignatures of witnesses that came so late that the checkpoint was published without them.",
        |s| s.cosigned_late,
    );
    counter(
        "millgate_audit_receipts_missed_total",
        "Answers that went without a receipt, because none was signed in time.",
        |s| s.receipts_missed,
    );
    gauge("millgate_audit_clock_doubted", "1 while nothing is deleted by age, because the clock may be wrong.", |s| {
        u64::from(s.clock_doubted)
    });
    let log = log.clone();
    registry.gauge_from("millgate_audit_healthy", "1 while the audit log can be written.", move || {
        i64::from(log.is_healthy())
    });
}
