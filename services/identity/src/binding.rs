//! Whether the sender of a token is the one it was given to.
//!
//! What passes:
//! 1. a token bound to a key (`cnf.jkt`), sent as `DPoP` with a good proof made with that key (RFC 9449), and no other
//!    token sent so: as `Bearer` it would be one that anybody can have stolen;
//! 2. a token bound to a certificate (`cnf.x5t#S256`) over a connection with that very certificate (RFC 8705), which an
//!    authority of the registry has signed unless its issuer may do without;
//! 3. a token bound to both, with both;
//! 4. a token that is not bound, unless its issuer or its issuer's organisation wants callers bound.

use crate::PeerCertificate;
use crate::Presented;
use crate::confirmation::Confirmation;
use crate::credential::Scheme;
use crate::dpop::{Dpop, Unused, Wanted};
use crate::login::{Accepted, World};
use crate::refusal::Refusal;
use model::party::{Issuer, Parties};
use model::{Binding, Digest, OrganisationId, Reason};
use std::collections::BTreeSet;

/// Who sends a token, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) dpop: &'a Dpop,
    pub(crate) presented: &'a Presented<'a>,
    pub(crate) scheme: Scheme<'a>,
    pub(crate) world: World<'a>,
    /// Whether an authority of the registry vouches for the connection's certificate.
    pub(crate) certified: bool,
}

/// A sender that is the one whom the token was given to.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The narrower one if there are two: a proof is for one request, a certificate for a connection.
    pub(crate) binding: Binding,
    /// To be used when everything else has been accepted.
    pub(crate) proof: Option<Unused>,
}

impl Sender<'_> {
    pub(crate) fn bind(&self, token: &Accepted<'_>) -> Result<Bound, Refusal> {
        let Confirmation { certificate, key } = token.content.confirmation();
        let proof = self.prove(key.as_ref(), &token.content.fingerprint(), token.issuer)?;
        check_certificate(certificate.as_ref(), self.presented.certificate)?;
        if certificate.is_some() && !self.certified && !token.issuer.unregistered_certificates {
            let what = "the certificate that the token is bound to is of no authority that is registered here";
            return Err(Refusal::new(Reason::UNKNOWN_AUTHORITY, what));
        }
        let proven = proof.as_ref().map(|_| Binding::Dpop);
        let achieved: Vec<Binding> = proven.into_iter().chain(certificate.map(|_| Binding::Certificate)).collect();
        check_demand(&achieved, Some(token.issuer), &token.issuer.organisation, self.world.parties)?;
        Ok(Bound { binding: achieved.first().copied().unwrap_or(Binding::None), proof })
    }

    fn prove(&self, key: Option<&Digest>, token: &Digest, issuer: &Issuer) -> Result<Option<Unused>, Refusal> {
        match (self.scheme, key) {
            (Scheme::Bearer, None) => Ok(None),
            (Scheme::Bearer, Some(_)) => Err(bad(
                "the token is bound to a key: it counts only as `authorization: DPoP TOKEN`, with a proof in the header \
                 `dpop`",
            )),
            (Scheme::Dpop { .. }, None) => {
                Err(bad("the token is bound to no key: ask your provider for one that is, or send it as `Bearer`"))
            }
            (Scheme::Dpop { proof }, Some(key)) => {
                let leeway_ms = i64::try_from(issuer.leeway_seconds).ok().and_then(|s| s.checked_mul(1000));
                let wanted = Wanted {
                    key,
                    token,
                    method: self.presented.method.as_str(),
                    origins: self.presented.origins,
                    path: self.presented.path,
                    leeway_ms: leeway_ms.unwrap_or(0),
                    now: self.world.now,
                };
                self.dpop.check(proof, &wanted, issuer.dpop_nonce).map(Some)
            }
        }
    }
}

/// RFC 8705 section 3: the thumbprint is all that counts, whoever has signed the certificate.
fn check_certificate(wanted: Option<&Digest>, shown: Option<&PeerCertificate>) -> Result<(), Refusal> {
    let Some(wanted) = wanted else { return Ok(()) };
    let Some(shown) = shown else {
        return Err(bad("the token is bound to a client certificate, and this connection has none"));
    };
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(&shown.thumbprint().0, &wanted.0);
    same.map_err(|_| bad("the token is bound to another client certificate than this connection's"))
}

/// Whether the issuer, if there is one, and the organisation are content with how a caller is bound.
pub(crate) fn check_demand(
    achieved: &[Binding],
    issuer: Option<&Issuer>,
    organisation: &OrganisationId,
    parties: &Parties,
) -> Result<(), Refusal> {
    let organisation = parties.organisations.get(organisation).map(|organisation| &organisation.bindings);
    for wanted in [issuer.map(|issuer| &issuer.bindings), organisation].into_iter().flatten() {
        if !wanted.is_empty() && !achieved.iter().any(|binding| wanted.contains(binding)) {
            return Err(Refusal::new(Reason::BINDING_REQUIRED, format!("callers like you must be {}", ways(wanted))));
        }
    }
    Ok(())
}

fn ways(wanted: &BTreeSet<Binding>) -> String {
    let way = |binding: &Binding| match binding {
        Binding::None => "unbound",
        Binding::Certificate => "bound by a client certificate (RFC 8705)",
        Binding::Dpop => "bound by a proof with each request (DPoP, RFC 9449)",
    };
    wanted.iter().map(way).collect::<Vec<_>>().join(", or ")
}

fn bad(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BAD_BINDING, detail)
}
