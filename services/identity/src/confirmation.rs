//! Which key the sender of a token must prove to hold: the claim `cnf` (RFC 7800).
//!
//! A confirmation that we cannot check is not ignored: the issuer said that the token alone proves nothing.

use crate::json::Member;
use crate::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Digest, Reason};

/// What must be proven. Nothing in it: whoever has the token may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confirmation {
    /// SHA-256 of the DER of the sender's client certificate, `x5t#S256` (RFC 8705 section 3.1).
    pub(crate) certificate: Option<Digest>,
    /// Thumbprint of the key of the sender's proof, `jkt` (RFC 9449 section 6.1).
    pub(crate) key: Option<Digest>,
}

impl Confirmation {
    /// Of the claim `cnf`.
    pub(crate) fn read(cnf: &Member<'_>) -> Result<Self, Refusal> {
        let members = match cnf {
            Member::Absent => return Ok(Self::default()),
            Member::Object(members) => members,
            _ => return Err(unknown()),
        };
        let mut confirmation = Self::default();
        for name in members.names() {
            let value = Some(thumbprint(members.get(name))?);
            match name {
                "x5t#S256" => confirmation.certificate = value,
                "jkt" => confirmation.key = value,
                _ => return Err(unknown()),
            }
        }
        if confirmation == Self::default() { Err(unknown()) } else { Ok(confirmation) }
    }
}

/// Base64url of 32 bytes, in its one spelling.
fn thumbprint(member: &Member<'_>) -> Result<Digest, Refusal> {
    let bytes = member.text().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Digest).ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::new(Reason::BAD_BINDING, "`cnf` asks for a proof other than `x5t#S256` or `jkt`, or is not well-formed")
}
