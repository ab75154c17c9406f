//! Who acts for whom, and who may say so.

use super::idp::{Key, with};
use super::stand::{NOW, Stand, bearer, claims_of};
use http::HeaderValue;
use model::{Authenticated, OrganisationId, Reason, Subject};
use serde_json::{Value, json};

const ACTOR_TOKEN: &str = "millgate-actor-token";

fn names(caller: &Authenticated) -> Vec<String> {
    caller.actors().iter().map(|actor| actor.principal.to_text()).collect()
}

/// A token of bolt's agent, with changes to its claims.
fn agent_of_bolt(stand: &Stand, changes: &[(&str, Value)]) -> String {
    let claims = with(&claims_of(stand.bolt.url()), &[("sub", json!("agent")), ("jti", json!("agent-1"))]);
    stand.bolt_key.sign(&stand.bolt_key.header().to_string(), &with(&claims, changes).to_string())
}

async fn login_with(stand: &Stand, subject: &str, actor: &str) -> Result<Authenticated, Reason> {
    let mut headers = bearer(subject);
    headers.append(ACTOR_TOKEN, HeaderValue::from_str(actor).unwrap());
    stand.ask(&headers, false, NOW).await.map_err(|error| error.reason)
}

fn may_act(stand: &Stand) -> Value {
    json!({"iss": stand.bolt.url(), "sub": "agent"})
}

#[tokio::test]
async fn actors_are_told_from_who_sends_to_who_is_acted_for() {
    let stand = Stand::new().await;
    let act = json!({"sub": "gateway", "act": {"sub": "agent", "iss": stand.acme.url()}});
    let caller = stand.login(&stand.token_with(&[], &[("act", act)])).await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
    assert_eq!(names(&caller), ["acme/gateway", "acme/agent"]);
    assert!(caller.actors().iter().all(|actor| actor.issuer.as_str() == "acme"));
}

#[tokio::test]
async fn an_act_claim_with_the_name_of_another_companys_issuer() {
    let stand = Stand::new().await;
    for iss in [json!(stand.bolt.url()), json!(""), json!(1), json!([stand.acme.url()])] {
        let act = json!({"sub": "agent", "iss": iss});
        assert_eq!(stand.refusal_of_claims(&[("act", act.clone())]).await, Reason::BAD_DELEGATION);
        let nested = json!({"sub": "gateway", "act": act});
        assert_eq!(stand.refusal_of_claims(&[("act", nested)]).await, Reason::BAD_DELEGATION);
    }
}

#[tokio::test]
async fn actors_of_the_wrong_type_or_without_a_name() {
    let stand = Stand::new().await;
    let wrong = [
        json!("agent"),
        json!(["agent"]),
        json!([{"sub": "agent"}]),
        json!(null),
        json!(true),
        json!({}),
        json!({"sub": 1}),
        json!({"sub": ["agent"]}),
        json!({"sub": "\u{430}gent"}),
        json!({"sub": ""}),
        json!({"email": "agent@acme.example"}),
        json!({"sub": "gateway", "act": "agent"}),
    ];
    let claims = stand.claims();
    for act in wrong {
        let mut claims = claims.clone();
        claims["act"] = act;
        let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims.to_string());
        assert_eq!(stand.refusal(&token).await, Reason::BAD_DELEGATION, "{claims}");
    }
}

fn nested(actors: &[String]) -> Value {
    actors.iter().rev().fold(Value::Null, |inner, name| with(&json!({ "sub": name }), &[("act", inner)]))
}

#[tokio::test]
async fn a_chain_that_is_too_long() {
    let stand = Stand::new().await;
    let chain = |length: usize| nested(&(0..length).map(|i| format!("agent-{i}")).collect::<Vec<_>>());
    let caller = stand.login(&stand.token_with(&[], &[("act", chain(4))])).await.unwrap();
    assert_eq!(names(&caller), ["acme/agent-0", "acme/agent-1", "acme/agent-2", "acme/agent-3"]);
    for length in [5, 40] {
        assert_eq!(stand.refusal_of_claims(&[("act", chain(length))]).await, Reason::BAD_DELEGATION);
    }
    assert_eq!(stand.refusal_of_claims(&[("act", chain(150))]).await, Reason::MALFORMED_TOKEN);
}

#[tokio::test]
async fn a_chain_that_comes_back_to_somebody() {
    let stand = Stand::new().await;
    for names in [["anna@acme.example"].as_slice(), &["agent", "agent"], &["a", "anna@acme.example"], &["a", "b", "a"]]
    {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(stand.refusal_of_claims(&[("act", nested(&names))]).await, Reason::BAD_DELEGATION);
    }
}

#[tokio::test]
async fn a_revoked_actor() {
    let mut stand = Stand::new().await;
    let token = stand.token_with(&[], &[("act", json!({"sub": "gateway", "act": {"sub": "agent"}}))]);
    assert!(stand.login(&token).await.is_ok());
    let acme = OrganisationId::new("acme").unwrap();
    stand.parties.revocations.principals.insert((acme, Subject::new("agent").unwrap()));
    assert_eq!(stand.refusal(&token).await, Reason::REVOKED);
}

// === across organisations ===

