//! Whatever bytes come as a token: an answer, never a panic, never a login.

use super::stand::{NOW, Stand};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use std::sync::LazyLock;
use tokio::runtime::{Builder, Runtime};

/// Keys are fetched once; after that nothing in here waits for anything.
static STAND: LazyLock<(Runtime, Stand)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stand = runtime.block_on(Stand::new());
    assert!(runtime.block_on(stand.login(&stand.token())).is_ok());
    (runtime, stand)
});

fn logs_in(credential: &[u8]) -> bool {
    let (runtime, stand) = &*STAND;
    let Ok(value) = HeaderValue::from_bytes(credential) else { return false };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    runtime.block_on(stand.ask(&headers, false, NOW)).is_ok()
}

fn config() -> Config {
    Config { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_never_log_in(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!logs_in(&[b"Bearer ", bytes.as_slice()].concat()));
    }

    #[test]
    fn arbitrary_json_in_three_parts_never_logs_in(header in ".{0,80}", claims in ".{0,200}", signature in any::<[u8; 64]>()) {
        use super::idp::b64;
        let token = format!("Bearer {}.{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()), b64(&signature));
        prop_assert!(!logs_in(token.as_bytes()));
    }

    #[test]
    fn one_changed_character_never_logs_in(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let token = STAND.1.token();
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        let credential = ["Bearer ", changed.as_str()].concat();
        prop_assert!(!logs_in(credential.as_bytes()));
    }
}

/// What a token of one company claims, as far as it could reach another's.
#[derive(Clone, Debug)]
struct Claimed {
    /// Acme's, or else bolt's.
    by_acme: bool,
    subject: &'static str,
    groups: Vec<&'static str>,
    /// Outermost first; whether it names an issuer, and then whether that is acme's.
    actors: Vec<(&'static str, Option<bool>)>,
    /// Of the actor's token: by whom and for whom.
    actor: Option<(bool, &'static str)>,
    may_act: Option<(Option<bool>, &'static str)>,
}

const SUBJECTS: [&str; 5] = ["anna", "ben", "acme/anna", "bolt/ben", "agent"];
const GROUPS: [&str; 4] = ["acme-engineer", "bolt-engineer", "Acme", "Bolt"];

fn claimed() -> impl Strategy<Value = Claimed> {
    let subject = || prop::sample::select(SUBJECTS.as_slice());
    let groups = prop::collection::vec(prop::sample::select(GROUPS.as_slice()), 0..4);
    let actors = prop::collection::vec((subject(), any::<Option<bool>>()), 0..4);
    let actor = prop::option::of((any::<bool>(), subject()));
    let may_act = prop::option::of((any::<Option<bool>>(), subject()));
    (any::<bool>(), subject(), groups, actors, actor, may_act).prop_map(
        |(by_acme, subject, groups, actors, actor, may_act)| Claimed {
            by_acme,
            subject,
            groups,
            actors,
            actor,
            may_act,
        },
    )
}

/// Both companies' groups stand for the roles of both, as no registry would have it.
static MIXED: LazyLock<(Runtime, Stand)> = LazyLock::new(|| {
    use super::mapping::{groups, organisation};
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut stand = runtime.block_on(Stand::new());
    for (name, role) in [("acme", "acme-engineer"), ("bolt", "bolt-engineer")] {
        stand.parties.organisations.insert(model::OrganisationId::new(name).unwrap(), organisation(name, &[role]));
    }
    let all = [("Acme", "acme-engineer"), ("Bolt", "bolt-engineer"), ("acme-engineer", "acme-engineer")];
    for issuer in stand.parties.issuers.values_mut() {
        issuer.groups = Some(groups(&all));
    }
    (runtime, stand)
});

fn token_of(stand: &Stand, by_acme: bool, changes: &[(&str, serde_json::Value)]) -> String {
    let (idp, key) = if by_acme { (&stand.acme, &stand.acme_key) } else { (&stand.bolt, &stand.bolt_key) };
    let claims = super::idp::with(&super::stand::claims_of(idp.url()), changes).to_string();
    key.sign(&key.header().to_string(), &claims)
}

fn headers_of(stand: &Stand, claimed: &Claimed) -> HeaderMap {
    use serde_json::{Value, json};
    let url = |acme: bool| if acme { stand.acme.url() } else { stand.bolt.url() };
    let named = |issuer: Option<bool>, subject: &str| {
        let issuer = issuer.map_or(Value::Null, |acme| json!(url(acme)));
        super::idp::with(&json!({ "sub": subject }), &[("iss", issuer)])
    };
    let nest =
        |inner, (subject, issuer): &(&str, Option<bool>)| super::idp::with(&named(*issuer, subject), &[("act", inner)]);
    let act = claimed.actors.iter().rev().fold(Value::Null, nest);
    let may_act = claimed.may_act.map_or(Value::Null, |(issuer, subject)| named(issuer, subject));
    let changes =
        [("sub", json!(claimed.subject)), ("groups", json!(claimed.groups)), ("act", act), ("may_act", may_act)];
    let mut headers = super::stand::bearer(&token_of(stand, claimed.by_acme, &changes));
    if let Some((by_acme, subject)) = claimed.actor {
        let token = token_of(stand, by_acme, &[("sub", json!(subject))]);
        headers.append("millgate-actor-token", HeaderValue::from_str(&token).unwrap());
    }
    headers
}

/// What must hold for whoever is let in.
fn stays_within_its_organisation(claimed: &Claimed, caller: &model::Authenticated) -> bool {
    let of = |acme: bool| if acme { "acme" } else { "bolt" };
    let own = of(claimed.by_acme);
    let role = format!("{own}-engineer");
    // Who has brought a token of its own comes first.
    let own_token = claimed.actor.map(|(by_acme, subject)| (of(by_acme), subject));
    let named = own_token.into_iter().chain(claimed.actors.iter().map(|(subject, _)| (own, *subject)));
    let actors = caller.actors().iter().map(|a| (a.principal.organisation.as_str(), a.principal.subject.as_str()));
    caller.organisation().as_str() == own
        && caller.roles().iter().all(|has| has.as_str() == role)
        && named.eq(actors)
        && claimed.actors.iter().all(|(_, issuer)| issuer.is_none_or(|acme| acme == claimed.by_acme))
        && claimed.actor.is_none_or(|(by_acme, subject)| {
            claimed.may_act.is_some_and(|(issuer, may)| issuer.unwrap_or(claimed.by_acme) == by_acme && may == subject)
        })
}

proptest! {
    #![proptest_config(Config { cases: 2_000, ..config() })]

    #[test]
    fn no_token_reaches_beyond_its_issuers_organisation(claimed in claimed()) {
        let (runtime, stand) = &*MIXED;
        let headers = headers_of(stand, &claimed);
        if let Ok(caller) = runtime.block_on(stand.ask(&headers, false, NOW)) {
            prop_assert!(stays_within_its_organisation(&claimed, &caller), "{claimed:?}: {caller:?}");
        }
    }
}

#[test]
fn some_of_the_mixed_tokens_do_log_in() {
    let (runtime, stand) = &*MIXED;
    let claimed = Claimed {
        by_acme: true,
        subject: "anna",
        groups: GROUPS.to_vec(),
        actors: vec![("ben", Some(true))],
        actor: Some((false, "agent")),
        may_act: Some((Some(false), "agent")),
    };
    let caller = runtime.block_on(stand.ask(&headers_of(stand, &claimed), false, NOW)).unwrap();
    assert!(stays_within_its_organisation(&claimed, &caller));
    assert_eq!((caller.roles().len(), caller.actors().len()), (1, 2));
}
