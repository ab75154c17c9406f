//! One login, from what a request shows to [`Authenticated`]: the crate's list of checks, in their order.

use crate::binding::{self, Sender};
use crate::certificate::Certified;
use crate::claims::{self, Identified};
use crate::confirmation::Confirmation;
use crate::credential::Scheme;
use crate::explain::Notes;
use crate::introspection::{self, Answer};
use crate::json::Object;
use crate::jwk::Key;
use crate::keys::KeyCache;
use crate::refusal::Refusal;
use crate::token::{self, Parts, Token};
use crate::verified::Verified;
use crate::{ClientAuthorities, Identity, LoginError, Presented, credential, delegation};
use model::party::{Issuer, Parties, SignatureAlgorithm};
use model::{Actor, Assertion, Authenticated, AuthenticationMethod, Binding, Digest, Reason, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a login is judged by: one generation and one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World<'w> {
    pub(crate) parties: &'w Parties,
    pub(crate) authorities: &'w ClientAuthorities,
    pub(crate) now: Timestamp,
}

/// A token that counts now.
#[derive(Debug)]
pub(crate) struct Accepted<'w> {
    pub(crate) issuer: &'w Issuer,
    pub(crate) who: Identified,
    pub(crate) content: Content,
    /// Its signature was verified just now.
    is_new: bool,
}

/// What a token says, and how we know.
#[derive(Debug)]
pub(crate) enum Content {
    /// In its own words, which its issuer has signed.
    Signed(Arc<Verified>),
    /// Its issuer was asked.
    Answered(Arc<Answer>),
}

impl Accepted<'_> {
    pub(crate) fn claims(&self) -> &Object<'_> {
        self.content.claims()
    }
}

impl Content {
    fn claims(&self) -> &Object<'static> {
        match self {
            Self::Signed(verified) => &verified.token.claims,
            Self::Answered(answer) => &answer.claims,
        }
    }

    pub(crate) fn confirmation(&self) -> Confirmation {
        match self {
            Self::Signed(verified) => verified.confirmation,
            Self::Answered(answer) => answer.confirmation,
        }
    }

    /// SHA-256 of the token's text.
    pub(crate) fn fingerprint(&self) -> Digest {
        match self {
            Self::Signed(verified) => verified.fingerprint,
            Self::Answered(answer) => answer.fingerprint,
        }
    }

    fn method(&self) -> AuthenticationMethod {
        match self {
            Self::Signed(_) => AuthenticationMethod::Jwt,
            Self::Answered(_) => AuthenticationMethod::Opaque,
        }
    }
}

