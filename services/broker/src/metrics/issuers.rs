//! The state of issuers' keys, for those that somebody has used.

use identity::{Identity, IssuerStatus};
use model::Clock;
use runtime::metrics::Registry;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Issuers shown by name, those in trouble first: a registry may have ten thousand, and a scrape should stay readable.
const SHOWN_MAX: usize = 100;

pub(super) fn watch(registry: &Registry, identity: &Arc<Identity>, clock: Arc<dyn Clock>) {
    let seen = identity.clone();
    registry.gauges_from(
        "millgate_issuer_keys_age_seconds",
        "Time since the keys of an issuer were fetched.",
        "issuer",
        move || {
            let now = clock.now().millis();
            let age = |s: IssuerStatus| Some((s.issuer.to_string(), (now - s.fetched_at?.millis()).max(0) / 1000));
            shown(&seen).into_iter().filter_map(age).collect()
        },
    );
    let seen = identity.clone();
    registry.gauges_from(
        "millgate_issuer_keys_failing",
        "1 while the latest fetch of an issuer's keys has failed.",
        "issuer",
        move || shown(&seen).into_iter().map(|s| (s.issuer.to_string(), i64::from(s.failure.is_some()))).collect(),
    );
    let seen = identity.clone();
    registry.gauge_from("millgate_issuers_failing", "Issuers whose latest fetch of keys has failed.", move || {
        i64::try_from(seen.used().iter().filter(|s| s.failure.is_some()).count()).unwrap_or(i64::MAX)
    });
    let seen = identity.clone();
    registry.counter_from("millgate_key_fetches_total", "Fetches of issuers' keys that brought some.", move || {
        seen.fetches().good.load(Relaxed)
    });
    let seen = identity.clone();
    registry.counter_from("millgate_key_fetch_failures_total", "Fetches of issuers' keys that failed.", move || {
        seen.fetches().failed.load(Relaxed)
    });
    let seen = identity.clone();
    registry.gauge_from("millgate_verified_tokens", "Tokens whose verification is remembered.", move || {
        i64::try_from(seen.verified_tokens()).unwrap_or(i64::MAX)
    });
}

fn shown(identity: &Identity) -> Vec<IssuerStatus> {
    first(identity.used())
}

fn first(mut used: Vec<IssuerStatus>) -> Vec<IssuerStatus> {
    used.sort_by(|a, b| {
        (a.failure.is_none(), a.fetched_at, &a.issuer).cmp(&(b.failure.is_none(), b.fetched_at, &b.issuer))
    });
    used.truncate(SHOWN_MAX);
    used.sort_by(|a, b| a.issuer.cmp(&b.issuer));
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{IssuerId, Timestamp};

    #[test]
    fn of_ten_thousand_issuers_those_in_trouble_are_shown() {
        let status = |i: i64| IssuerStatus {
            issuer: IssuerId::new(&format!("issuer-{i}")).unwrap(),
            keys: 1,
            fetched_at: Some(Timestamp(i)),
            failure: (i % 1_000 == 999).then(|| String::from("it is away")),
        };
        let shown = first((0..10_000).map(status).collect());
        assert_eq!(shown.len(), SHOWN_MAX);
        assert_eq!(shown.iter().filter(|s| s.failure.is_some()).count(), 10);
        assert!(shown.iter().any(|s| s.issuer.as_str() == "issuer-0"), "then those with the oldest keys");
        assert!(shown.is_sorted_by(|a, b| a.issuer < b.issuer));
    }
}
