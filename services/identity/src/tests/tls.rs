//! An issuer behind https with a CA of its own.

use super::idp::{Answer, Idp, Key, key_set};
use super::stand::{NOW, Stand, claims_of};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use model::Reason;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::Write as _;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The provider, and the PEM text of the CA that signed its certificate for `localhost`.
async fn start(key: &Key) -> (Idp, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &ca).unwrap();

    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let idp = Idp::at(url, Answer::Keys(key_set(&[key])));
    tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), idp.router()));
    (idp, ca.pem())
}

async fn serve(listener: tokio::net::TcpListener, acceptor: TlsAcceptor, router: axum::Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // A client that does not trust us ends the handshake.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A stand whose acme is behind https, and a token of that acme.
async fn stand_with(ca_file: impl FnOnce(String) -> Option<std::path::PathBuf>) -> (Stand, String) {
    let mut stand = Stand::new().await;
    let (idp, ca) = start(&stand.acme_key).await;
    let ca_file = ca_file(ca);
    stand.change_acme(|issuer| {
        idp.url().clone_into(&mut issuer.url);
        issuer.ca_file = ca_file;
    });
    let token = stand.acme_key.sign(&stand.acme_key.header().to_string(), &claims_of(idp.url()).to_string());
    (stand, token)
}

#[tokio::test]
async fn its_own_ca_is_trusted() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let (stand, token) = stand_with(|ca| {
        file.write_all(ca.as_bytes()).unwrap();
        Some(path)
    })
    .await;
    assert_eq!(stand.login_at(&token, NOW).await.unwrap().issuer().as_str(), "acme");
}

#[tokio::test]
async fn a_ca_nobody_named_is_not() {
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(other.as_bytes()).unwrap();
    let (stand, token) = stand_with(|_| Some(file.path().to_owned())).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    let failure = stand.identity.status().into_iter().find_map(|status| status.failure).unwrap();
    assert!(failure.contains("cannot be reached") && failure.contains("certificate"), "{failure}");
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (stand, token) = stand_with(|_| Some(file.path().to_owned())).await;
    assert_eq!(stand.refusal(&token).await, Reason::ISSUER_UNAVAILABLE);
    let failure = stand.identity.status().into_iter().find_map(|status| status.failure).unwrap();
    assert!(failure.contains("the CA file") && failure.contains("no certificate"), "{failure}");
}
