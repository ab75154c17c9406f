//! Tokens that must not pass.

use super::idp::{Answer, Key, b64, key_set, pem_of, sign_with, with};
use super::stand::{AUDIENCE, NOW, Stand, claims_of};
use jsonwebtoken::{Algorithm, EncodingKey};
use model::party::{PrincipalRecord, SignatureAlgorithm};
use model::{OrganisationId, PrincipalKind, Reason, Subject};
use serde_json::{Value, json};
use std::collections::BTreeSet;

// === shape ===

#[tokio::test]
async fn sixteen_kib_of_junk() {
    let stand = Stand::new().await;
    for junk in ["a".repeat(16 * 1024), ".".repeat(16 * 1024), format!("{}.a.a", "e".repeat(16 * 1024 - 4))] {
        assert_eq!(stand.refusal(&junk).await, Reason::MALFORMED_TOKEN);
    }
}

#[tokio::test]
async fn a_good_token_beyond_the_length_cap() {
    let stand = Stand::new().await;
    let padded = |bytes: usize| stand.token_with(&[], &[("padding", json!("x".repeat(bytes)))]);
    assert!(stand.login(&padded(4000)).await.is_ok());
    assert_eq!(stand.refusal(&padded(6500)).await, Reason::MALFORMED_TOKEN);
}

#[tokio::test]
async fn whatever_is_refused_an_explanation_ends_with_the_check_that_refused_it() {
    let stand = Stand::new().await;
    let own = Key::p256("key-1");
    let refused = [
        "a".repeat(16 * 1024),
        "a.b".to_owned(),
        own.sign(&own.header().to_string(), &stand.claims().to_string()),
        stand.token_with(&[], &[("exp", json!(0))]),
        stand.token_with(&[], &[("act", json!("agent"))]),
    ];
    for token in refused.into_iter().chain([stand.token()]) {
        let headers = super::stand::bearer(&token);
        let presented = super::stand::presented(&headers, false);
        let authorities = crate::ClientAuthorities::default();
        let told = stand.identity.explain(&presented, &stand.parties, &authorities, NOW).await;
        let last = told.steps.last().unwrap();
        assert_eq!(last.outcome == crate::StepOutcome::Failed, told.outcome.is_err(), "{told:?}");
        let text = format!("{told:?}");
        assert!(token.split('.').filter(|part| part.len() > 8).all(|secret| !text.contains(secret)), "{text}");
    }
}

#[tokio::test]
async fn wrong_number_of_parts() {
    let stand = Stand::new().await;
    let token = stand.token();
    let (message, _) = token.rsplit_once('.').unwrap();
    for bad in
        [message.to_owned(), format!("{token}."), format!("{token}.{token}"), "a".into(), "..".into(), ".".into()]
    {
        assert_eq!(stand.refusal(&bad).await, Reason::MALFORMED_TOKEN, "{bad}");
    }
}

