//! One credential, in one place.

use super::stand::{NOW, Stand, bearer};
use crate::LoginError;
use http::header::{AUTHORIZATION, HeaderValue, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use model::{Authenticated, Reason};

async fn login(stand: &Stand, headers: &HeaderMap, in_query: bool) -> Result<Authenticated, LoginError> {
    stand.ask(headers, in_query, NOW).await
}

async fn reason(stand: &Stand, headers: &HeaderMap, in_query: bool) -> Reason {
    login(stand, headers, in_query).await.expect_err("must be refused").reason
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

#[tokio::test]
async fn a_good_token_names_the_principal_of_the_issuers_organisation() {
    let stand = Stand::new().await;
    let token = stand.token();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let headers = headers(&[(AUTHORIZATION, &format!("{scheme} {token}"))]);
        let caller = login(&stand, &headers, false).await.unwrap();
        assert_eq!(caller.principal().to_text(), "acme/anna@acme.example");
        assert_eq!(caller.principal().kind, model::PrincipalKind::User);
        assert_eq!(caller.issuer().as_str(), "acme");
        assert_eq!(caller.token_id(), Some("token-1"));
        assert_eq!(caller.expires(), NOW.plus_millis(330_000));
        assert_eq!(caller.fingerprint(), model::Digest::of(token.as_bytes()));
    }
}

#[tokio::test]
async fn no_credential() {
    let stand = Stand::new().await;
    assert_eq!(reason(&stand, &HeaderMap::new(), false).await, Reason::NO_CREDENTIAL);
    assert_eq!(stand.acme.discoveries(), 0);
}

#[tokio::test]
async fn another_scheme_alone() {
    let stand = Stand::new().await;
    for value in ["Basic YW5uYTpzZWNyZXQ=", "Negotiate", "", "Bearerabc", " ", "DPoPabc"] {
        assert_eq!(reason(&stand, &headers(&[(AUTHORIZATION, value)]), false).await, Reason::NO_CREDENTIAL, "{value}");
    }
}

#[tokio::test]
async fn a_credential_where_it_is_not_read() {
    let stand = Stand::new().await;
    let good = format!("Bearer {}", stand.token());
    let (actor, dpop) = (HeaderName::from_static("millgate-actor-token"), HeaderName::from_static("dpop"));
    for misplaced in [
        headers(&[(PROXY_AUTHORIZATION, &good)]),
        headers(&[(AUTHORIZATION, &good), (PROXY_AUTHORIZATION, "Basic YTpi")]),
        headers(&[(dpop.clone(), "a.b.c")]),
        headers(&[(AUTHORIZATION, &good), (dpop.clone(), "a.b.c")]),
        headers(&[(AUTHORIZATION, "Basic YTpi"), (dpop.clone(), "a.b.c")]),
        headers(&[(actor.clone(), &stand.token())]),
    ] {
        assert_eq!(reason(&stand, &misplaced, false).await, Reason::MISPLACED_CREDENTIAL, "{misplaced:?}");
    }
    for headers in [HeaderMap::new(), bearer(&stand.token())] {
        assert_eq!(reason(&stand, &headers, true).await, Reason::MISPLACED_CREDENTIAL);
    }
    assert_eq!(stand.acme.discoveries(), 0, "nothing is fetched for a request that is refused by its shape");
}

#[tokio::test]
async fn several_credentials() {
    let stand = Stand::new().await;
    let (actor, dpop) = (HeaderName::from_static("millgate-actor-token"), HeaderName::from_static("dpop"));
    let good = format!("Bearer {}", stand.token());
    let several = [
        headers(&[(AUTHORIZATION, &good), (AUTHORIZATION, &good)]),
        headers(&[(AUTHORIZATION, "Basic YTpi"), (AUTHORIZATION, &good)]),
        headers(&[(AUTHORIZATION, &good), (AUTHORIZATION, "Basic YTpi")]),
        headers(&[(AUTHORIZATION, &format!("{good}, Basic YTpi"))]),
        headers(&[(AUTHORIZATION, &format!("{good},{good}"))]),
        headers(&[(AUTHORIZATION, &format!("Basic YTpi, {good}"))]),
        headers(&[(AUTHORIZATION, &good), (actor.clone(), "a.b.c"), (actor.clone(), "a.b.c")]),
        headers(&[(AUTHORIZATION, &good), (actor, "a.b.c, a.b.c")]),
        headers(&[(AUTHORIZATION, "DPoP a"), (dpop.clone(), "a.b.c"), (dpop.clone(), "a.b.c")]),
        headers(&[(AUTHORIZATION, "DPoP a"), (dpop, "a.b.c,a.b.c")]),
    ];
    for headers in several {
        assert_eq!(reason(&stand, &headers, false).await, Reason::SEVERAL_CREDENTIALS);
    }
    assert_eq!(stand.acme.discoveries(), 0, "nothing is fetched for a request that is refused by its shape");
}

#[tokio::test]
async fn bytes_that_are_no_token() {
    let stand = Stand::new().await;
    let good = stand.token();
    for value in ["Bearer", "Bearer ", "Bearer \u{fc}.\u{fc}.\u{fc}", &format!("Bearer {good} {good}"), "Bearer a b c"]
    {
        let headers = headers(&[(AUTHORIZATION, value)]);
        assert_eq!(reason(&stand, &headers, false).await, Reason::MALFORMED_TOKEN, "{value}");
    }
}
