//! The signature, verified by `jsonwebtoken` over the bytes that were sent.
//!
//! Its `decode` would read header and claims once more, by rules that are laxer than ours. The algorithm is the one that
//! the issuer is pinned to and the key is fit for; the token's own word has only chosen among these.

use crate::jwk::{self, Key};
use crate::refusal::Refusal;
use crate::token::Parts;
use jsonwebtoken::errors::ErrorKind;
use model::Reason;
use model::party::SignatureAlgorithm;

pub(crate) fn verify(parts: &Parts<'_>, key: &Key, algorithm: SignatureAlgorithm) -> Result<(), Refusal> {
    if !key.is_for(algorithm) {
        return Err(Refusal::new(Reason::BAD_ALGORITHM, "the key is not one for the token's algorithm"));
    }
    let algorithm = jwk::library_name_of(algorithm);
    match jsonwebtoken::crypto::verify(parts.signature, parts.message.as_bytes(), key.decoding(), algorithm) {
        Ok(true) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::Base64(_)) => {
            Err(Refusal::malformed("a part of the token is not base64url without padding"))
        }
        Ok(false) | Err(_) => Err(Refusal::new(Reason::BAD_SIGNATURE, "the signature does not match")),
    }
}
