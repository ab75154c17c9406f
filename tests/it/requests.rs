//! Requests with a second reading are refused, or shown to reach policy, log and source as one.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http};

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// A plant whose systems are one source that remembers what it was asked.
async fn watched() -> (Plant, Source) {
    let source = Source::start(None, Behaviour::Say(OK.to_vec())).await.unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    (plant, source)
}

fn target() -> &'static str {
    "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m"
}

async fn raw(plant: &Plant, head: &str, rest: &str) -> String {
    let bearer = plant.token("acme");
    let text = format!(
        "{head}\r\nauthorization: Bearer {bearer}\r\nmillgate-purpose: predictive-maintenance\r\nconnection: close\r\n{rest}"
    );
    http::raw(plant.demo.running.data, text.as_bytes()).await.unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_paths_are_refused_and_never_reach_the_source() {
    let (plant, source) = watched().await;
    for path in [
        "/plain/../plain/press-3.vibration",
        "/plain/%2e%2e/plain/press-3.vibration",
        "/plain//press-3.vibration",
        "/plain/press-3.vibration/",
        "/series%2fpress-3.vibration",
        "/plain/press-3.vibration%00",
        "/plain/press-3.vibration%5c",
        "/plain/%c0%ae%c0%ae/press-3.vibration",
        "/plain/press-3.vibration%2",
        "/plain/press-3.vibration;x=1",
        "/plain/%252e%252e/press-3.vibration",
    ] {
        let query = target().split_once('?').unwrap().1;
        let answer = raw(&plant, &format!("GET {path}?{query} HTTP/1.1\r\nhost: broker"), "\r\n").await;
        assert_eq!(status(&answer), "400", "{path}: {answer}");
    }
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_framings_two_hosts_and_smuggled_requests_have_one_reading() {
    let (plant, source) = watched().await;
    let line = format!("GET {} HTTP/1.1", target());
    for (head, rest) in [
        (format!("{line}\r\nhost: a"), "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        (format!("{line}\r\nhost: a"), "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
        (format!("{line}\r\nhost: a"), "content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        (format!("{line}\r\nhost: a"), "transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
        (format!("{line}\r\nhost: a\r\nhost: b"), "\r\n"),
        (format!("GET http://elsewhere{} HTTP/1.1\r\nhost: a", target()), "\r\n"),
        (format!("{line}\r\nhost: a"), "content-length: 5\r\n\r\nhello"),
        (format!("{line}\r\nhost: a\r\n folded: header"), "\r\n"),
        (format!("{line}\r\nhost: a"), "bad header: x\r\n\r\n"),
        (format!("{line}\r\nhost: a"), "millgate-purpose: quality-analysis\r\n\r\n"),
        (format!("{line}\r\nhost: a"), "authorization: Bearer x.y.z\r\n\r\n"),
        (format!("{line}\r\nhost: a"), "proxy-authorization: Bearer x.y.z\r\n\r\n"),
    ] {
        let answer = raw(&plant, &head, rest).await;
        assert!(matches!(status(&answer), "400" | "closed"), "{head} {rest}: {answer}");
    }
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_in_the_target_is_seen_by_nobody() {
    let (plant, source) = watched().await;
    let head = format!("GET {}#/../../secret HTTP/1.1\r\nhost: broker", target());
    let answer = raw(&plant, &head, "\r\n").await;
    match status(&answer) {
        "200" => {
            // The library dropped it below us: then the source must not have seen it either.
            assert_eq!(source.asked(), 1);
            assert!(!source.heads().concat().contains("secret"), "{:?}", source.heads());
        }
        "400" => assert_eq!(source.asked(), 0),
        other => panic!("{other}: {answer}"),
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_line_feeds_are_refused_or_one_reading() {
    let (plant, source) = watched().await;
    let bearer = plant.token("acme");
    let text = format!(
        "GET {} HTTP/1.1\nhost: broker\nauthorization: Bearer {bearer}\nmillgate-purpose: predictive-maintenance\n\
         connection: close\n\nGET /smuggled HTTP/1.1\nhost: broker\n\n",
        target()
    );
    let answer = http::raw(plant.demo.running.data, text.as_bytes()).await.unwrap();
    // One request at the most: the connection closes after it, so the second is never read.
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    assert!(source.asked() <= 1);
    assert!(!source.heads().concat().contains("smuggled"));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_headers_are_refused_within_bounds() {
    let (plant, source) = watched().await;
    let big = "x".repeat(64 * 1024);
    let answer = raw(&plant, &format!("GET {} HTTP/1.1\r\nhost: broker\r\nx-big: {big}", target()), "\r\n").await;
    assert!(matches!(status(&answer), "431" | "400" | "closed"), "{answer}");
    let many: String = (0..500).map(|i| format!("x-{i}: y\r\n")).collect();
    let answer = raw(&plant, &format!("GET {} HTTP/1.1\r\nhost: broker", target()), &format!("{many}\r\n")).await;
    assert!(matches!(status(&answer), "431" | "400" | "closed"), "{answer}");
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_callers_headers_reaches_the_source() {
    let (plant, source) = watched().await;
    let head = format!("GET {} HTTP/1.1\r\nhost: broker", target());
    let rest = "cookie: session=1\r\nx-forwarded-for: 10.0.0.1\r\nx_forwarded_for: 10.0.0.1\r\nforwarded: for=x\r\n\
                user-agent: curl/8\r\nx-original-url: /admin\r\nrange: bytes=0-1\r\nif-none-match: \"a\"\r\n\
                accept-encoding: gzip\r\nte: trailers\r\nupgrade: websocket\r\n\r\n";
    let answer = raw(&plant, &head, rest).await;
    assert_eq!(status(&answer), "200", "{answer}");
    let seen = source.heads().concat().to_ascii_lowercase();
    for secret in [
        plant.token("acme"),
        "cookie",
        "forwarded",
        "curl/8",
        "x-original-url",
        "range",
        "if-none-match",
        "gzip",
        "websocket",
    ] {
        assert!(!seen.contains(&secret.to_ascii_lowercase()), "`{secret}` reached the source: {seen}");
    }
    assert!(seen.contains("millgate-request-id: "), "{seen}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undeclared_duplicate_and_ill_typed_parameters_are_refused_before_the_source() {
    let (plant, source) = watched().await;
    let purpose = [("millgate-purpose", "predictive-maintenance")];
    for (extra, reason) in [
        ("&q=SELECT%20*", "undeclared_parameter"),
        ("&resolution=1m", "duplicate_parameter"),
        ("&from=2026-11-22T08:00:00Z", "duplicate_parameter"),
    ] {
        let answer = plant.get("acme", &format!("{}{extra}", target()), &purpose).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (400, reason), "{extra}: {}", answer.text());
    }
    for bad in ["1m%27%20OR%201%3D1", "-1m", "1", "99999999999999999999d", ""] {
        let query = target().replace("resolution=1m", &format!("resolution={bad}"));
        let answer = plant.get("acme", &query, &purpose).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_parameter"), "{bad}: {}", answer.text());
    }
    let entries = plant.audit("decision=deny&limit=1000").await.unwrap();
    assert_eq!(entries.len(), 8, "every refused request of a known caller is in the log");
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_discover_a_machine_cannot_tell_it_from_nothing() {
    let (plant, source) = watched().await;
    let nothing = plant.get("bolt", "/no/such/thing", &[]).await.unwrap();
    for hidden in [
        target().to_owned(),
        target().replace("resolution=1m", "resolution=junk"),
        format!("{}&q=1", target()),
        String::from("/plain/press-3.vibration"),
    ] {
        let answer = plant.get("bolt", &hidden, &[("millgate-purpose", "quality-analysis")]).await.unwrap();
        assert_eq!(answer.status, 404, "{hidden}: {}", answer.text());
        let mask = |a: &http::Answer| a.text().replace(a.request_id(), "ID");
        assert_eq!(mask(&answer), mask(&nothing), "{hidden}");
        let names = |a: &http::Answer| a.headers.keys().map(|k| k.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&answer), names(&nothing));
        assert_eq!(plant.entries_of(answer.request_id()).await.unwrap().len(), 1, "recorded as the other is");
    }
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_told_only_to_who_may_discover_the_path_and_recorded_with_its_resource() {
    let (plant, source) = watched().await;
    let url = format!("{}/plain/press-3.vibration", plant.data());
    let mut seen = Vec::new();
    for (caller, status, reason) in [("acme", 405, "method_not_allowed"), ("bolt", 404, "not_found")] {
        let bearer = format!("Bearer {}", plant.token(caller));
        let answer = http::send("DELETE", &url, &[("authorization", &bearer)], Default::default()).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{caller}: {}", answer.text());
        assert_eq!(answer.header("allow"), if status == 405 { "GET" } else { "" });
        seen.push(plant.entries_of(answer.request_id()).await.unwrap().remove(0));
    }
    for entry in seen {
        assert_eq!(entry["reasons"], serde_json::json!(["method_not_allowed"]), "the log tells the true reason");
        assert_eq!((&entry["resource"], &entry["route"]), (&"Signal/press-3.vibration".into(), &"plain".into()));
    }
    assert_eq!(source.asked(), 0);
    plant.stop().await;
}
