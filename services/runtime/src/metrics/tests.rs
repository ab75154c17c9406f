use super::*;

fn bare() -> Registry {
    Registry::default()
}

const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(2_500)];

#[test]
fn the_text_is_what_prometheus_reads() {
    let registry = bare();
    let requests =
        registry.counters("millgate_requests_total", "Requests by listener and status.", ["listener", "status"]);
    let waiting = registry.gauge("millgate_audit_queue", "Entries waiting for the writer.");
    let seconds = registry.histogram("millgate_request_seconds", "From request to answer.", BOUNDS);
    registry.gauge_from("millgate_log_entries", "Entries in the log.", || 7);
    requests.with(["data", "403"]).increment();
    requests.with(["api", "200"]).add(2);
    requests.with(["data", "403"]).increment();
    waiting.set(-1);
    for ms in [1, 2, 9_000] {
        seconds.observe(Duration::from_millis(ms));
    }
    assert_eq!(
        registry.render(),
        r#"# HELP millgate_requests_total Requests by listener and status.
# TYPE millgate_requests_total counter
millgate_requests_total{listener="api",status="200"} 2
millgate_requests_total{listener="data",status="403"} 2
# HELP millgate_audit_queue Entries waiting for the writer.
# TYPE millgate_audit_queue gauge
millgate_audit_queue -1
# HELP millgate_request_seconds From request to answer.
# TYPE millgate_request_seconds histogram
millgate_request_seconds_bucket{le="0.001"} 1
millgate_request_seconds_bucket{le="2.5"} 2
millgate_request_seconds_bucket{le="+Inf"} 3
millgate_request_seconds_sum 9.003
millgate_request_seconds_count 3
# HELP millgate_log_entries Entries in the log.
# TYPE millgate_log_entries gauge
millgate_log_entries 7
"#
    );
}

#[test]
fn label_values_and_help_are_escaped() {
    let registry = bare();
    registry.counters("c_total", "a\\b\nc", ["l"]).with(["q\"b\\n\n"]).increment();
    assert_eq!(
        registry.render(),
        "# HELP c_total a\\\\b\\nc\n# TYPE c_total counter\nc_total{l=\"q\\\"b\\\\n\\n\"} 1\n"
    );
}

#[test]
fn labelled_gauges_are_read_when_they_are_rendered() {
    let registry = bare();
    registry.gauges_from("g", "h", "issuer", || vec![(String::from("acme"), 7), (String::from("q\"b"), 0)]);
    assert_eq!(registry.render(), "# HELP g h\n# TYPE g gauge\ng{issuer=\"acme\"} 7\ng{issuer=\"q\\\"b\"} 0\n");
    let endless = bare();
    endless.gauges_from("g", "h", "l", || (0..2 * SERIES_MAX).map(|i| (i.to_string(), 0)).collect());
    assert_eq!(endless.render().lines().count(), SERIES_MAX + 2);
}

#[test]
fn a_family_does_not_grow_beyond_its_bound() {
    let registry = bare();
    let family = registry.counters("c_total", "h", ["l"]);
    for n in 0..SERIES_MAX * 2 {
        family.with([&n.to_string()]).increment();
    }
    assert_eq!(registry.render().lines().count(), SERIES_MAX + 2);
    assert_eq!(family.with(["other"]).get(), 1_001);
    assert_eq!(family.with(["0"]).get(), 1);
}

#[test]
fn the_process_reports_itself() {
    let text = Registry::new().render();
    for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
        let line = text.lines().find(|l| l.starts_with(name));
        let value: f64 = line.and_then(|l| l.split(' ').nth(1)).and_then(|v| v.parse().ok()).unwrap();
        assert!(value >= 0.0, "{name}");
    }
}

#[test]
fn names_are_lower_case_words() {
    assert!(is_name("millgate_requests_total"));
    for bad in ["", "1st", "Upper", "with-dash", "_hidden"] {
        assert!(!is_name(bad), "{bad}");
    }
}
