//! Whether the sender of a token is the one it was given to.

use crate::PeerCertificate;
use crate::confirmation::Confirmation;
use crate::refusal::Refusal;
use model::party::{Issuer, Parties};
use model::{Binding, Reason};

/// How the sender is bound, which is at least what the token, its issuer and the issuer's organisation ask for.
pub(crate) fn bind(
    confirmation: &Confirmation,
    certificate: Option<&PeerCertificate>,
    issuer: &Issuer,
    parties: &Parties,
) -> Result<Binding, Refusal> {
    if confirmation.key.is_some() {
        return Err(Refusal::new(Reason::BAD_BINDING, "the token is bound to a key, and there is no proof of it"));
    }
    let binding = match confirmation.certificate {
        None => Binding::None,
        Some(bound) if certificate.is_some_and(|shown| shown.thumbprint() == bound) => Binding::Certificate,
        Some(_) => {
            return Err(Refusal::new(
                Reason::BAD_BINDING,
                "the token is bound to another certificate than the sender's",
            ));
        }
    };
    check_demand(binding, issuer, parties)?;
    Ok(binding)
}

/// Whether the issuer and its organisation are content with how a caller is bound.
pub(crate) fn check_demand(binding: Binding, issuer: &Issuer, parties: &Parties) -> Result<(), Refusal> {
    let organisation = parties.organisations.get(&issuer.organisation);
    let demands = [Some(&issuer.bindings), organisation.map(|organisation| &organisation.bindings)];
    if demands.into_iter().flatten().all(|accepted| accepted.is_empty() || accepted.contains(&binding)) {
        Ok(())
    } else {
        Err(Refusal::new(Reason::BINDING_REQUIRED, "this caller's tokens must be bound to its sender"))
    }
}
