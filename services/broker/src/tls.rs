//! TLS by rustls with one provider, aws-lc-rs. rustls' own types stay in here.

use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Whom an upstream connection trusts.
#[derive(Debug, PartialEq, Eq)]
pub enum Roots {
    Machine,
    Own(Vec<CertificateDer<'static>>),
}

/// TLS 1.2 and 1.3 towards a server that asks for no certificate.
pub fn client_config(roots: &Roots) -> ClientConfig {
    client_builder(roots).with_no_client_auth()
}

/// The same, with a certificate to show to who asks for one.
///
/// # Errors
/// When the files cannot be read or do not belong together.
pub fn client_config_with(roots: &Roots, certificate: &Path, key: &Path) -> Result<ClientConfig, CertificateError> {
    let (chain, private) = pair(certificate, key)?;
    client_builder(roots).with_client_auth_cert(chain, private).map_err(|error| unusable(certificate, key, error))
}

fn client_builder(roots: &Roots) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Machine => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
        Roots::Own(certificates) => {
            store.add_parsable_certificates(certificates.iter().cloned());
        }
    }
    let builder = ClientConfig::builder_with_provider(provider());
    match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_root_certificates(store),
        // The provider supports TLS 1.2 and 1.3; the error is for providers that support neither.
        Err(error) => unreachable_provider(&error),
    }
}

#[expect(clippy::panic, reason = "a build of the crypto provider without TLS versions cannot serve anything")]
fn unreachable_provider(error: &rustls::Error) -> ! {
    panic!("the crypto provider supports no TLS version: {error}")
}

/// Why a certificate of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read `{}`: {error}", path.display())]
    Read { path: PathBuf, error: rustls_pki_types::pem::Error },
    #[error("`{}` holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("certificate `{}` and key `{}` cannot be used together: {error}", certificate.display(), key.display())]
    Unusable { certificate: PathBuf, key: PathBuf, error: rustls::Error },
}

/// TLS for a listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// When the files cannot be read or do not belong together.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let shown = certified_key(certificate, key)?;
    let anybody = rustls::server::WebPkiClientVerifier::no_client_auth();
    Ok(Arc::new(server_with(&shown, anybody, Arc::new(DefaultTimeProvider))))
}

/// The certificate that a listener shows, with its key.
///
/// # Errors
/// When the files cannot be read or do not belong together.
pub fn certified_key(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertificateError> {
    let (chain, private) = pair(certificate, key)?;
    let certified = CertifiedKey::from_der(chain, private, &provider());
    certified.map(Arc::new).map_err(|error| unusable(certificate, key, error))
}

/// Sessions that may be resumed, some kilobytes each.
const SESSIONS_MAX: usize = 4_096;

/// TLS for a listener, with callers' certificates verified by `clients`, and without any session to resume.
pub(crate) fn server_with(
    shown: &Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
    time: Arc<dyn TimeProvider>,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_details(provider(), time);
    let mut config = match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown.clone()))),
        Err(error) => unreachable_provider(&error),
    };
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn unusable(certificate: &Path, key: &Path, error: rustls::Error) -> CertificateError {
    CertificateError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), error }
}

/// A chain, leaf first, and a private key.
fn pair(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
    let read = |path: &Path, error| CertificateError::Read { path: path.to_owned(), error };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|e| read(certificate, e))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: certificate.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| read(key, e))?;
    Ok((chain, private))
}
