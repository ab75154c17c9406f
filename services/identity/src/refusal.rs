//! Why a caller is not let in.

use model::{IssuerId, Reason};
use std::borrow::Cow;

/// A refused login. `detail` is a sentence for the problem document and the operator's log. It holds no part of a
/// credential and nothing about our network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct LoginError {
    pub reason: Reason,
    /// Whose token it claims to be, once `iss` named a registered issuer. The claim is proven only by a valid signature.
    pub issuer: Option<IssuerId>,
    pub detail: String,
    /// With [`Reason::NONCE_REQUIRED`]: what the next proof must hold (RFC 9449 section 8).
    pub dpop_nonce: Option<String>,
}

/// A [`LoginError`] that does not know yet whose token it is.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    detail: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }

    pub(crate) fn malformed(detail: &'static str) -> Self {
        Self::new(Reason::MALFORMED_TOKEN, detail)
    }

    pub(crate) fn by(self, issuer: &IssuerId) -> LoginError {
        LoginError { issuer: Some(issuer.clone()), ..self.into() }
    }
}

impl From<Refusal> for LoginError {
    fn from(refusal: Refusal) -> Self {
        Self { reason: refusal.reason, issuer: None, detail: refusal.detail.into_owned(), dpop_nonce: None }
    }
}
