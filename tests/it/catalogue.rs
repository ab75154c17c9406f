//! The catalogue: what a caller may know of, how it may have it, and nothing of the rest.

use acceptance::{Plant, http};
use serde_json::Value;

async fn ask(plant: &Plant, caller: &str, query: &str) -> http::Answer {
    let bearer = format!("Bearer {}", plant.token(caller));
    http::get(&format!("{}/v1/catalogue{query}", plant.api()), &[("authorization", &bearer)]).await.unwrap()
}

async fn catalogue(plant: &Plant, caller: &str, query: &str) -> Value {
    let answer = ask(plant, caller, query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

fn resources(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["resource"].as_str().unwrap()).collect()
}

fn item<'v>(page: &'v Value, resource: &str) -> &'v Value {
    page["items"].as_array().unwrap().iter().find(|item| item["resource"] == resource).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_competitor_finds_its_own_and_no_trace_of_the_other() {
    let plant = Plant::start().await.unwrap();
    let (acme, bolt) = (catalogue(&plant, "acme", "").await, catalogue(&plant, "bolt", "").await);
    assert!(
        resources(&acme).contains(&"Signal/press-3.vibration") && resources(&bolt).contains(&"Signal/feeder-2.torque")
    );
    for (own, other) in [(&acme, "bolt"), (&bolt, "acme")] {
        let text = own.to_string();
        assert!(!text.contains(other), "{text}");
    }
    assert!(!bolt.to_string().contains("press-3") && !acme.to_string().contains("feeder"), "{acme}");
    // What it says is what a request is told.
    for (caller, page) in [("acme", &acme), ("bolt", &bolt)] {
        for one in
            page["items"].as_array().unwrap().iter().filter(|i| i["resource"].as_str().unwrap().starts_with("Signal/"))
        {
            for access in one["access"].as_array().unwrap() {
                let way = one["routes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|r| r["path"].as_str().unwrap().starts_with("/series/"))
                    .unwrap();
                let step = access["resolutions"][0].as_str().unwrap_or("1m");
                let target = format!(
                    "{}?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution={step}",
                    way["path"].as_str().unwrap()
                );
                let purpose = access["purposes"][0].as_str().unwrap_or("quality-analysis");
                let agreement = access["agreement"].as_str().unwrap();
                let headers = [("millgate-purpose", purpose), ("millgate-agreement", agreement)];
                let answer = plant.get(caller, &target, &headers).await.unwrap();
                assert_eq!(
                    answer.status == 200,
                    access["allowed"].as_bool().unwrap(),
                    "{target} {access} {}",
                    answer.text()
                );
            }
        }
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_how_to_have_a_thing_and_what_of_it_is_seen() {
    let plant = Plant::start().await.unwrap();
    let acme = catalogue(&plant, "acme", "").await;
    let terms = &acme["agreements"][0];
    assert_eq!((&terms["id"], &terms["resolution_min"]), (&"acme-maintenance-2026".into(), &"1m".into()));
    let series = item(&acme, "Signal/press-3.vibration");
    assert_eq!(series["access"][0]["resolutions"], serde_json::json!(["1m", "10m", "1h", "1d"]));
    assert_eq!(series["access"][0]["purposes"], serde_json::json!(["predictive-maintenance", "quality-analysis"]));
    assert_eq!((&series["unit"], &series["steward"]), (&"mm/s".into(), &"press-shop-steward".into()), "{series}");

    let mixed = item(&acme, "Dataset/quality-notifications");
    let access = &mixed["access"][0];
    assert_eq!(
        (&access["records"], &access["hidden"]),
        (&"some".into(), &serde_json::json!(["commercial", "personal"]))
    );
    let masks: Vec<String> = access["fields"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| Some(format!("{} {}", f["name"].as_str()?, f["mask"].as_str()?)))
        .collect();
    assert_eq!(masks, ["cost bucket 100", "orderNumber partial 3", "responsiblePerson pseudonym"]);
    let way = &mixed["routes"][0];
    assert_eq!((&way["method"], &way["path"]), (&"GET".into(), &"/quality-notifications".into()));
    assert_eq!(way["parameters"].as_array().unwrap().len(), 4);

    // The plant's own: without an agreement, and whole.
    let own = catalogue(&plant, "analytics", "").await;
    let access = &item(&own, "Signal/press-3.vibration")["access"][0];
    assert_eq!(
        (&access["allowed"], access.get("agreement"), &access["resolutions"][0]),
        (&true.into(), None, &"raw".into())
    );
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_strangers_get_none() {
    let plant = Plant::start().await.unwrap();
    let whole = catalogue(&plant, "analytics", "").await;
    let mut found = Vec::new();
    let mut query = String::from("?limit=3");
    loop {
        let page = catalogue(&plant, "analytics", &query).await;
        assert!(page["items"].as_array().unwrap().len() <= 3);
        found.extend(resources(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=3&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(found, resources(&whole));
    let product = catalogue(&plant, "analytics", "?product=press-3-telemetry").await;
    assert!(!resources(&product).is_empty() && resources(&product).iter().all(|r| r.starts_with("Signal/press-3.")));

    assert_eq!(http::get(&format!("{}/v1/catalogue", plant.api()), &[]).await.unwrap().status, 401);
    for (query, reason) in [
        ("?limit=0", "bad_parameter"),
        ("?limit=1&limit=2", "duplicate_parameter"),
        ("?product=a%20b", "bad_parameter"),
        ("?x=1", "undeclared_parameter"),
    ] {
        let answer = ask(&plant, "acme", query).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, reason), "{query}");
    }
    plant.stop().await;
}