impl Identity {
    /// The whole login. Everything else in this file is a step of it.
    pub(crate) async fn login(
        &self,
        presented: &Presented<'_>,
        world: World<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<Authenticated, LoginError> {
        let shown = credential::read(presented.headers, presented.query_has_access_token);
        let shown = notes.check("credential", shown, |shown| said(shown.token.is_some(), "a token", "no token"))?;
        let certified = certified(presented, shown.token.is_some(), world, notes)?;
        let Some(token) = shown.token else {
            return by_certificate(presented, certified, &shown, world, notes);
        };
        let subject = self.accept(token.text, presented.host, world, notes).await?;
        let actor = match shown.actor {
            // The host that was asked says whose the other token is, and nothing of this one.
            Some(text) => Some(self.accept(text, None, world, notes).await?),
            None => None,
        };
        let (dpop, scheme) = (&self.dpop, token.scheme);
        let sender = Sender { dpop, presented, scheme, world, certified: certified.is_some() };
        let caller = admit(&subject, actor.as_ref(), certified, sender, notes);
        let caller = caller.map_err(|refusal| refusal.by(&subject.issuer.id))?;
        [Some(subject), actor].into_iter().flatten().filter(|token| token.is_new).for_each(|token| {
            if let Content::Signed(verified) = token.content {
                self.verified_tokens.keep(verified);
            }
        });
        Ok(caller)
    }

    /// A token that its issuer has signed, or answers for, and whose claims hold now. A remembered signed one that is
    /// refused is forgotten.
    async fn accept<'w>(
        &self,
        text: &str,
        host: Option<&str>,
        world: World<'w>,
        notes: &mut Notes<'_>,
    ) -> Result<Accepted<'w>, LoginError> {
        notes.refused("shape", token::check_length(text))?;
        let fingerprint = Digest::of(text.as_bytes());
        if !token::has_three_parts(text) {
            return self.accept_opaque(text, fingerprint, host, world, notes).await;
        }
        if let Some(verified) = self.verified_tokens.get(&fingerprint) {
            match self.accept_again(verified, world, notes).await {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => self.verified_tokens.forget(&fingerprint),
                Err(error) => {
                    self.verified_tokens.forget(&fingerprint);
                    return Err(error);
                }
            }
        }
        self.accept_first(text, fingerprint, world, notes).await
    }

    async fn accept_first<'w>(
        &self,
        text: &str,
        fingerprint: Digest,
        world: World<'w>,
        notes: &mut Notes<'_>,
    ) -> Result<Accepted<'w>, LoginError> {
        let parts = notes.check("shape", Parts::split(text), |_| String::from("three parts of base64url"))?;
        let token = notes.check("header and claims", Token::parse(&parts), |_| String::from("well-formed"))?;
        let (issuer, keys) = self.issuer_of(&token, world.parties, notes)?;
        let by = |refusal: Refusal| refusal.by(&issuer.id);
        let (key, algorithm) = key_of(&token, issuer, &keys, world.now, notes).await.map_err(by)?;
        let verified = Verified::new(token, &parts, key, algorithm, fingerprint);
        let verified = notes.check("signature", verified, |_| String::from("made by the issuer's key")).map_err(by)?;
        identified(Content::Signed(Arc::new(verified)), issuer, true, world, notes).map_err(by)
    }

    /// A token without readable content, of which the one issuer that it can be of is asked, or was a moment ago.
    async fn accept_opaque<'w>(
        &self,
        text: &str,
        fingerprint: Digest,
        host: Option<&str>,
        world: World<'w>,
        notes: &mut Notes<'_>,
    ) -> Result<Accepted<'w>, LoginError> {
        let found = self.introspection.find(text, host, world.parties);
        let (issuer, desk) = notes.check("issuer", found, |(issuer, _)| {
            format!("`{}`, which speaks for `{}`: an opaque token of its own", issuer.id, issuer.organisation)
        })?;
        let by = |refusal: Refusal| refusal.by(&issuer.id);
        let answer = desk.ask(text, fingerprint, world.now).await;
        let answer = notes.check("introspection", answer, |_| String::from("the issuer says that it counts"));
        let answer = answer.map_err(by)?;
        let checked = introspection::check_answer(&answer, issuer);
        notes.check("type", checked, |()| String::from("accepted")).map_err(by)?;
        let accepted = identified(Content::Answered(Arc::clone(&answer)), issuer, false, world, notes).map_err(by)?;
        desk.keep(&answer);
        Ok(accepted)
    }

    /// `None` if the key that verified it is not what the issuer would have it verified with now.
    async fn accept_again<'w>(
        &self,
        verified: Arc<Verified>,
        world: World<'w>,
        notes: &mut Notes<'_>,
    ) -> Result<Option<Accepted<'w>>, LoginError> {
        let (issuer, keys) = self.issuer_of(&verified.token, world.parties, notes)?;
        let by = |refusal: Refusal| refusal.by(&issuer.id);
        let (key, _) = key_of(&verified.token, issuer, &keys, world.now, notes).await.map_err(by)?;
        if !verified.is_by(&key) {
            return Ok(None);
        }
        notes.skipped("signature", "verified before with the same key");
        identified(Content::Signed(verified), issuer, false, world, notes).map(Some).map_err(by)
    }

    /// The issuer that `iss` names. Its rules come from the generation's parties, so that one generation decides a request
    /// from start to end; an issuer that is on one side only, during an update, does not count.
    fn issuer_of<'w>(
        &self,
        token: &Token<'_>,
        parties: &'w Parties,
        notes: &mut Notes<'_>,
    ) -> Result<(&'w Issuer, Arc<KeyCache>), Refusal> {
        let found = token.issuer().and_then(|url| {
            self.find_issuer(url, parties)
                .ok_or_else(|| Refusal::new(Reason::UNKNOWN_ISSUER, "the token's issuer is not registered here"))
        });
        notes.check("issuer", found, |(issuer, _)| {
            format!("`{}`, which speaks for `{}`", issuer.id, issuer.organisation)
        })
    }

    fn find_issuer<'w>(&self, url: &str, parties: &'w Parties) -> Option<(&'w Issuer, Arc<KeyCache>)> {
        let issuers = self.issuers.load();
        let known = issuers.get(url)?;
        let issuer = parties.issuers.get(&known.id).filter(|issuer| issuer.url == url)?;
        Some((issuer, Arc::clone(&known.keys)))
    }
}

