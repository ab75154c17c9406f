//! Claims that become a subject, roles and an assurance level: of the issuer's organisation, whatever they say.

use super::stand::{AUDIENCE, NOW, Stand};
use model::party::{Assurance, Groups, Organisation, OrganisationKind, Status};
use model::{OrganisationId, Reason, RoleId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn role(name: &str) -> RoleId {
    RoleId::new(name).unwrap()
}

pub(super) fn organisation(name: &str, roles: &[&str]) -> Organisation {
    Organisation {
        id: OrganisationId::new(name).unwrap(),
        title: name.to_owned(),
        kind: OrganisationKind::Supplier,
        country: "DE".to_owned(),
        status: Status::Active,
        roles: roles.iter().map(|name| role(name)).collect(),
        bindings: BTreeSet::new(),
    }
}

pub(super) fn groups(pairs: &[(&str, &str)]) -> Groups {
    let roles = pairs.iter().map(|(group, name)| ((*group).to_owned(), role(name))).collect();
    Groups { claim: "groups".to_owned(), roles }
}

async fn stand() -> Stand {
    let mut stand = Stand::new().await;
    for (name, roles) in [("acme", ["acme-engineer", "acme-planner"]), ("bolt", ["bolt-engineer", "bolt-planner"])] {
        stand.parties.organisations.insert(OrganisationId::new(name).unwrap(), organisation(name, &roles));
    }
    let pairs = [("Plant Maintenance", "acme-engineer"), ("Planning", "acme-planner"), ("Bolt", "bolt-engineer")];
    stand.change_acme(|issuer| issuer.groups = Some(groups(&pairs)));
    stand
}

async fn roles(stand: &Stand, groups: Value) -> Vec<String> {
    let caller = stand.login(&stand.token_with(&[], &[("groups", groups)])).await.unwrap();
    caller.roles().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn groups_stand_for_roles() {
    let stand = stand().await;
    assert_eq!(roles(&stand, json!(["Plant Maintenance", "Chess"])).await, ["acme-engineer"]);
    assert_eq!(roles(&stand, json!(["Planning", "Plant Maintenance"])).await, ["acme-engineer", "acme-planner"]);
    assert_eq!(roles(&stand, json!("Planning")).await, ["acme-planner"]);
    for none in [json!([]), json!("planning"), json!(["acme-engineer"]), json!("Planning,Plant Maintenance")] {
        assert!(roles(&stand, none).await.is_empty());
    }
    assert!(stand.login(&stand.token()).await.unwrap().roles().is_empty());
}

#[tokio::test]
async fn groups_of_the_wrong_type() {
    let stand = stand().await;
    for wrong in [json!(1), json!({"0": "Planning"}), json!(["Planning", 1]), json!([["Planning"]]), json!(true)] {
        assert_eq!(stand.refusal_of_claims(&[("groups", wrong)]).await, Reason::BAD_CLAIM);
    }
}

#[tokio::test]
async fn a_group_that_stands_for_a_role_of_another_company() {
    // The registry refuses such an entry; here it has slipped through.
    let mut stand = stand().await;
    assert!(roles(&stand, json!(["Bolt"])).await.is_empty());
    assert!(roles(&stand, json!(["bolt-engineer"])).await.is_empty());
    stand.parties.organisations.remove("acme");
    assert!(roles(&stand, json!(["Plant Maintenance"])).await.is_empty(), "a company that is not there has no roles");
}

#[tokio::test]
async fn roles_claimed_where_no_groups_are_configured() {
    let stand = Stand::new().await;
    for claim in ["groups", "roles", "role", "scope"] {
        let token = stand.token_with(&[], &[(claim, json!(["acme-engineer"]))]);
        assert!(stand.login(&token).await.unwrap().roles().is_empty());
    }
}

#[tokio::test]
async fn e_mail_text_is_no_identity() {
    let mut stand = stand().await;
    let told = [
        ("email", json!("ben@bolt.example")),
        ("preferred_username", json!("ben@bolt.example")),
        ("upn", json!("bolt/ben")),
        ("organisation", json!("bolt")),
    ];
    let caller = stand.login(&stand.token_with(&[], &told)).await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
    // Even where an issuer is configured to name people so, they are its own.
    stand.change_acme(|issuer| issuer.subject_claim = "email".to_owned());
    let caller = stand.login(&stand.token_with(&[], &told)).await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/ben@bolt.example");
    assert_eq!(stand.refusal(&stand.token()).await, Reason::BAD_CLAIM, "`sub` is no substitute");
}

#[tokio::test]
async fn the_name_of_another_company_in_a_subject() {
    let stand = stand().await;
    let caller = stand.login(&stand.token_with(&[], &[("sub", json!("bolt/ben"))])).await.unwrap();
    assert_eq!(caller.organisation().as_str(), "acme");
    assert_eq!(caller.principal().to_text(), "acme/bolt/ben");
}

#[tokio::test]
async fn subjects_that_look_like_another_in_unicode() {
    let stand = stand().await;
    let alike = [
        "\u{430}nna@acme.example",
        "ann\u{200b}a@acme.example",
        "anna\u{ff20}acme.example",
        "\u{202e}anna@acme.example",
        "a\u{301}nna@acme.example",
        "anna@acme.example\u{a0}",
        "ANNA@acme.example\u{0}",
    ];
    for sub in alike {
        assert_eq!(stand.refusal_of_claims(&[("sub", json!(sub))]).await, Reason::BAD_CLAIM, "{sub:?}");
    }
    // Another case is another principal, not this one.
    let caller = stand.login(&stand.token_with(&[], &[("sub", json!("Anna@acme.example"))])).await.unwrap();
    assert_eq!(caller.principal().subject.as_str(), "Anna@acme.example");
}

#[tokio::test]
async fn assurance_is_what_the_registry_makes_of_it() {
    let mut stand = stand().await;
    let levels = BTreeMap::from([("mfa".to_owned(), 2), ("absurd".to_owned(), 200)]);
    stand.change_acme(|issuer| issuer.assurance = Some(Assurance { claim: "acr".to_owned(), levels }));
    for (acr, level) in [(json!("mfa"), 2), (json!("absurd"), 3), (json!("3"), 0), (json!(""), 0), (Value::Null, 0)] {
        let token = stand.token_with(&[], &[("acr", acr)]);
        assert_eq!(stand.login(&token).await.unwrap().assurance(), level);
    }
    for wrong in [json!(3), json!(["mfa"]), json!({"mfa": true}), json!(true)] {
        assert_eq!(stand.refusal_of_claims(&[("acr", wrong)]).await, Reason::BAD_CLAIM);
    }
}

#[tokio::test]
async fn a_token_that_is_too_old_although_it_has_not_expired() {
    let mut stand = stand().await;
    stand.change_acme(|issuer| issuer.token_age_max_seconds = Some(3600));
    let age = |seconds: i64| [("iat", json!(NOW.seconds() - seconds)), ("exp", json!(NOW.seconds() + 86_400))];
    assert!(stand.login(&stand.token_with(&[], &age(3629))).await.is_ok());
    for old in [3630, 86_400] {
        assert_eq!(stand.refusal_of_claims(&age(old)).await, Reason::TOKEN_TOO_OLD);
    }
}

#[tokio::test]
async fn a_confirmation_that_cannot_be_checked_is_not_ignored() {
    let stand = stand().await;
    let thumbprint = "A".repeat(43);
    let cannot = [
        json!({}),
        json!(null),
        json!("jkt"),
        json!([{"jkt": thumbprint}]),
        json!({"jkt": 1}),
        json!({"jkt": ""}),
        json!({"jkt": "A".repeat(42)}),
        json!({"jkt": format!("{}B", "A".repeat(42))}),
        json!({"jkt": format!("{thumbprint}=")}),
        json!({"jwk": {"kty": "EC"}}),
        json!({"kid": "key-1"}),
        json!({"x5t": thumbprint}),
        json!({"x5t#S256": thumbprint, "kid": "key-1"}),
        json!({"x5t#S256": [thumbprint]}),
        // Nobody has proven to hold these.
        json!({"x5t#S256": thumbprint}),
        json!({"jkt": thumbprint}),
    ];
    for cnf in cannot {
        let mut claims = stand.claims();
        claims["cnf"] = cnf;
        let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims.to_string());
        assert_eq!(stand.refusal(&token).await, Reason::BAD_BINDING, "{claims}");
    }
}

#[tokio::test]
async fn a_token_of_a_kubernetes_service_account() {
    let mut stand = stand().await;
    stand.change_acme(|issuer| {
        issuer.token_types.clear();
        issuer.principal_kind = model::PrincipalKind::Service;
    });
    let account = json!({"namespace": "mes", "serviceaccount": {"name": "reader", "uid": "2f1e"}});
    let changes = [
        ("aud", json!([AUDIENCE])),
        ("sub", json!("system:serviceaccount:mes:reader")),
        ("kubernetes.io", account),
        ("nbf", json!(NOW.seconds() - 10)),
    ];
    let token = stand.token_with(&[("typ", Value::Null)], &changes);
    let caller = stand.login(&token).await.unwrap();
    assert_eq!(caller.principal().to_text(), "acme/system:serviceaccount:mes:reader");
}
