//! The signature, verified by `jsonwebtoken`, which then reads header and claims a second time.
//!
//! It decodes the same text on its own and insists on the one algorithm and on `iss aud sub exp` being present with the
//! right type. Our reading ([`crate::token`]) is the one that counts; a token must satisfy both.

use crate::jwk::Key;
use crate::refusal::Refusal;
use jsonwebtoken::errors::ErrorKind;
use model::Reason;
use model::party::SignatureAlgorithm;
use serde::de::IgnoredAny;

pub(crate) fn verify(token: &str, key: &Key, algorithm: SignatureAlgorithm) -> Result<(), Refusal> {
    let Some(validation) = key.validation(algorithm) else {
        return Err(Refusal::new(Reason::BAD_ALGORITHM, "the key is not one for the token's algorithm"));
    };
    match jsonwebtoken::decode::<IgnoredAny>(token, key.decoding(), validation) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal_of(error.kind())),
    }
}

fn refusal_of(kind: &ErrorKind) -> Refusal {
    match kind {
        // Our own reading has found both parts to be well-formed JSON: what is left is a wrong type.
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => Refusal::new(
            Reason::BAD_CLAIM,
            "a required claim is missing, or a header member or claim has the wrong type",
        ),
        ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
            Refusal::malformed("the token cannot be decoded")
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            Refusal::new(Reason::BAD_ALGORITHM, "the token's algorithm is not one that this issuer may use")
        }
        _ => Refusal::new(Reason::BAD_SIGNATURE, "the signature does not match"),
    }
}
