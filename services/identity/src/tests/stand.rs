//! The test stand: two suppliers with an issuer each, the registry's view of them, and a clock that stands still.

use super::idp::{Answer, Idp, Key, key_set, with};
use crate::{ClientAuthorities, Identity, IdentityOptions, LoginError, Origins, Presented};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use model::party::{Issuer, Parties, Revocations, SignatureAlgorithm};
use model::{Authenticated, Digest, IssuerId, OrganisationId, Origin, Reason, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// 2026-11-22T19:20:00Z.
pub(super) const NOW: Timestamp = Timestamp(1_795_375_200_000);
pub(super) const AUDIENCE: &str = "https://data.plant.example";

/// The address of the listener that is asked.
pub(super) static ORIGINS: LazyLock<Origins> = LazyLock::new(|| Origins::new(Origin::parse(AUDIENCE)));

pub(super) struct Stand {
    pub(super) identity: Identity,
    pub(super) parties: Parties,
    pub(super) acme: Idp,
    pub(super) bolt: Idp,
    pub(super) acme_key: Key,
    pub(super) bolt_key: Key,
}

impl Stand {
    pub(super) async fn new() -> Self {
        Self::with_options(IdentityOptions::default()).await
    }

    pub(super) async fn with_options(options: IdentityOptions) -> Self {
        let (acme_key, bolt_key) = (Key::p256("key-1"), Key::p256("key-1"));
        let acme = Idp::start(Answer::Keys(key_set(&[&acme_key]))).await;
        let bolt = Idp::start(Answer::Keys(key_set(&[&bolt_key]))).await;
        let parties = parties([issuer("acme", acme.url()), issuer("bolt", bolt.url())]);
        let identity = Identity::new(options);
        identity.update(&parties);
        Self { identity, parties, acme, bolt, acme_key, bolt_key }
    }

    /// Changes the registry's view of acme's issuer, and tells `identity`.
    pub(super) fn change_acme(&mut self, change: impl FnOnce(&mut Issuer)) {
        change(self.parties.issuers.get_mut(&id("acme")).unwrap());
        self.identity.update(&self.parties);
    }

    /// A claim set that acme's issuer would write.
    pub(super) fn claims(&self) -> Value {
        claims_of(self.acme.url())
    }

    pub(super) fn token(&self) -> String {
        self.token_with(&[], &[])
    }

    /// Acme's token, signed by acme's key, with changes to header and claims; `null` takes a member away.
    pub(super) fn token_with(&self, header: &[(&str, Value)], claims: &[(&str, Value)]) -> String {
        let header = with(&self.acme_key.header(), header).to_string();
        self.acme_key.sign(&header, &with(&self.claims(), claims).to_string())
    }

    pub(super) async fn login(&self, token: &str) -> Result<Authenticated, LoginError> {
        self.login_at(token, NOW).await
    }

    pub(super) async fn login_at(&self, token: &str, now: Timestamp) -> Result<Authenticated, LoginError> {
        self.ask(&bearer(token), false, now).await
    }

    pub(super) async fn ask(
        &self,
        headers: &HeaderMap,
        query_has_access_token: bool,
        now: Timestamp,
    ) -> Result<Authenticated, LoginError> {
        self.present(&presented(headers, query_has_access_token), now).await
    }

    pub(super) async fn present(&self, presented: &Presented<'_>, now: Timestamp) -> Result<Authenticated, LoginError> {
        self.identity.authenticate(presented, &self.parties, &ClientAuthorities::default(), now).await
    }

    /// The reason of a refusal, whose text must not repeat what the token holds.
    pub(super) async fn refusal(&self, token: &str) -> Reason {
        self.refusal_at(token, NOW).await
    }

    pub(super) async fn refusal_at(&self, token: &str, now: Timestamp) -> Reason {
        let error = self.login_at(token, now).await.expect_err("must be refused");
        let shown = error.to_string();
        let secrets = token.split('.').filter(|part| part.len() > 8);
        for secret in secrets.chain(["anna@acme.example", self.acme.url(), "key-1", "token-1"]) {
            assert!(!shown.contains(secret), "{shown}");
        }
        error.reason
    }

    pub(super) async fn refusal_of_claims(&self, claims: &[(&str, Value)]) -> Reason {
        self.refusal(&self.token_with(&[], claims)).await
    }
}

pub(super) fn claims_of(issuer: &str) -> Value {
    let now = NOW.seconds();
    json!({"iss": issuer, "aud": AUDIENCE, "sub": "anna@acme.example", "iat": now - 10, "exp": now + 300,
        "jti": "token-1"})
}

/// A GET of `/data` with these headers.
pub(super) fn presented(headers: &HeaderMap, query_has_access_token: bool) -> Presented<'_> {
    Presented {
        headers,
        query_has_access_token,
        method: &Method::GET,
        origins: &ORIGINS,
        host: None,
        path: "/data",
        certificate: None,
    }
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

pub(super) fn id(name: &str) -> IssuerId {
    IssuerId::new(name).unwrap()
}

pub(super) fn issuer(name: &str, url: &str) -> Issuer {
    Issuer {
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![SignatureAlgorithm::ES256],
        ..Issuer::new(id(name), OrganisationId::new(name).unwrap(), url)
    }
}

pub(super) fn parties(issuers: impl IntoIterator<Item = Issuer>) -> Parties {
    Parties {
        digest: Digest::of(b"parties"),
        organisations: BTreeMap::new(),
        authorities: BTreeMap::new(),
        issuers: issuers.into_iter().map(|issuer| (issuer.id.clone(), issuer)).collect(),
        principals: BTreeMap::new(),
        agreements: BTreeMap::new(),
        revocations: Revocations::default(),
    }
}

/// Waits for what a task beside the test brings about.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("the condition never came true");
}