#[tokio::test]
async fn an_encrypted_token_of_five_parts() {
    let stand = Stand::new().await;
    let header = b64(br#"{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}"#);
    assert_eq!(stand.refusal(&format!("{header}.a2V5.aXY.dGV4dA.dGFn")).await, Reason::MALFORMED_TOKEN);
}

#[tokio::test]
async fn a_token_nested_in_a_token() {
    let stand = Stand::new().await;
    let inner = stand.token();
    let header = with(&stand.acme_key.header(), &[("cty", json!("JWT"))]).to_string();
    for payload in [inner.clone(), json!(inner).to_string()] {
        assert_eq!(stand.refusal(&stand.acme_key.sign(&header, &payload)).await, Reason::MALFORMED_TOKEN);
    }
}

#[tokio::test]
async fn padding_and_the_other_base64_alphabet() {
    let stand = Stand::new().await;
    let token = stand.token();
    for bad in [format!("{token}="), format!("{token}=="), token.replace('.', "=."), token.replacen('.', "+.", 1)] {
        assert_eq!(stand.refusal(&bad).await, Reason::MALFORMED_TOKEN);
    }
    assert_eq!(stand.acme.discoveries(), 0, "no key is fetched for it");
}

#[tokio::test]
async fn a_second_spelling_of_the_signature() {
    let stand = Stand::new().await;
    let token = stand.token();
    assert!(stand.login(&token).await.is_ok());
    // 64 bytes fill 86 characters but for four bits. A lenient decoder ignores what stands there.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(token.chars().last().unwrap()).unwrap();
    let (rest, _) = token.split_at(token.len() - 1);
    let sibling = alphabet.chars().nth(last + 1).unwrap();
    assert_eq!(stand.refusal(&format!("{rest}{sibling}")).await, Reason::MALFORMED_TOKEN);
}

#[tokio::test]
async fn duplicate_members_at_any_depth() {
    let stand = Stand::new().await;
    let header = stand.acme_key.header().to_string();
    let claims = stand.claims().to_string();
    let more = |object: &str, member: &str| format!("{},{member}}}", object.strip_suffix('}').unwrap());
    let sign = |header: &str, claims: &str| stand.acme_key.sign(header, claims);
    assert!(stand.login(&sign(&header, &more(&claims, r#""a":{"b":1,"c":[{"d":1}]}"#))).await.is_ok());
    let bad = [
        sign(&more(&header, r#""alg":"ES256""#), &claims),
        sign(&more(&header, r#""kid":"key-1""#), &claims),
        sign(&header, &more(&claims, r#""sub":"root""#)),
        sign(&header, &more(&claims, r#""s\u0075b":"root""#)),
        sign(&header, &more(&claims, r#""exp":9999999999"#)),
        sign(&header, &more(&claims, r#""a":1,"a":1"#)),
        sign(&header, &more(&claims, r#""a":{"b":1,"b":1}"#)),
        sign(&header, &more(&claims, r#""a":[[{"b":1,"b":1}]]"#)),
    ];
    for token in bad {
        assert_eq!(stand.refusal(&token).await, Reason::MALFORMED_TOKEN);
    }
}

#[tokio::test]
async fn parts_that_are_no_json_objects() {
    let stand = Stand::new().await;
    let header = stand.acme_key.header().to_string();
    let claims = stand.claims().to_string();
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let many = format!("{{{}}}", (0..300).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
    for bad in ["", "null", "[]", "\"text\"", "1", "{", "{}{}", "{'iss':1}", "{\"a\":NaN}", &deep, &many] {
        assert_eq!(stand.refusal(&stand.acme_key.sign(bad, &claims)).await, Reason::MALFORMED_TOKEN, "{bad}");
        assert_eq!(stand.refusal(&stand.acme_key.sign(&header, bad)).await, Reason::MALFORMED_TOKEN, "{bad}");
    }
}

// === header ===

#[tokio::test]
async fn algorithm_none() {
    let stand = Stand::new().await;
    let token = stand.token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (_, claims) = message.split_once('.').unwrap();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = b64(json!({"alg": none, "typ": "at+jwt"}).to_string().as_bytes());
        assert_eq!(stand.refusal(&format!("{header}.{claims}.")).await, Reason::BAD_ALGORITHM);
        assert_eq!(stand.refusal(&format!("{header}.{claims}.{signature}")).await, Reason::BAD_ALGORITHM);
    }
    assert_eq!(stand.acme.discoveries(), 0, "no key is looked at");
}

#[tokio::test]
async fn hmac_with_the_public_key_as_secret() {
    let stand = Stand::new().await;
    let key = &stand.acme_key;
    let jwk = key.jwk.to_string();
    let x = key.jwk["x"].as_str().unwrap();
    let pem = pem_of("PUBLIC KEY", &key.public);
    let secrets: [&[u8]; 4] = [jwk.as_bytes(), &key.public, pem.as_bytes(), x.as_bytes()];
    for (name, algorithm) in [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
        for secret in secrets {
            let header = with(&key.header(), &[("alg", json!(name))]).to_string();
            let secret = EncodingKey::from_secret(secret);
            let token = sign_with(&secret, algorithm, &header, &stand.claims().to_string());
            assert_eq!(stand.refusal(&token).await, Reason::BAD_ALGORITHM);
        }
    }
}

#[tokio::test]
async fn an_algorithm_the_issuer_is_not_pinned_to() {
    let mut stand = Stand::new().await;
    let other = Key::p384("key-2");
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &other])));
    let token = other.sign(&other.header().to_string(), &stand.claims().to_string());
    assert_eq!(stand.refusal(&token).await, Reason::BAD_ALGORITHM);
    stand.change_acme(|issuer| issuer.algorithms.push(SignatureAlgorithm::ES384));
    assert!(stand.login(&token).await.is_ok());
}

#[tokio::test]
async fn an_algorithm_that_does_not_fit_the_key() {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.algorithms.extend([SignatureAlgorithm::ES384, SignatureAlgorithm::RS256]));
    for alg in ["ES384", "RS256"] {
        assert_eq!(stand.refusal(&stand.token_with(&[("alg", json!(alg))], &[])).await, Reason::UNKNOWN_KEY);
    }
}

#[tokio::test]
async fn keys_and_extensions_brought_along() {
    let stand = Stand::new().await;
    let own = Key::p256("key-1");
    let brought = [
        ("jwk", own.jwk.clone()),
        ("jku", json!(format!("{}/keys", stand.bolt.url()))),
        ("x5u", json!("https://attacker.example/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
    ];
    for (name, value) in brought {
        let header = with(&own.header(), &[(name, value.clone())]).to_string();
        let forged = own.sign(&header, &stand.claims().to_string());
        assert_eq!(stand.refusal(&forged).await, Reason::MALFORMED_TOKEN, "{name}");
        assert_eq!(stand.refusal(&stand.token_with(&[(name, value)], &[])).await, Reason::MALFORMED_TOKEN, "{name}");
    }
    assert_eq!((stand.acme.discoveries(), stand.bolt.discoveries()), (0, 0));
}

#[tokio::test]
async fn header_members_of_the_wrong_type() {
    let stand = Stand::new().await;
    for (name, value) in
        [("kid", json!(1)), ("kid", json!(["key-1"])), ("typ", json!(["at+jwt"])), ("typ", json!(true))]
    {
        assert_eq!(stand.refusal(&stand.token_with(&[(name, value)], &[])).await, Reason::MALFORMED_TOKEN);
    }
    for alg in [json!(["ES256"]), json!(null), json!(256), json!("es256")] {
        assert_eq!(stand.refusal(&stand.token_with(&[("alg", alg)], &[])).await, Reason::BAD_ALGORITHM);
    }
}

#[tokio::test]
async fn a_token_made_for_another_use() {
    let mut stand = Stand::new().await;
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(stand.login(&stand.token_with(&[("typ", json!(typ))], &[])).await.is_ok(), "{typ}");
    }
    for typ in [json!("JWT"), json!("logout+jwt"), json!("application/"), json!("x/at+jwt"), Value::Null] {
        assert_eq!(stand.refusal(&stand.token_with(&[("typ", typ)], &[])).await, Reason::BAD_TOKEN_TYPE);
    }
    stand.change_acme(|issuer| issuer.token_types.clear());
    assert!(stand.login(&stand.token_with(&[("typ", Value::Null)], &[])).await.is_ok());
}

// === issuer and key ===

#[tokio::test]
async fn an_issuer_that_is_not_registered() {
    let stand = Stand::new().await;
    let url = stand.acme.url();
    let near = [format!("{url}/"), url.to_uppercase(), format!(" {url}"), url.replace("127.0.0.1", "localhost")];
    for iss in near.into_iter().chain(["https://idp.attacker.example".into(), String::new()]) {
        assert_eq!(stand.refusal_of_claims(&[("iss", json!(iss))]).await, Reason::UNKNOWN_ISSUER);
    }
    assert_eq!(stand.acme.discoveries(), 0);
}

#[tokio::test]
async fn the_issuer_of_one_supplier_with_the_key_of_another() {
    let stand = Stand::new().await;
    let header = stand.bolt_key.header().to_string();
    let bolt_says_acme = stand.bolt_key.sign(&header, &stand.claims().to_string());
    let error = stand.login(&bolt_says_acme).await.unwrap_err();
    assert_eq!((error.reason, error.issuer.unwrap().as_str()), (Reason::BAD_SIGNATURE, "acme"));
    assert_eq!(stand.bolt.discoveries(), 0, "keys come from the issuer that `iss` names only");
    // Under its own name bolt may say so, and is bolt.
    let own = stand.bolt_key.sign(&header, &claims_of(stand.bolt.url()).to_string());
    assert_eq!(stand.login(&own).await.unwrap().principal().to_text(), "bolt/anna@acme.example");
}

#[tokio::test]
async fn a_key_of_the_attacker_under_a_known_name() {
    let stand = Stand::new().await;
    let own = Key::p256("key-1");
    let forged = own.sign(&own.header().to_string(), &stand.claims().to_string());
    assert_eq!(stand.refusal(&forged).await, Reason::BAD_SIGNATURE);
}

#[tokio::test]
async fn claims_changed_after_signing() {
    let stand = Stand::new().await;
    let token = stand.token();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = with(&stand.claims(), &[("sub", json!("root@acme.example"))]).to_string();
    let forged = format!("{}.{}.{}", parts[0], b64(claims.as_bytes()), parts[2]);
    assert_eq!(stand.refusal(&forged).await, Reason::BAD_SIGNATURE);
    // The all-zero signature that some libraries once accepted.
    assert_eq!(stand.refusal(&format!("{}.{}.{}", parts[0], parts[1], b64(&[0; 64]))).await, Reason::BAD_SIGNATURE);
    assert_eq!(stand.refusal(&format!("{}.{}.", parts[0], parts[1])).await, Reason::BAD_SIGNATURE);
}

#[tokio::test]
async fn a_token_without_kid_passes_only_where_one_key_fits() {
    let stand = Stand::new().await;
    let token = stand.token_with(&[("kid", Value::Null)], &[]);
    assert!(stand.login(&token).await.is_ok());
    let stand = Stand::new().await;
    stand.acme.now_answers(Answer::Keys(key_set(&[&stand.acme_key, &Key::p256("key-2")])));
    assert_eq!(stand.refusal(&stand.token_with(&[("kid", Value::Null)], &[])).await, Reason::UNKNOWN_KEY);
    assert!(stand.login(&stand.token()).await.is_ok());
}

// === claims ===

#[tokio::test]
async fn expired() {
    let stand = Stand::new().await;
    let now = NOW.seconds();
    for exp in [now - 31, now - 30, 0] {
        assert_eq!(stand.refusal_of_claims(&[("exp", json!(exp))]).await, Reason::TOKEN_EXPIRED, "{exp}");
    }
    let inside_leeway = stand.token_with(&[], &[("exp", json!(now - 29))]);
    assert!(stand.login(&inside_leeway).await.unwrap().expires() > NOW);
}

#[tokio::test]
async fn not_yet_valid() {
    let stand = Stand::new().await;
    let now = NOW.seconds();
    for name in ["nbf", "iat"] {
        let late = stand.refusal_of_claims(&[(name, json!(now + 31))]).await;
        assert_eq!(late, Reason::TOKEN_NOT_YET_VALID, "{name}");
        assert!(stand.login(&stand.token_with(&[], &[(name, json!(now + 30))])).await.is_ok(), "{name}");
    }
    let long_ago_but_issued_later = [("nbf", json!(0)), ("iat", json!(now + 100))];
    assert_eq!(stand.refusal_of_claims(&long_ago_but_issued_later).await, Reason::TOKEN_NOT_YET_VALID);
}

#[tokio::test]
async fn an_absurd_leeway_does_not_make_tokens_immortal() {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.leeway_seconds = u64::MAX);
    assert_eq!(stand.refusal_of_claims(&[("exp", json!(NOW.seconds() - 1))]).await, Reason::TOKEN_EXPIRED);
}

#[tokio::test]
async fn an_audience_that_is_nearly_ours() {
    let stand = Stand::new().await;
    let near = [
        json!(format!("{AUDIENCE}/")),
        json!(format!("{AUDIENCE}.attacker.example")),
        json!(AUDIENCE.to_uppercase()),
        json!(format!("{AUDIENCE} ")),
        json!(format!("{AUDIENCE},https://other.example")),
        json!(["https://other.example", "data.plant.example"]),
        json!(""),
        json!([""]),
    ];
    for aud in near {
        assert_eq!(stand.refusal_of_claims(&[("aud", aud)]).await, Reason::WRONG_AUDIENCE);
    }
    let among_others = stand.token_with(&[], &[("aud", json!(["https://other.example", AUDIENCE]))]);
    assert!(stand.login(&among_others).await.is_ok());
}

#[tokio::test]
async fn audiences_of_the_wrong_type() {
    let stand = Stand::new().await;
    let wrong = [
        json!([]),
        json!([[AUDIENCE]]),
        json!([AUDIENCE, 1]),
        json!([AUDIENCE, null]),
        json!({ AUDIENCE: true }),
        json!({"0": AUDIENCE}),
        json!(true),
        json!(1),
        Value::Null,
    ];
    for aud in wrong {
        assert_eq!(stand.refusal_of_claims(&[("aud", aud)]).await, Reason::BAD_CLAIM);
    }
}

#[tokio::test]
async fn times_of_the_wrong_type() {
    let stand = Stand::new().await;
    let (header, now) = (stand.acme_key.header().to_string(), NOW.seconds());
    let wrong = [
        format!("\"{now}\""),
        format!("{now}.0"),
        format!("{now}.5"),
        "4e9".into(),
        "true".into(),
        "null".into(),
        format!("[{now}]"),
        format!("{{\"{now}\":{now}}}"),
        "-1".into(),
        "-0".into(),
        "253402300800".into(),
        "9223372036854775808".into(),
        "18446744073709551616".into(),
        "1e400".into(),
    ];
    for name in ["exp", "iat", "nbf"] {
        for value in &wrong {
            // 1e400 is no number to any reader here.
            let expected = if value == "1e400" { Reason::MALFORMED_TOKEN } else { Reason::BAD_CLAIM };
            let claims = with(&stand.claims(), &[(name, Value::Null)]).to_string();
            let claims = format!("{},\"{name}\":{value}}}", claims.strip_suffix('}').unwrap());
            assert_eq!(stand.refusal(&stand.acme_key.sign(&header, &claims)).await, expected, "{name}: {value}");
        }
    }
    assert!(stand.login(&stand.token_with(&[], &[("exp", json!(253_402_300_799_u64))])).await.is_ok());
}

#[tokio::test]
async fn required_claims_that_are_absent() {
    let stand = Stand::new().await;
    for name in ["iss", "aud", "sub", "exp", "iat"] {
        assert_eq!(stand.refusal_of_claims(&[(name, Value::Null)]).await, Reason::BAD_CLAIM, "{name}");
    }
    assert!(stand.login(&stand.token_with(&[], &[("jti", Value::Null)])).await.is_ok(), "`jti` is optional");
}

#[tokio::test]
async fn a_name_that_is_missing_is_not_called_misspelt() {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.subject_claim = "client_id".to_owned());
    let missing = stand.login(&stand.token()).await.unwrap_err();
    assert_eq!(missing.detail, "the claim that names the principal, `client_id`, is missing");
    let misspelt = stand.login(&stand.token_with(&[], &[("client_id", json!("line monitor"))])).await.unwrap_err();
    assert!(misspelt.detail.contains("without spaces"), "{misspelt}");
}

#[tokio::test]
async fn names_of_the_wrong_type_or_spelling() {
    let stand = Stand::new().await;
    let url = stand.acme.url();
    for iss in [json!([url]), json!(1), json!({ url: url }), json!(false)] {
        assert_eq!(stand.refusal_of_claims(&[("iss", iss)]).await, Reason::BAD_CLAIM);
    }
    let subjects = [
        json!(""),
        json!(1),
        json!(["anna"]),
        json!("an na"),
        json!("\u{430}nna"),
        json!("a\u{0}"),
        json!("a".repeat(256)),
    ];
    for sub in subjects {
        assert_eq!(stand.refusal_of_claims(&[("sub", sub)]).await, Reason::BAD_CLAIM);
    }
    for jti in [json!(""), json!(1), json!([]), json!("line\nbreak"), json!("j".repeat(256))] {
        assert_eq!(stand.refusal_of_claims(&[("jti", jti)]).await, Reason::BAD_CLAIM);
    }
}

// === registry ===

#[tokio::test]
async fn a_revoked_principal_and_a_revoked_token() {
    let mut stand = Stand::new().await;
    let (acme, anna) = (OrganisationId::new("acme").unwrap(), Subject::new("anna@acme.example").unwrap());
    let bolt = OrganisationId::new("bolt").unwrap();
    stand.parties.revocations.principals.insert((bolt, anna.clone()));
    stand.parties.revocations.tokens.insert((super::stand::id("bolt"), "token-1".to_owned()));
    assert!(stand.login(&stand.token()).await.is_ok(), "another company's revocations do not touch acme");

    stand.parties.revocations.tokens.insert((super::stand::id("acme"), "token-1".to_owned()));
    assert_eq!(stand.refusal(&stand.token()).await, Reason::REVOKED);
    assert!(stand.login(&stand.token_with(&[], &[("jti", json!("token-2"))])).await.is_ok());

    stand.parties.revocations.principals.insert((acme, anna));
    assert_eq!(stand.refusal(&stand.token_with(&[], &[("jti", json!("token-2"))])).await, Reason::REVOKED);
    assert!(
        stand.login(&stand.token_with(&[], &[("sub", json!("ben@acme.example")), ("jti", json!("t3"))])).await.is_ok()
    );
}

#[tokio::test]
async fn a_forged_token_learns_nothing_about_revocations() {
    let mut stand = Stand::new().await;
    stand.parties.revocations.tokens.insert((super::stand::id("acme"), "token-1".to_owned()));
    let own = Key::p256("key-1");
    let forged = own.sign(&own.header().to_string(), &stand.claims().to_string());
    assert_eq!(stand.refusal(&forged).await, Reason::BAD_SIGNATURE);
}

#[tokio::test]
async fn the_registry_says_what_a_principal_is() {
    let mut stand = Stand::new().await;
    let organisation = OrganisationId::new("acme").unwrap();
    let subject = Subject::new("anna@acme.example").unwrap();
    let record = PrincipalRecord {
        organisation: organisation.clone(),
        subject: subject.clone(),
        kind: PrincipalKind::Service,
        title: "reader".to_owned(),
        roles: BTreeSet::new(),
        clearance: 0,
        export_authorisations: BTreeSet::new(),
    };
    stand.parties.principals.insert((organisation, subject), record);
    assert_eq!(stand.login(&stand.token()).await.unwrap().principal().kind, PrincipalKind::Service);
}

// === what is remembered ===

#[tokio::test]
async fn a_supplier_cannot_fill_the_memory_with_large_tokens() {
    let stand = Stand::new().await;
    // Some 40 bytes for each three.
    let large = stand.token_with(&[], &[("groups", json!(vec![""; 1_500]))]);
    assert!(large.len() < 8 * 1024 && stand.login(&large).await.is_ok());
    assert_eq!(stand.identity.verified_tokens(), 0);
    let nested: Value = serde_json::from_str(&format!("[{}0]", r#"{"b":0},"#.repeat(300))).unwrap();
    assert_eq!(stand.refusal_of_claims(&[("aa", nested)]).await, Reason::MALFORMED_TOKEN);
    assert!(stand.login(&stand.token()).await.is_ok());
    assert_eq!(stand.identity.verified_tokens(), 1);
}

#[tokio::test]
async fn who_acts_cannot_leave_the_own_token_out_to_pass_for_the_principal() {
    let stand = Stand::new().await;
    for may_act in [json!({"sub": "bob"}), json!({"sub": "bob", "iss": stand.bolt.url()}), json!("bob"), json!({})] {
        assert_eq!(stand.refusal_of_claims(&[("may_act", may_act)]).await, Reason::BAD_DELEGATION);
    }
}
