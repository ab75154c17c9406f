//! Fields that a caller may not see: masked or left out, whatever the source says, and told to caller and log.

use acceptance::source::{Behaviour, Source};
use acceptance::{Plant, http};
use std::collections::BTreeSet;

const NOTIFICATIONS: &str = "/quality-notifications?from=2026-11-01T00:00:00Z&to=2026-11-20T00:00:00Z&limit=50";

/// As long as suppliers may look at once.
const WEEK: &str = "/quality-notifications?from=2026-11-10T00:00:00Z&to=2026-11-16T00:00:00Z&limit=50";

/// Routes that choose by a field: by one that the analyst may not see, by one that it may, and by nobody knows what.
const ROUTES: &str = r#"
[route.of-person]
method = "GET"
path = "/notifications/of/{person}"
source = "mes"
dataset = "quality-notifications"
parameters.person = { type = "string", filters = ["responsiblePerson"] }
shape.rows = 10
upstream = { path = "/api/v1/x", query = { person = "{person}" } }

[route.with-cause]
method = "GET"
path = "/notifications/with/{cause}"
source = "mes"
dataset = "quality-notifications"
parameters.cause = { type = "string", filters = ["rootCause"] }
parameters.order = { type = "string", default = "newest" }
shape.rows = 10
upstream = { path = "/api/v1/x", query = { cause = "{cause}", order = "{order}" } }
"#;

fn says(head: &str, body: &[u8]) -> Behaviour {
    let head = format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    Behaviour::Say([head.as_bytes(), body].concat())
}

const JSON: &str = "content-type: application/json\r\n";

