//! Counters, gauges and histograms on atomics, rendered in the Prometheus text format 0.0.4.
//!
//! Metrics are made once at start and held by whoever counts; what the registry keeps is only for [`Registry::render`].
//! Label values come from closed sets (a listener, a status, a reason code), never from a request: a family has at most
//! [`SERIES_MAX`] series, and what comes beyond is counted under `other`.

mod family;
mod process;

#[cfg(test)]
mod tests;

pub use family::{Family, SERIES_MAX};

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The `Content-Type` of [`Registry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From a tenth of a millisecond, where a cached decision lies, to the patience of a caller.
pub const SECONDS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One more than bounds: what is beyond the last.
    buckets: Box<[AtomicU64]>,
    /// 2^64 nanoseconds are 584 years of waiting.
    sum_ns: AtomicU64,
}

impl Histogram {
    /// `bounds` ascend.
    pub fn new(bounds: &'static [Duration]) -> Self {
        debug_assert!(bounds.is_sorted());
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum_ns: AtomicU64::new(0) }
    }

    pub fn observe(&self, value: Duration) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }
}

/// What a family is made of.
pub trait Metric: fmt::Debug + Send + Sync + 'static {
    const KIND: &'static str;
    /// Writes the sample lines of one series; `labels` is empty or `a="b",c="d"`.
    fn write(&self, name: &str, labels: &str, out: &mut String);
}

impl Metric for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        sample(out, name, labels, self.get());
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        sample(out, name, labels, self.get());
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = self.bounds.iter().map(|b| b.as_secs_f64().to_string()).chain([String::from("+Inf")]);
        let mut below = 0;
        for (bound, bucket) in bounds.zip(&self.buckets) {
            below += bucket.load(Relaxed);
            sample(out, &format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), below);
        }
        let sum = Duration::from_nanos(self.sum_ns.load(Relaxed)).as_secs_f64();
        sample(out, &format!("{name}_sum"), labels, sum);
        sample(out, &format!("{name}_count"), labels, below);
    }
}

fn sample(out: &mut String, name: &str, labels: &str, value: impl fmt::Display) {
    // Writing to a string does not fail.
    let _ =
        if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\\', r"\\").replace('\n', r"\n"));
}

type Collector = Box<dyn Fn(&mut String) + Send + Sync>;

/// Every metric of the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Collector>>>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Holds the metrics of the process itself: CPU time, memory, open files.
    pub fn new() -> Self {
        let registry = Self::default();
        registry.collect(process::write);
        registry
    }

    /// `name` ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Arc<Counter> {
        self.family(name, help, [], Counter::default).with([])
    }

    pub fn counters<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Family<Counter, N> {
        self.family(name, help, labels, Counter::default)
    }

    pub fn gauge(&self, name: &'static str, help: &'static str) -> Arc<Gauge> {
        self.family(name, help, [], Gauge::default).with([])
    }

    pub fn gauges<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Family<Gauge, N> {
        self.family(name, help, labels, Gauge::default)
    }

    /// A gauge that is read when it is rendered. `read` must not block.
    pub fn gauge_from(&self, name: &'static str, help: &'static str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        self.from(name, help, Gauge::KIND, move || read().to_string());
    }

    /// Gauges with one label that are read when they are rendered. `read` gives each value of the label once, and not more
    /// than [`SERIES_MAX`] of them; it must not block.
    pub fn gauges_from(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(String, i64)> + Send + Sync + 'static,
    ) {
        debug_assert!(is_name(name) && is_name(label), "{name} {label}");
        self.collect(move |out| {
            header(out, name, help, Gauge::KIND);
            for (value, number) in read().into_iter().take(SERIES_MAX) {
                sample(out, name, &family::labels(&[label], &[value]), number);
            }
        });
    }

    /// A counter that somebody else keeps, read when it is rendered. `read` must not block.
    pub fn counter_from(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.from(name, help, Counter::KIND, move || read().to_string());
    }

    /// `name` ends in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str, bounds: &'static [Duration]) -> Arc<Histogram> {
        self.family(name, help, [], move || Histogram::new(bounds)).with([])
    }

    pub fn histograms<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [Duration],
    ) -> Family<Histogram, N> {
        self.family(name, help, labels, move || Histogram::new(bounds))
    }

    /// Everything, in the order in which it was made.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8192);
        for collector in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            collector(&mut out);
        }
        out
    }

    fn family<M: Metric, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Family<M, N> {
        debug_assert!(is_name(name) && labels.iter().all(|l| is_name(l)), "{name} {labels:?}");
        let family = Family::new(name, help, labels, make);
        let collected = family.clone();
        self.collect(move |out| collected.write(out));
        family
    }

    fn from(
        &self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        read: impl Fn() -> String + Send + Sync + 'static,
    ) {
        debug_assert!(is_name(name), "{name}");
        self.collect(move |out| {
            header(out, name, help, kind);
            sample(out, name, "", read());
        });
    }

    fn collect(&self, collector: impl Fn(&mut String) + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collector));
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
