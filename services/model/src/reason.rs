//! Reason codes: why something was refused, in a word that callers, logs and policies share.
//!
//! The broker's own codes are the constants here. A policy brings further ones in its `@reason` annotation; they explain
//! a denial and never grant anything.

use std::borrow::Cow;
use std::fmt;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(Cow<'static, str>);

/// A code longer than this is a sentence.
const CODE_BYTES_MAX: usize = 48;

impl Reason {
    /// A code from a policy annotation: `[a-z][a-z0-9_]*`, at most 48 bytes.
    pub fn parse(code: &str) -> Option<Self> {
        let mut bytes = code.bytes();
        let good = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && code.len() <= CODE_BYTES_MAX;
        good.then(|| Self(Cow::Owned(code.to_owned())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Reason {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($code));)*
            /// The broker's own codes.
            pub const OWN: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

reasons! {
    // --- request
    AMBIGUOUS_PATH = "ambiguous_path";
    AMBIGUOUS_QUERY = "ambiguous_query";
    AMBIGUOUS_REQUEST = "ambiguous_request";
    BAD_HEADER = "bad_header";
    BAD_PARAMETER = "bad_parameter";
    UNDECLARED_PARAMETER = "undeclared_parameter";
    DUPLICATE_PARAMETER = "duplicate_parameter";
    MISSING_PARAMETER = "missing_parameter";
    UNDECLARED_BODY = "undeclared_body";
    BODY_TOO_LARGE = "body_too_large";
    /// No such route, or none that this caller may discover; the two look the same.
    NOT_FOUND = "not_found";
    METHOD_NOT_ALLOWED = "method_not_allowed";
    // --- identity
    NO_CREDENTIAL = "no_credential";
    SEVERAL_CREDENTIALS = "several_credentials";
    /// In the query, or in a header that is not read for it.
    MISPLACED_CREDENTIAL = "misplaced_credential";
    MALFORMED_TOKEN = "malformed_token";
    UNKNOWN_ISSUER = "unknown_issuer";
    ISSUER_UNAVAILABLE = "issuer_unavailable";
    UNKNOWN_KEY = "unknown_key";
    BAD_ALGORITHM = "bad_algorithm";
    BAD_SIGNATURE = "bad_signature";
    BAD_TOKEN_TYPE = "bad_token_type";
    BAD_CLAIM = "bad_claim";
    WRONG_AUDIENCE = "wrong_audience";
    TOKEN_EXPIRED = "token_expired";
    TOKEN_NOT_YET_VALID = "token_not_yet_valid";
    TOKEN_TOO_OLD = "token_too_old";
    /// Its issuer says that it does not count: it is unknown there, has ended or was withdrawn (RFC 7662 section 2.2).
    TOKEN_INACTIVE = "token_inactive";
    BAD_CERTIFICATE = "bad_certificate";
    /// Or not yet valid.
    CERTIFICATE_EXPIRED = "certificate_expired";
    UNKNOWN_AUTHORITY = "unknown_authority";
    /// The issuer or the organisation wants callers bound in a way that this one is not.
    BINDING_REQUIRED = "binding_required";
    /// The sender is not shown to be the one whom the token was given to.
    BAD_BINDING = "bad_binding";
    /// The proof (RFC 9449) is missing or wrong.
    BAD_PROOF = "bad_proof";
    PROOF_REPLAYED = "proof_replayed";
    /// The proof must hold a nonce of ours; the answer has one.
    NONCE_REQUIRED = "nonce_required";
    BAD_DELEGATION = "bad_delegation";
    REVOKED = "revoked";
    ORGANISATION_SUSPENDED = "organisation_suspended";
    // --- decision
    /// No policy permits it.
    NOT_PERMITTED = "not_permitted";
    /// A policy could not be evaluated; see the steward's log.
    POLICY_ERROR = "policy_error";
    /// Somebody who acts in the request may not do this; the other reasons are that one's.
    ACTOR_NOT_PERMITTED = "actor_not_permitted";
    AGREEMENT_UNKNOWN = "agreement_unknown";
    AGREEMENT_AMBIGUOUS = "agreement_ambiguous";
    PURPOSE_UNKNOWN = "purpose_unknown";
    SHAPING_REQUIRED = "shaping_required";
    /// The question chooses by a field that must not be seen.
    HIDDEN_FIELD = "hidden_field";
    // --- recording and forwarding
    NOT_RECORDED = "not_recorded";
    /// No checkpoint covers the entry yet; the next one will.
    NOT_PUBLISHED = "not_published";
    /// The index of the log is being built.
    NOT_INDEXED = "not_indexed";
    /// What is asked for is not kept in the log any longer, as an entry says.
    PRUNED = "pruned";
    /// Of an erasure: its values must stay.
    LEGAL_HOLD = "legal_hold";
    /// Of an erasure: it takes two persons, each in person.
    FOUR_EYES = "four_eyes";
    /// Of an erasure: it was carried out, or nobody approved it in time.
    ERASURE_CLOSED = "erasure_closed";
    /// Others have seen more of the log than the broker has: nothing is recorded, so nothing is given out.
    QUARANTINED = "quarantined";
    OVERLOADED = "overloaded";
    SOURCE_BUSY = "source_busy";
    SOURCE_UNREACHABLE = "source_unreachable";
    SOURCE_TIMEOUT = "source_timeout";
    SOURCE_REDIRECTED = "source_redirected";
    SOURCE_FAILED = "source_failed";
    SOURCE_NOT_FOUND = "source_not_found";
    /// Its answer is not what the catalog declares, so nothing can be hidden in it.
    SOURCE_MALFORMED = "source_malformed";
    SHUTTING_DOWN = "shutting_down";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn own_codes_obey_the_rule_for_policies_codes() {
        for r in Reason::OWN {
            assert_eq!(Reason::parse(r.as_str()).as_ref(), Some(r));
        }
        for bad in ["", "Upper", "1st", "with space", "ä", &"a".repeat(49)] {
            assert_eq!(Reason::parse(bad), None, "{bad}");
        }
    }
}