/// What the analyst hears when the MES says that.
async fn hear(behaviour: Behaviour, target: &str) -> (Plant, Source, anyhow::Result<http::Answer>) {
    let source = Source::start(None, behaviour).await.unwrap();
    let plant = Plant::start_with(|dir| {
        let routes = dir.join("policies/plants/munich/catalog/choosing.toml");
        std::fs::create_dir_all(routes.parent().unwrap())?;
        Ok(std::fs::write(routes, ROUTES)?)
    })
    .await
    .unwrap();
    let catalog = plant.directory.path().join("policies/plants/munich/catalog/sources.toml");
    let text = std::fs::read_to_string(&catalog).unwrap();
    let text = text.replace(&plant.demo.plant.to_string(), &source.address.to_string());
    let before = plant.demo.running.broker.generation();
    std::fs::write(&catalog, text).unwrap();
    plant.shutdown.reload();
    acceptance::wait::until("the new source", async || (plant.demo.running.broker.generation() > before).then_some(()))
        .await
        .unwrap();
    let answer = plant.get("analytics", target, &[("range", "bytes=0-10"), ("if-none-match", "\"x\"")]).await;
    (plant, source, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plants_analyst_reads_the_notifications_without_the_people_in_them() {
    let plant = Plant::start().await.unwrap();
    let answer = plant.get("analytics", NOTIFICATIONS, &[]).await.unwrap();
    assert_eq!(
        (answer.status, answer.header("millgate-view")),
        (200, "masked;hidden=\"personal\""),
        "{}",
        answer.text()
    );
    let items = answer.json().unwrap();
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 50);
    let people: BTreeSet<&str> = items.iter().map(|item| item["responsiblePerson"].as_str().unwrap()).collect();
    assert_eq!(people.len(), 7, "one pseudonym for each: {people:?}");
    assert!(people.iter().all(|person| person.len() == 22) && !answer.text().contains("inspector"), "{people:?}");
    assert!(items.iter().all(|item| item["cost"].is_number() && item["plant"]["country"] == "DEU"));

    let entries = plant.closed(answer.request_id()).await.unwrap();
    assert_eq!(entries[0]["hides"], serde_json::json!(["personal"]));
    assert_eq!((&entries[1]["view"], &entries[1]["rows"]), (&"masked".into(), &50.into()));
    assert_eq!(entries[1]["bytes"], answer.text().len());

    // The steward may see them, and another caller's pseudonyms are others.
    let whole = plant.get("steward", NOTIFICATIONS, &[]).await.unwrap();
    assert_eq!((whole.status, whole.header("millgate-view")), (200, "whole"), "{}", whole.text());
    assert!(whole.text().contains("inspector-"));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_competitors_read_the_same_list_and_each_sees_its_own() {
    let plant = Plant::start().await.unwrap();
    let mut numbers = Vec::new();
    let mut people: BTreeSet<String> = BTreeSet::new();
    for caller in ["acme", "bolt"] {
        let answer = plant.get(caller, WEEK, &[("millgate-purpose", "quality-analysis")]).await.unwrap();
        let view = "filtered_masked;hidden=\"commercial personal\"";
        assert_eq!((answer.status, answer.header("millgate-view")), (200, view), "{}", answer.text());
        let items = answer.json().unwrap();
        let items = items.as_array().unwrap();
        assert!(!items.is_empty() && items.iter().all(|item| item["supplier"] == caller), "{}", answer.text());
        let order = items[0]["orderNumber"].as_str().unwrap();
        assert!(order.starts_with("***") && order.len() == 6, "{order}");
        assert!(items[0]["cost"].as_str().unwrap().contains("00.."), "{}", items[0]);
        let own: BTreeSet<String> = items.iter().map(|item| item["responsiblePerson"].to_string()).collect();
        assert!(people.is_disjoint(&own), "one person has another pseudonym under each agreement");
        people.extend(own);
        let entries = plant.closed(answer.request_id()).await.unwrap();
        assert_eq!(entries[0]["records"], serde_json::json!([{ "supplier": caller }]), "nobody else is named");
        assert_eq!((&entries[1]["view"], &entries[1]["rows"]), (&"filtered_masked".into(), &items.len().into()));
        numbers.push(items.len());
    }
    assert!(numbers.iter().sum::<usize>() < 21, "three a day, and some are of neither: {numbers:?}");

    // A page of one is one of one's own, wherever it lies: nobody counts the others by pages.
    for caller in ["acme", "bolt"] {
        for limit in [1, 2] {
            let page = WEEK.replace("limit=50", &format!("limit={limit}"));
            let answer = plant.get(caller, &page, &[("millgate-purpose", "quality-analysis")]).await.unwrap();
            let items = answer.json().unwrap();
            let items = items.as_array().unwrap();
            assert_eq!(items.len(), limit, "{}", answer.text());
            assert!(items.iter().all(|item| item["supplier"] == caller), "{}", answer.text());
        }
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_by_a_field_that_it_may_not_see() {
    for (target, expected) in [
        ("/notifications/of/inspector-1", "403 hidden_field"),
        ("/notifications/with/wear", "200 "),
        ("/notifications/with/wear?order=responsiblePerson", "403 hidden_field"),
    ] {
        let (plant, source, answer) = hear(says(JSON, br#"[{"rootCause":"wear"}]"#), target).await;
        let answer = answer.unwrap();
        assert_eq!(format!("{} {}", answer.status, answer.reason()), expected, "{target}: {}", answer.text());
        assert_eq!(source.asked(), usize::from(answer.status == 200), "{target}");
        let entries = plant.entries_of(answer.request_id()).await.unwrap();
        let decision = if answer.status == 200 { "allow" } else { "deny" };
        assert_eq!(entries[0]["decision"], decision, "{target}: {entries:?}");
        let metrics = plant.demo.running.broker.metrics.registry().render();
        let denials = u8::from(decision == "deny");
        let counted = format!("millgate_decisions_total{{decision=\"deny\"}} {denials}\n");
        assert!(metrics.contains(&counted), "{target}: {metrics}");
        plant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_says_beside_the_declared_fields_stays_inside() {
    let body = br#"[{"qualityTaskId":"QT-1","password":"hunter2","responsiblePerson":{"name":"inspector-1"},
        "plant":{"country":"DEU","secretAddress":"hunter2"},"supplier":[{"deep":"hunter2"}]}]"#;
    let head = "content-type: application/json; charset=UTF-8\r\netag: \"hunter2\"\r\nlast-modified: Mon, 02 Nov 2026 \
        00:00:00 GMT\r\nrepr-digest: sha-256=:aHVudGVyMg==:\r\ncontent-range: bytes 0-10/99\r\ncontent-disposition: \
        attachment; filename=hunter2\r\nx-hunter2: hunter2\r\n";
    let (plant, source, answer) = hear(says(head, body), NOTIFICATIONS).await;
    let answer = answer.unwrap();
    let expected = r#"[{"qualityTaskId":"QT-1","responsiblePerson":null,"plant":{"country":"DEU"},"supplier":[{}]}]"#;
    assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    for name in ["etag", "last-modified", "repr-digest", "content-range", "content-disposition", "x-hunter2"] {
        assert!(answer.header(name).is_empty(), "{name}");
    }
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    let asked = source.heads().join("").to_ascii_lowercase();
    assert!(
        asked.contains("accept-encoding: identity") && !asked.contains("range") && !asked.contains("if-none"),
        "{asked}"
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_what_was_declared_shows_nothing() {
    let html = "content-type: text/html\r\n";
    let cases: [(&str, &[u8]); 8] = [
        (html, b"<p>hunter2</p>"),
        ("", br#"[{"rootCause":"hunter2"}]"#),
        ("content-type: application/json; charset=utf-16\r\n", br#"[{"rootCause":"hunter2"}]"#),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", br#"[{"rootCause":"hunter2"}]"#),
        (JSON, br#"[{"rootCause":"hunter2"},]"#),
        (JSON, br#"[{"rootCause":"hunter2","rootCause":"hunter2"}]"#),
        (JSON, b"[{\"rootCause\":\"hunter2\xff\"}]"),
        (JSON, br#"{"rootCause":"hunter2""#),
    ];
    for (head, body) in cases {
        let (plant, _source, answer) = hear(says(head, body), NOTIFICATIONS).await;
        let answer = answer.unwrap();
        let what = format!("{head}{}", String::from_utf8_lossy(body));
        assert_eq!((answer.status, answer.reason().as_str()), (502, "source_malformed"), "{what}");
        assert!(!answer.text().contains("hunter2"), "{what}: {}", answer.text());
        let entries = plant.closed(answer.request_id()).await.unwrap();
        assert_eq!(
            (&entries[1]["ended"], &entries[1]["reason"]),
            (&"source_failed".into(), &"source_malformed".into())
        );
        plant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_wrong_on_its_way_is_broken_off_visibly() {
    let mut body = b"[".to_vec();
    for n in 0..2_000 {
        body.extend_from_slice(
            format!(r#"{{"qualityTaskId":"QT-{n}","responsiblePerson":"inspector-{n}"}},"#).as_bytes(),
        );
    }
    body.extend_from_slice(br#"{"qualityTaskId":hunter2}]"#);
    let (plant, _source, answer) = hear(says(JSON, &body), NOTIFICATIONS).await;
    assert!(answer.is_err(), "the caller sees that it is not whole");
    let outcome = acceptance::wait::until("an outcome", async || {
        plant.audit("kind=outcome&organisation=norden").await.ok()?.into_iter().next()
    })
    .await
    .unwrap();
    assert_eq!(
        (&outcome["ended"], &outcome["reason"]),
        (&"source_aborted".into(), &"source_malformed".into()),
        "{outcome}"
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaped_answer_is_compressed_for_whoever_takes_it() {
    let items: Vec<String> = (0..3_000)
        .map(|n| format!(r#"{{"qualityTaskId":"QT-{n}","responsiblePerson":"inspector-{}"}}"#, n % 7))
        .collect();
    let body = format!("[{}]", items.join(","));
    let (plant, _source, plain) = hear(says(JSON, body.as_bytes()), NOTIFICATIONS).await;
    let plain = plain.unwrap();
    assert_eq!((plain.status, plain.header("content-encoding"), plain.header("vary")), (200, "", "accept-encoding"));
    let curl = |more: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "-D", "-", "-H"]).arg(format!("Authorization: Bearer {}", plant.token("analytics")));
        command.args(more).arg(format!("{}{NOTIFICATIONS}", plant.data()));
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    };
    let (head, unpacked) = curl(&["--compressed"]);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert_eq!(unpacked, plain.text(), "the same pseudonyms for the same agreement");
    let (head, packed) = curl(&["-H", "Accept-Encoding: gzip"]);
    assert!(head.contains("content-encoding: gzip") && packed.len() * 3 < unpacked.len(), "{head}");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cut_off_while_a_source_only_seems_to_answer_is_told_so_and_the_source_is_let_go() {
    let source = Source::start(
        None,
        Behaviour::SayAndHang(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n   ".to_vec(),
        ),
    )
    .await
    .unwrap();
    let plant = Plant::start_with_source(source.address.port()).await.unwrap();
    let registry = plant.directory.path().join("policies/plants/munich/registry/out.toml");
    let cut_off = async {
        acceptance::wait::until("the question", async || (source.asked() == 1).then_some(())).await.unwrap();
        std::fs::write(&registry, "[revoked]\nprincipals = [\"norden/mes-analytics\"]\n").unwrap();
    };
    let (answer, ()) = tokio::join!(plant.get("analytics", NOTIFICATIONS, &[]), cut_off);
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (403, "revoked"), "{}", answer.text());
    let entries = plant.closed(answer.request_id()).await.unwrap();
    assert_eq!((&entries[1]["ended"], entries[1].get("view")), (&"withdrawn".into(), None));
    std::fs::remove_file(&registry).unwrap();
    plant.shutdown.reload();
    // Nobody is cut off now, and there is an end all the same.
    let answer = acceptance::wait::until("an answer", async || {
        let answer = plant.get("analytics", NOTIFICATIONS, &[]).await.unwrap();
        (answer.reason() != "revoked").then_some(answer)
    });
    let answer = answer.await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (504, "source_timeout"), "{}", answer.text());
    plant.stop().await;
}