/// The key that must have made the signature. Asked for remembered tokens too: a key that is withdrawn, or too old to
/// count, takes with it what it has verified.
async fn key_of(
    token: &Token<'_>,
    issuer: &Issuer,
    keys: &Arc<KeyCache>,
    now: Timestamp,
    notes: &mut Notes<'_>,
) -> Result<(Arc<Key>, SignatureAlgorithm), Refusal> {
    let algorithm = notes.check("algorithm", token.algorithm(issuer), |algorithm| format!("{algorithm:?}"))?;
    notes.check("type", token.check_type(issuer), |()| String::from("accepted"))?;
    let key = keys.find(token.key_id(), algorithm, now).await;
    let key = notes.check("key", key, |_| String::from("one of the issuer's keys"))?;
    Ok((key, algorithm))
}

fn identified<'w>(
    content: Content,
    issuer: &'w Issuer,
    is_new: bool,
    world: World<'w>,
    notes: &mut Notes<'_>,
) -> Result<Accepted<'w>, Refusal> {
    let who = claims::identify(content.claims(), content.method(), issuer, world.parties, world.now);
    let who = notes.check("claims", who, |who| format!("`{}` until {}", who.principal.to_text(), who.expires))?;
    Ok(Accepted { issuer, who, content, is_new })
}

/// Whom the connection's certificate speaks for. Beside a token it need not speak for anybody: an issuer can bind tokens to
/// certificates that no authority of ours has signed.
fn certified(
    presented: &Presented<'_>,
    beside_token: bool,
    world: World<'_>,
    notes: &mut Notes<'_>,
) -> Result<Option<Certified>, Refusal> {
    let Some(certificate) = presented.certificate else {
        notes.skipped("certificate", "the connection has none");
        return Ok(None);
    };
    match world.authorities.judge(certificate, world.parties, world.now) {
        Err(refusal) if beside_token && refusal.reason == Reason::UNKNOWN_AUTHORITY => {
            notes.skipped("certificate", "of no registered authority: it can bind the token and is nobody's otherwise");
            Ok(None)
        }
        judged => notes.check("certificate", judged, |c| format!("of `{}`", c.principal.to_text())).map(Some),
    }
}

/// The certificate is the credential.
fn by_certificate(
    presented: &Presented<'_>,
    certified: Option<Certified>,
    shown: &credential::Shown<'_>,
    world: World<'_>,
    notes: &mut Notes<'_>,
) -> Result<Authenticated, LoginError> {
    let (Some(certified), Some(shown_certificate)) = (certified, presented.certificate) else {
        return Err(credential::none("send a token in the header `authorization: Bearer TOKEN`").into());
    };
    let authority = certified.reference.authority.clone();
    if shown.actor.is_some() {
        let refusal = Refusal::new(Reason::BAD_DELEGATION, "an actor's token needs the token of who it acts for");
        return Err(refusal.by(&authority));
    }
    let organisation = &certified.principal.organisation;
    let content = binding::check_demand(&[Binding::Certificate], None, organisation, world.parties);
    notes.check("binding", content, |()| Binding::Certificate.as_str().to_owned()).map_err(|r| r.by(&authority))?;
    let caller = Assertion {
        principal: certified.principal,
        issuer: authority.clone(),
        method: AuthenticationMethod::Certificate,
        binding: Binding::Certificate,
        expires: certified.expires,
        fingerprint: shown_certificate.thumbprint(),
        token_id: None,
        certificate: Some(certified.reference),
        assurance: 0,
        roles: BTreeSet::new(),
        actors: Vec::new(),
    };
    vouch(caller, world.parties, notes).map_err(|refusal| refusal.by(&authority))
}

