//! Tokens bound to certificates (RFC 8705), and issuers and organisations that want callers bound.

use super::stand::{NOW, Stand, bearer, presented};
use crate::{LoginError, PeerCertificate, Presented};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::party::{Organisation, OrganisationKind, Status};
use model::{Authenticated, Binding, OrganisationId, Reason};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn certificate() -> PeerCertificate {
    let certificate = rcgen::generate_simple_self_signed(["press-3.acme.example".to_owned()]).unwrap().cert;
    PeerCertificate::new(vec![certificate.der().clone()]).unwrap()
}

fn bound_to(certificate: &PeerCertificate) -> (&'static str, Value) {
    ("cnf", json!({"x5t#S256": URL_SAFE_NO_PAD.encode(certificate.thumbprint().0)}))
}

/// A stand whose issuer binds tokens to certificates of its own.
async fn stand() -> Stand {
    let mut stand = Stand::new().await;
    stand.change_acme(|issuer| issuer.unregistered_certificates = true);
    stand
}

async fn send(stand: &Stand, token: &str, certificate: Option<&PeerCertificate>) -> Result<Authenticated, LoginError> {
    let headers = bearer(token);
    stand.present(&Presented { certificate, ..presented(&headers, false) }, NOW).await
}

#[tokio::test]
async fn a_token_over_the_connection_it_is_bound_to() {
    let (stand, own) = (stand().await, certificate());
    let token = stand.token_with(&[], &[bound_to(&own)]);
    for _ in 0..2 {
        assert_eq!(send(&stand, &token, Some(&own)).await.unwrap().binding(), Binding::Certificate);
    }
}

#[tokio::test]
async fn a_certificate_bound_token_without_or_with_another_certificate() {
    let (stand, own) = (stand().await, certificate());
    let token = stand.token_with(&[], &[bound_to(&own)]);
    assert!(send(&stand, &token, Some(&own)).await.is_ok());
    for shown in [None, Some(certificate())] {
        assert_eq!(send(&stand, &token, shown.as_ref()).await.unwrap_err().reason, Reason::BAD_BINDING);
    }
}

#[tokio::test]
async fn a_certificate_of_no_registered_authority_binds_only_where_the_issuer_may_do_without() {
    let (stand, own) = (Stand::new().await, certificate());
    let token = stand.token_with(&[], &[bound_to(&own)]);
    assert_eq!(send(&stand, &token, Some(&own)).await.unwrap_err().reason, Reason::UNKNOWN_AUTHORITY);
    let allowed = self::stand().await;
    let token = allowed.token_with(&[], &[bound_to(&own)]);
    let caller = send(&allowed, &token, Some(&own)).await.unwrap();
    assert_eq!((caller.binding(), caller.certificate()), (Binding::Certificate, None));
}

#[tokio::test]
async fn a_certificate_beside_a_token_that_is_not_bound_binds_nothing() {
    let stand = stand().await;
    let caller = send(&stand, &stand.token(), Some(&certificate())).await.unwrap();
    assert_eq!((caller.binding(), caller.certificate()), (Binding::None, None));
}

#[tokio::test]
async fn a_confirmation_that_cannot_be_checked() {
    let (stand, own) = (stand().await, certificate());
    let (_, known) = bound_to(&own);
    let other = json!({"x5t#S256": known["x5t#S256"], "kid": "key-1"});
    for cnf in [json!({}), json!({"kid": "key-1"}), json!({"jwk": {}}), json!("x"), json!({"x5t#S256": "AAAA"}), other]
    {
        let token = stand.token_with(&[], &[("cnf", cnf)]);
        assert_eq!(send(&stand, &token, Some(&own)).await.unwrap_err().reason, Reason::BAD_BINDING);
    }
}

#[tokio::test]
async fn an_issuer_or_organisation_that_wants_callers_bound() {
    for by_organisation in [false, true] {
        let (mut stand, own) = (stand().await, certificate());
        let wanted = BTreeSet::from([Binding::Certificate]);
        if by_organisation {
            stand.parties.organisations = organisations(wanted);
        } else {
            stand.change_acme(|issuer| issuer.bindings = wanted);
        }
        let error = send(&stand, &stand.token(), Some(&own)).await.unwrap_err();
        assert_eq!(error.reason, Reason::BINDING_REQUIRED);
        assert_eq!(error.detail, "callers like you must be bound by a client certificate (RFC 8705)");
        let token = stand.token_with(&[], &[bound_to(&own)]);
        assert!(send(&stand, &token, Some(&own)).await.is_ok());
    }
}

#[tokio::test]
async fn both_the_issuer_and_the_organisation_must_be_content() {
    let (mut stand, own) = (stand().await, certificate());
    stand.parties.organisations = organisations(BTreeSet::from([Binding::Dpop]));
    stand.change_acme(|issuer| issuer.bindings = BTreeSet::from([Binding::Certificate, Binding::Dpop]));
    let token = stand.token_with(&[], &[bound_to(&own)]);
    let error = send(&stand, &token, Some(&own)).await.unwrap_err();
    assert_eq!(error.reason, Reason::BINDING_REQUIRED);
    assert!(error.detail.contains("DPoP"), "{}", error.detail);
}

fn organisations(bindings: BTreeSet<Binding>) -> BTreeMap<OrganisationId, Organisation> {
    let id = OrganisationId::new("acme").unwrap();
    let acme = Organisation {
        id: id.clone(),
        title: "Acme".into(),
        kind: OrganisationKind::Supplier,
        country: "DE".into(),
        status: Status::Active,
        roles: BTreeSet::new(),
        bindings,
    };
    BTreeMap::from([(id, acme)])
}
