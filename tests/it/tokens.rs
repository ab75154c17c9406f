//! Bad credentials on the wire: refused, recorded within a budget, and the source never asked.

use acceptance::{Plant, http};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const TARGET: &str = "/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z&resolution=1m";

async fn with(plant: &Plant, headers: &[(&str, &str)]) -> http::Answer {
    let mut all = vec![("millgate-purpose", "predictive-maintenance")];
    all.extend_from_slice(headers);
    http::get(&format!("{}{TARGET}", plant.data()), &all).await.unwrap()
}

fn encode(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_401_and_recorded() {
    let plant = Plant::start().await.unwrap();
    let good = plant.token("acme").to_owned();
    let parts: Vec<&str> = good.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let renamed = |from: &str, to: &str| {
        assert!(claims.contains(from), "{claims}");
        format!("{}.{}.{}", parts[0], encode(&claims.replace(from, to)), parts[2])
    };
    let none = format!("{}.{}.", encode(r#"{"alg":"none","typ":"at+jwt"}"#), parts[1]);
    let hmac = format!("{}.{}.{}", encode(r#"{"alg":"HS256","typ":"at+jwt"}"#), parts[1], parts[2]);
    let bad = [
        (none, "bad_algorithm"),
        (hmac, "bad_algorithm"),
        (renamed("engineer-1", "engineer-9"), "bad_signature"),
        (format!("{}.{}.{}", parts[0], parts[1], encode("not the signature")), "bad_signature"),
        (renamed("/acme", "/bolt"), "unknown_key"),
        (renamed("/acme", "/nobody"), "unknown_issuer"),
        ("x".repeat(9_000), "malformed_token"),
        (String::from("a.b"), "malformed_token"),
    ];
    for (token, reason) in &bad {
        let answer = with(&plant, &[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, *reason), "{}", answer.text());
        assert!(answer.header("www-authenticate").contains("invalid_token"));
        assert!(!answer.text().contains(token.as_str()));
    }
    let entries = plant.audit("kind=refused_login&order=oldest").await.unwrap();
    let reasons: Vec<_> = entries.iter().map(|e| e["reasons"][0].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons, bad.iter().map(|(_, r)| (*r).to_owned()).collect::<Vec<_>>());
    assert!(entries.iter().all(|e| e.get("org").is_none()), "a failed credential is nobody's entry");
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_credential_in_one_place() {
    let plant = Plant::start().await.unwrap();
    let bearer = format!("Bearer {}", plant.token("acme"));
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Basic YTpi")], 401),
        (vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())], 400),
        (vec![("authorization", bearer.as_str()), ("proxy-authorization", bearer.as_str())], 400),
    ] {
        let answer = with(&plant, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
    let url = format!("{}{TARGET}&access_token={}", plant.data(), plant.token("acme"));
    let answer = http::get(&url, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (400, "misplaced_credential"));
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_401_on_every_path_of_every_listener() {
    let plant = Plant::start().await.unwrap();
    for url in [
        format!("{}/", plant.data()),
        format!("{}{TARGET}", plant.data()),
        format!("{}/no/such/thing", plant.data()),
        format!("{}/v1/audit/entries", plant.api()),
        format!("{}/v1/audit/entries?nonsense=1", plant.api()),
        format!("{}/metrics", plant.api()),
        format!("{}/metrics", plant.data()),
    ] {
        let answer = http::get(&url, &[]).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (401, "no_credential"), "{url}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_fill_the_log() {
    let plant = Plant::start().await.unwrap();
    for _ in 0..200 {
        with(&plant, &[("authorization", "Bearer a.b.c")]).await;
    }
    let single = plant.audit("kind=refused_login&limit=1000").await.unwrap().len();
    // Two minutes may be touched, each with its own budget of sixty.
    assert!((60..=120).contains(&single), "{single}");
    let directory = plant.stop().await;
    let entries = acceptance::published(directory.path()).unwrap();
    let counted: i64 = entries
        .iter()
        .filter(|e| e["kind"] == "refused_logins")
        .flat_map(|e| e["counts"].as_object().unwrap().values().filter_map(serde_json::Value::as_i64))
        .sum();
    assert_eq!(usize::try_from(counted).unwrap() + single, 200, "every one is told, one by one or counted");
}