/// What is judged of the tokens together, and with the connection.
fn admit(
    subject: &Accepted<'_>,
    actor: Option<&Accepted<'_>>,
    certified: Option<Certified>,
    sender: Sender<'_>,
    notes: &mut Notes<'_>,
) -> Result<Authenticated, Refusal> {
    let world = sender.world;
    let bound = notes.check("binding", sender.bind(subject), |bound| bound.binding.as_str().to_owned())?;
    if let Some(actor) = actor {
        // The proof, if there is one, is for the other token.
        let bound = Sender { scheme: Scheme::Bearer, ..sender }.bind(actor);
        notes.check("binding of the actor", bound, |bound| bound.binding.as_str().to_owned())?;
    }
    notes.refused("certificate", check_certificate(certified.as_ref(), subject, actor))?;
    let actors = delegation::actors(subject, actor, world.parties);
    let actors = notes.check("delegation", actors, |actors| chain_text(actors))?;
    let ends = [Some(subject.who.expires), actor.map(|actor| actor.who.expires), certified.as_ref().map(|c| c.expires)];
    let caller = Assertion {
        principal: subject.who.principal.clone(),
        issuer: subject.issuer.id.clone(),
        method: subject.content.method(),
        binding: bound.binding,
        expires: ends.into_iter().flatten().min().unwrap_or(subject.who.expires),
        fingerprint: subject.content.fingerprint(),
        token_id: subject.who.token_id.clone(),
        certificate: certified.map(|certified| certified.reference),
        assurance: subject.who.assurance,
        roles: subject.who.roles.clone(),
        actors,
    };
    let caller = vouch(caller, world.parties, notes)?;
    let used = bound.proof.map_or(Ok(()), |proof| sender.dpop.take(&proof, caller.organisation(), world.now));
    notes.check("proof", used, |()| String::from("not used before, or none is needed"))?;
    Ok(caller)
}

/// A certificate beside a token only binds it. It must be of a company that one of the tokens is of.
fn check_certificate(
    certified: Option<&Certified>,
    subject: &Accepted<'_>,
    actor: Option<&Accepted<'_>>,
) -> Result<(), Refusal> {
    let Some(certified) = certified else { return Ok(()) };
    let of = &certified.principal.organisation;
    if [Some(subject), actor].into_iter().flatten().any(|token| token.issuer.organisation == *of) {
        return Ok(());
    }
    Err(Refusal::new(Reason::SEVERAL_CREDENTIALS, "the certificate and the token are of different organisations"))
}

fn vouch(caller: Assertion, parties: &Parties, notes: &mut Notes<'_>) -> Result<Authenticated, Refusal> {
    #[expect(clippy::disallowed_methods, reason = "this crate is the one that vouches for callers")]
    let caller = Authenticated::assertion(caller);
    let vouched = if caller.is_revoked(&parties.revocations) {
        Err(Refusal::new(Reason::REVOKED, "this principal, or what it was shown with, is revoked"))
    } else {
        Ok(caller)
    };
    notes.check("revocation", vouched, |_| String::from("neither the principal nor the credential is revoked"))
}

fn chain_text(actors: &[Actor]) -> String {
    let names: Vec<String> = actors.iter().map(|actor| format!("`{}`", actor.principal.to_text())).collect();
    said(names.is_empty(), "nobody acts for the principal", &format!("sent by {}", names.join(", for ")))
}

fn said(holds: bool, yes: &str, no: &str) -> String {
    (if holds { yes } else { no }).to_owned()
}