#[tokio::test]
async fn both_companies_say_so() {
    let stand = Stand::new().await;
    let subject = stand.token_with(&[], &[("may_act", may_act(&stand)), ("act", json!({"sub": "portal"}))]);
    let actor = agent_of_bolt(&stand, &[("act", json!({"sub": "gateway"})), ("exp", json!(NOW.seconds() + 60))]);
    let caller = login_with(&stand, &subject, &actor).await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
    assert_eq!(names(&caller), ["bolt/gateway", "bolt/agent", "acme/portal"]);
    let agent = &caller.actors()[1];
    assert_eq!((agent.issuer.as_str(), agent.token_id.as_deref()), ("bolt", Some("agent-1")));
    assert_eq!(caller.expires(), NOW.plus_millis(90_000), "what ends first ends it");
}

#[tokio::test]
async fn an_actor_that_the_principals_token_does_not_name() {
    let stand = Stand::new().await;
    let (acme, bolt) = (stand.acme.url(), stand.bolt.url());
    let not_it = [
        Value::Null,
        json!("agent"),
        json!({}),
        json!({"sub": "agent"}),
        json!({"iss": bolt}),
        json!({"iss": acme, "sub": "agent"}),
        json!({"iss": bolt, "sub": "agent-2"}),
        json!({"iss": [bolt], "sub": ["agent"]}),
        json!([{"iss": bolt, "sub": "agent"}]),
        json!({"iss": format!("{bolt}/"), "sub": "agent"}),
    ];
    for may_act in not_it {
        let subject = stand.token_with(&[], &[("may_act", may_act)]);
        let found = login_with(&stand, &subject, &agent_of_bolt(&stand, &[])).await;
        assert_eq!(found.unwrap_err(), Reason::BAD_DELEGATION);
    }
}

#[tokio::test]
async fn an_actor_that_says_itself_whom_it_may_act_for() {
    let stand = Stand::new().await;
    let actor = agent_of_bolt(&stand, &[("may_act", json!({"iss": stand.acme.url(), "sub": "anna@acme.example"}))]);
    assert_eq!(login_with(&stand, &stand.token(), &actor).await.unwrap_err(), Reason::BAD_DELEGATION);
}

#[tokio::test]
async fn an_actors_token_is_judged_like_any_other() {
    let stand = Stand::new().await;
    let subject = stand.token_with(&[], &[("may_act", may_act(&stand))]);
    let forged =
        Key::p256("key-1").sign(&stand.bolt_key.header().to_string(), &claims_of(stand.bolt.url()).to_string());
    let wrong = [
        (forged, Reason::BAD_SIGNATURE),
        (agent_of_bolt(&stand, &[("exp", json!(NOW.seconds() - 60))]), Reason::TOKEN_EXPIRED),
        (agent_of_bolt(&stand, &[("aud", json!("https://other.example"))]), Reason::WRONG_AUDIENCE),
        (agent_of_bolt(&stand, &[("cnf", json!({"jkt": "A".repeat(43)}))]), Reason::BAD_BINDING),
        ("agent".to_owned(), Reason::MALFORMED_TOKEN),
        (String::new(), Reason::MALFORMED_TOKEN),
    ];
    for (actor, reason) in wrong {
        assert_eq!(login_with(&stand, &subject, &actor).await.unwrap_err(), reason);
    }
}

#[tokio::test]
async fn a_revoked_token_of_an_actor() {
    let mut stand = Stand::new().await;
    let subject = stand.token_with(&[], &[("may_act", may_act(&stand))]);
    let actor = agent_of_bolt(&stand, &[]);
    assert!(login_with(&stand, &subject, &actor).await.is_ok());
    stand.parties.revocations.tokens.insert((super::stand::id("bolt"), "agent-1".to_owned()));
    assert_eq!(login_with(&stand, &subject, &actor).await.unwrap_err(), Reason::REVOKED);
}

#[tokio::test]
async fn an_actors_token_alone_or_twice() {
    let stand = Stand::new().await;
    let actor = HeaderValue::from_str(&agent_of_bolt(&stand, &[])).unwrap();
    let alone = http::HeaderMap::from_iter([(http::HeaderName::from_static(ACTOR_TOKEN), actor.clone())]);
    assert_eq!(stand.ask(&alone, false, NOW).await.unwrap_err().reason, Reason::MISPLACED_CREDENTIAL);
    let mut twice = bearer(&stand.token_with(&[], &[("may_act", may_act(&stand))]));
    twice.append(ACTOR_TOKEN, actor.clone());
    twice.append(ACTOR_TOKEN, actor);
    assert_eq!(stand.ask(&twice, false, NOW).await.unwrap_err().reason, Reason::SEVERAL_CREDENTIALS);
}

#[tokio::test]
async fn an_actors_company_that_wants_its_callers_bound() {
    let mut stand = Stand::new().await;
    let subject = stand.token_with(&[], &[("may_act", may_act(&stand))]);
    let actor = agent_of_bolt(&stand, &[]);
    let bolt = stand.parties.issuers.get_mut("bolt").unwrap();
    bolt.bindings.insert(model::Binding::Certificate);
    assert_eq!(login_with(&stand, &subject, &actor).await.unwrap_err(), Reason::BINDING_REQUIRED);
}
