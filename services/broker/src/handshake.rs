//! TLS with those who call: one listener for callers with a client certificate and for callers without.
//!
//! What passes, in the order of the checks:
//!
//! 1. Who shows no certificate comes in; what it may do is a question of its token.
//! 2. Who shows one must be vouched for by an authority of the newest generation, and prove that it holds the key. Where an
//!    issuer binds its tokens to certificates of authorities that are not registered here, such a one comes in too: it is
//!    nobody's, and counts only beside a token of that issuer which names it.
//! 3. Anything else ends the handshake with an alert, counted and recorded as a refused login.
//!
//! The list of authorities that TLS can send along is empty: it would tell every stranger who the suppliers are.
//!
//! Sessions may be resumed, which spares both sides the certificates. They are kept apart for each state of authorities
//! and revocations, so that whatever changes there ends all of them; and the certificate of a resumed session is judged
//! with each request like any other.

use crate::Broker;
use crate::record::RefusedLogin;
use crate::tls;
use arc_swap::{ArcSwap, ArcSwapOption};
use identity::{ClientAuthorities, LoginError, PeerCertificate};
use model::party::{Parties, Revocations};
use model::{Clock, Reason};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

tokio::task_local! {
    /// Why the handshake of this task was refused: TLS itself can carry no more than an alert.
    static REFUSED: RefCell<Option<LoginError>>;
}

/// The TLS of all listeners of one broker.
#[derive(Debug)]
pub struct Handshakes {
    broker: Arc<Broker>,
    /// What we show.
    shown: ArcSwap<CertifiedKey>,
    current: ArcSwapOption<Current>,
}

/// A configuration with the sessions that may be resumed under it, and what it was made for.
#[derive(Debug)]
struct Current {
    generation: u64,
    shown: Arc<CertifiedKey>,
    authorities: ClientAuthorities,
    parties: Arc<Parties>,
    config: Arc<ServerConfig>,
}

impl Handshakes {
    pub fn new(broker: Arc<Broker>, shown: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self { broker, shown: ArcSwap::new(shown), current: ArcSwapOption::empty() })
    }

    /// New handshakes show this certificate; connections that are open go on. The same one again changes nothing: its key
    /// is the same too, and sessions need not end.
    pub fn show(&self, shown: Arc<CertifiedKey>) {
        if self.shown.load().cert != shown.cert {
            self.shown.store(shown);
        }
    }

    /// What a connection that begins now is served by.
    pub fn config(&self) -> Arc<ServerConfig> {
        let (world, shown) = (self.broker.world(), self.shown.load_full());
        let generation = world.snapshot.generation();
        let current = self.current.load();
        let current = current.as_ref().filter(|current| Arc::ptr_eq(&current.shown, &shown));
        if let Some(current) = current.filter(|current| current.generation == generation) {
            return current.config.clone();
        }
        let (authorities, parties) = (world.authorities.clone(), world.parties.clone());
        let unregistered = takes_unregistered(&parties);
        let same = current.filter(|current| {
            takes_unregistered(&current.parties) == unregistered
                && current.authorities.is(&authorities)
                && same_people(&current.parties.revocations, &parties.revocations)
        });
        let fresh = || self.fresh(&shown, !authorities.is_empty() || unregistered, unregistered);
        let config = same.map_or_else(fresh, |current| current.config.clone());
        let current = Current { generation, shown, authorities, parties, config: config.clone() };
        self.current.store(Some(Arc::new(current)));
        config
    }

    /// Without any session to resume.
    fn fresh(&self, shown: &Arc<CertifiedKey>, asks: bool, unregistered: bool) -> Arc<ServerConfig> {
        let verifier = Verifier {
            broker: self.broker.clone(),
            asks,
            unregistered,
            algorithms: rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
        };
        let time = Arc::new(BrokersTime(self.broker.clock.clone()));
        Arc::new(tls::server_with(shown, Arc::new(verifier), time))
    }

    /// `None` when the peer was refused, or went away.
    pub async fn accept<S>(&self, stream: S, peer: IpAddr) -> Option<(TlsStream<S>, Option<Arc<PeerCertificate>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let ended = TlsAcceptor::from(self.config()).accept(stream).into_fallible().await;
            (ended, REFUSED.with(RefCell::take))
        };
        match REFUSED.scope(RefCell::default(), handshake).await {
            (Ok(stream), _) => {
                let shown = stream.get_ref().1.peer_certificates();
                let certificate = shown.and_then(|chain| PeerCertificate::new(chain.to_vec())).map(Arc::new);
                Some((stream, certificate))
            }
            (Err((error, mut stream)), refused) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                if let Some(refused) = refused {
                    self.record(&refused, peer).await;
                    // What it still sends is taken too: the alert is to reach it.
                    let _ = stream.shutdown().await;
                }
                None
            }
        }
    }

    async fn record(&self, refused: &LoginError, peer: IpAddr) {
        tracing::debug!(%peer, %refused, "a client certificate was refused");
        self.broker.metrics.refused_login(&refused.reason);
        let login = RefusedLogin {
            request: self.broker.request_id(),
            reason: &refused.reason,
            issuer: refused.issuer.as_ref().map(AsRef::as_ref),
            peer,
            country: self.broker.world().country_of(peer),
            user_agent: None,
            method: None,
            path: None,
        };
        if let Err(refusal) = self.broker.refused_logins.record(&self.broker.log, &login).await {
            tracing::error!(detail = %refusal.detail, "a refused certificate could not be recorded");
        }
    }
}

fn takes_unregistered(parties: &Parties) -> bool {
    parties.issuers.values().any(|issuer| issuer.unregistered_certificates)
}

/// Whether nobody was revoked, or let back in, between the two. Single tokens are no part of a session.
fn same_people(a: &Revocations, b: &Revocations) -> bool {
    a.certificates == b.certificates && a.principals == b.principals && a.organisations == b.organisations
}

/// Certificates expire by the broker's clock.
#[derive(Debug)]
struct BrokersTime(Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for BrokersTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[derive(Debug)]
struct Verifier {
    broker: Arc<Broker>,
    /// Whether there is any certificate that could count. Otherwise nobody is asked for one: browsers would show a dialogue.
    asks: bool,
    /// Whether a certificate of an authority that is not registered here can bind a token.
    unregistered: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.asks
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain = std::iter::once(own).chain(intermediates).map(|der| der.clone().into_owned()).collect();
        let peer = PeerCertificate::new(chain).ok_or(rustls::Error::NoCertificatesPresented)?;
        let world = self.broker.world();
        let admitted = world.authorities.admit(&peer, &world.parties, self.broker.clock.now());
        let admitted = match admitted {
            Err(refused) if refused.reason == Reason::UNKNOWN_AUTHORITY && self.unregistered => Ok(()),
            admitted => admitted,
        };
        admitted.map(|()| ClientCertVerified::assertion()).map_err(|refused| {
            let alert = rustls::Error::InvalidCertificate(alert(&refused.reason));
            // Outside of `accept` there is nobody to tell.
            let _ = REFUSED.try_with(|slot| slot.replace(Some(refused)));
            alert
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The error that rustls turns into the alert for this reason (RFC 8446 section 6.2).
fn alert(reason: &Reason) -> CertificateError {
    match reason {
        r if *r == Reason::REVOKED => CertificateError::Revoked,
        r if *r == Reason::CERTIFICATE_EXPIRED => CertificateError::Expired,
        r if *r == Reason::UNKNOWN_AUTHORITY => CertificateError::UnknownIssuer,
        _ => CertificateError::BadEncoding,
    }
}
