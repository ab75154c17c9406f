//! One exchange with somebody else's server: bounded, verified, without redirects.

use super::{FetchError, RESPONSE_BYTES_MAX};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Client(hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// Trusts the CA file, or the machine's roots if there is none; nobody when `is_plain`, which saves reading them.
    /// Blocks: files are read.
    pub(crate) fn open(is_plain: bool, ca_file: Option<PathBuf>) -> Result<Self, FetchError> {
        let roots = match ca_file {
            Some(path) => roots_of_file(path)?,
            None if is_plain => RootCertStore::empty(),
            None => roots_of_machine()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::Tls { why: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Which of the two it is was settled by `Location`.
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The whole answer, if its status is 200. How long it may take is the caller's matter.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Bytes, HeaderMap), FetchError> {
        let url = request.uri().clone();
        let response = self.0.request(request).await;
        let response = response.map_err(|error| FetchError::Unreachable { url: url.clone(), why: chain(&error) })?;
        let status = response.status();
        match status {
            StatusCode::OK => read(response, url).await,
            _ if status.is_redirection() => Err(FetchError::Redirect { url, status }),
            _ => Err(FetchError::Status { url, status }),
        }
    }
}

async fn read(response: Response<Incoming>, url: Uri) -> Result<(Bytes, HeaderMap), FetchError> {
    let (head, body) = response.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok((body.to_bytes(), head.headers)),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(FetchError::TooLarge { url }),
        Err(error) => Err(FetchError::Unreachable { url, why: chain(error.as_ref()) }),
    }
}

fn roots_of_file(path: PathBuf) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let added = CertificateDer::pem_file_iter(&path).map_err(|error| error.to_string()).and_then(|certificates| {
        for certificate in certificates {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(()) }
    });
    added.map(|()| roots).map_err(|why| FetchError::CaFile { path, why })
}

fn roots_of_machine() -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Stores hold odd certificates; those that parse are enough.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(FetchError::Tls {
            why: "this machine has no root certificates; set the issuer's `ca_file`".into(),
        });
    }
    Ok(roots)
}

/// The error with its causes: the outermost alone says "client error (Connect)" and not which certificate was refused.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    causes.join(": ")
}
