//! Series of one metric, told apart by the values of its labels.

use super::{Metric, header};
use std::fmt::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

/// Labels are closed sets; a family that outgrows this has a label that a stranger can fill.
pub const SERIES_MAX: usize = 1_000;

/// A metric with `N` labels. Cheap to clone.
pub struct Family<M, const N: usize>(Arc<Inner<M, N>>);

struct Inner<M, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    make: Box<dyn Fn() -> M + Send + Sync>,
    /// Sorted by label values.
    series: RwLock<Vec<([String; N], Arc<M>)>>,
}

impl<M, const N: usize> Clone for Family<M, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<M: Metric, const N: usize> Family<M, N> {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { name, help, labels, make: Box::new(make), series: RwLock::default() }))
    }

    /// The series with these label values, made if it is new. A read lock and a binary search: where the values are known
    /// beforehand, keep what this returns.
    pub fn with(&self, values: [&str; N]) -> Arc<M> {
        if let Some(found) = self.find(values) {
            return found;
        }
        let mut series = self.0.series.write().unwrap_or_else(PoisonError::into_inner);
        // One place stays free for what is beyond the bound.
        let values = if series.len() + 1 < SERIES_MAX { values } else { ["other"; N] };
        match series.binary_search_by(|(known, _)| compare(known, &values)) {
            Ok(at) => series.get(at).map(|(_, metric)| Arc::clone(metric)),
            Err(at) => {
                series.insert(at, (values.map(str::to_owned), Arc::new((self.0.make)())));
                series.get(at).map(|(_, metric)| Arc::clone(metric))
            }
        }
        .unwrap_or_else(|| Arc::new((self.0.make)()))
    }

    fn find(&self, values: [&str; N]) -> Option<Arc<M>> {
        let series = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
        let at = series.binary_search_by(|(known, _)| compare(known, &values)).ok()?;
        series.get(at).map(|(_, metric)| Arc::clone(metric))
    }

    pub(super) fn write(&self, out: &mut String) {
        let inner = &self.0;
        header(out, inner.name, inner.help, M::KIND);
        for (values, metric) in inner.series.read().unwrap_or_else(PoisonError::into_inner).iter() {
            metric.write(inner.name, &labels(&inner.labels, values), out);
        }
    }
}

fn compare<const N: usize>(known: &[String; N], values: &[&str; N]) -> std::cmp::Ordering {
    known.iter().map(String::as_str).cmp(values.iter().copied())
}

pub(super) fn labels(names: &[&str], values: &[String]) -> String {
    let mut out = String::new();
    for (name, value) in names.iter().zip(values) {
        let comma = if out.is_empty() { "" } else { "," };
        let escaped = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        let _ = write!(out, "{comma}{name}=\"{escaped}\"");
    }
    out
}
