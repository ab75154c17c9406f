//! A module with its sessions, as its thread holds it.

use super::attributes;
use super::error::TokenError;
use super::{Pin, PinSource, TokenObject};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Names in a message; a token may hold thousands.
const SHOWN_MAX: usize = 20;

pub(super) struct Library {
    path: PathBuf,
    /// Loaded once; never unloaded, because modules leave threads and exit handlers behind.
    context: Option<Pkcs11>,
    is_initialised: bool,
    /// Logged in, by the token's label.
    open: HashMap<String, Open>,
    /// By the token's label.
    refused: HashMap<String, Pin>,
}

struct Open {
    session: Session,
    /// Private keys by their labels.
    keys: HashMap<String, ObjectHandle>,
}

/// A token that is there.
struct Found {
    slot: Slot,
    info: TokenInfo,
}

impl Library {
    pub(super) fn new(path: &Path) -> Self {
        let (open, refused) = (HashMap::new(), HashMap::new());
        Self { path: path.to_owned(), context: None, is_initialised: false, open, refused }
    }

    /// The public key of a private key that can sign.
    pub(super) fn key(&mut self, at: &TokenObject, pin: &PinSource) -> Result<[u8; 32], TokenError> {
        let found = self.look_for(&at.token)?;
        self.knows(&found, &at.token, MechanismType::EDDSA)?;
        let open = self.session(at, pin)?;
        let private = open.private_key(at)?;
        let of = Object { session: &open.session, handle: private, at };
        of.is_ed25519()?;
        if of.flag(AttributeType::Sign)? == Some(false) {
            return Err(TokenError::MustNotSign { at: at.clone() });
        }
        if of.flag(AttributeType::AlwaysAuthenticate)? == Some(true) {
            return Err(TokenError::AlwaysAuthenticate { at: at.clone() });
        }
        of.public_half()
    }

    /// The public key, from an object that everybody may see, if there is one.
    pub(super) fn public_key(&mut self, at: &TokenObject, pin: &PinSource) -> Result<[u8; 32], TokenError> {
        let found = self.look_for(&at.token)?;
        let session = self.context()?.open_ro_session(found.slot).map_err(failed(at, "C_OpenSession"))?;
        match public_by_label(&session, at)? {
            Some(public) => Object { session: &session, handle: public, at }.point(),
            None => self.key(at, pin),
        }
    }

    pub(super) fn sign(&mut self, at: &TokenObject, pin: &PinSource, text: &[u8]) -> Result<[u8; 64], TokenError> {
        match self.sign_once(at, pin, text) {
            Ok(signature) => Ok(signature),
            // A session can be lost without anybody's fault, and the token be there: HSMs drop idle ones.
            Err(TokenError::Failed { call, why, .. }) => {
                tracing::warn!(token = at.token, call, why, "the session with the token was lost; opening another");
                self.sign_once(at, pin, text)
            }
            Err(error) => Err(error),
        }
    }

    /// After a failure nothing of the session is kept.
    fn sign_once(&mut self, at: &TokenObject, pin: &PinSource, text: &[u8]) -> Result<[u8; 64], TokenError> {
        let open = self.session(at, pin)?;
        let signed = open.private_key(at).and_then(|key| {
            // Without parameters: pure Ed25519 (PKCS #11 v3.0 section 2.3.14).
            let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            open.session.sign(&mechanism, key, text).map_err(failed(at, "C_Sign"))
        });
        let signed = signed.and_then(|bytes| {
            let why = format!("a signature of {} bytes, where Ed25519 has 64", bytes.len());
            bytes.try_into().map_err(|_| TokenError::Failed { token: at.token.clone(), call: "C_Sign", why })
        });
        if signed.is_err() {
            self.open.remove(&at.token);
        }
        signed
    }

    /// Makes a key pair that stays in the token.
    pub(super) fn create(&mut self, at: &TokenObject, pin: &PinSource, id: &[u8]) -> Result<(), TokenError> {
        let found = self.look_for(&at.token)?;
        self.knows(&found, &at.token, MechanismType::ECC_EDWARDS_KEY_PAIR_GEN)?;
        self.knows(&found, &at.token, MechanismType::EDDSA)?;
        let session = self.context()?.open_rw_session(found.slot).map_err(failed(at, "C_OpenSession"))?;
        self.log_in(&session, &at.token, pin)?;
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            if !find(&session, at, class, Some(Attribute::Label(at.object.clone().into())))?.is_empty() {
                return Err(TokenError::Exists { at: at.clone() });
            }
        }
        let name = || [Attribute::Token(true), Attribute::Label(at.object.clone().into()), Attribute::Id(id.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let private = [name().as_slice(), &private].concat();
        let make = |params: &[u8]| {
            let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(params.to_vec())];
            let public = [name().as_slice(), &public].concat();
            session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
        };
        // Tokens take the curve in the one spelling or in the other.
        let made = make(&attributes::ED25519_OID).or_else(|_| make(&attributes::ED25519_NAME));
        made.map(drop).map_err(failed(at, "C_GenerateKeyPair"))
    }

    fn context(&mut self) -> Result<&Pkcs11, TokenError> {
        let unusable = |why: String| TokenError::Module { path: self.path.clone(), why };
        let context = match self.context.take() {
            Some(context) => context,
            None => Pkcs11::new(&self.path).map_err(|error| unusable(plain(&error)))?,
        };
        if !self.is_initialised {
            match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                // By somebody else in this process.
                Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => self.is_initialised = true,
                Err(error) => {
                    let why = plain(&error);
                    let error = unusable(why);
                    self.context = Some(context);
                    return Err(error);
                }
            }
        }
        Ok(self.context.insert(context))
    }

    /// The token, also one that came or came back after the module was initialised: some modules see those only when they are
    /// initialised again.
    fn look_for(&mut self, token: &str) -> Result<Found, TokenError> {
        match self.look(token) {
            Err(TokenError::NoToken { .. } | TokenError::Failed { .. }) => {
                self.start_over();
                self.look(token)
            }
            found => found,
        }
    }

    fn look(&mut self, token: &str) -> Result<Found, TokenError> {
        let failed =
            |error: &Error| TokenError::Failed { token: token.to_owned(), call: "C_GetSlotList", why: plain(error) };
        let context = self.context()?;
        let slots = context.get_slots_with_token().map_err(|error| failed(&error))?;
        // What is broken in another slot is not asked about.
        let infos = slots.into_iter().filter_map(|slot| Some(Found { slot, info: context.get_token_info(slot).ok()? }));
        let tokens: Vec<Found> = infos.filter(|found| found.info.token_initialized()).collect();
        let there = || tokens.iter().map(|found| found.info.label().to_owned()).take(SHOWN_MAX).collect();
        let count = tokens.iter().filter(|found| found.info.label() == token).count();
        match count {
            0 => Err(TokenError::NoToken { token: token.to_owned(), there: there() }),
            1 => tokens.into_iter().find(|found| found.info.label() == token).ok_or(TokenError::Ended),
            count => Err(TokenError::SeveralTokens { token: token.to_owned(), count }),
        }
    }

    /// Forgets every session, and has the module begin anew.
    fn start_over(&mut self) {
        self.open.clear();
        if let Some(context) = self.context.clone().filter(|_| self.is_initialised) {
            if let Err(error) = context.finalize() {
                tracing::debug!(error = plain(&error), "the PKCS #11 module could not be finalised");
            }
            self.is_initialised = false;
        }
    }

    /// Asked about this one alone: of a list the crate tells the log whatever it does not know.
    fn knows(&mut self, found: &Found, token: &str, mechanism: MechanismType) -> Result<(), TokenError> {
        let token = token.to_owned();
        match self.context()?.get_mechanism_info(found.slot, mechanism) {
            Ok(_) => Ok(()),
            Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
                let is_signing = mechanism == MechanismType::EDDSA;
                let mechanism = if is_signing { "CKM_EDDSA" } else { "CKM_EC_EDWARDS_KEY_PAIR_GEN" };
                Err(TokenError::NoMechanism { token, mechanism })
            }
            Err(error) => Err(TokenError::Failed { token, call: "C_GetMechanismInfo", why: plain(&error) }),
        }
    }

    /// A session that is logged in: the one that is open, or a new one.
    fn session(&mut self, at: &TokenObject, pin: &PinSource) -> Result<&mut Open, TokenError> {
        if !self.open.contains_key(&at.token) {
            let found = self.look_for(&at.token)?;
            let session = self.context()?.open_ro_session(found.slot).map_err(failed(at, "C_OpenSession"))?;
            self.log_in(&session, &at.token, pin)?;
            self.open.insert(at.token.clone(), Open { session, keys: HashMap::new() });
        }
        self.open.get_mut(&at.token).ok_or(TokenError::Ended)
    }

    /// Shows the PIN once, and not at all where it was refused before or could be one too many.
    fn log_in(&mut self, session: &Session, token: &str, pin: &PinSource) -> Result<(), TokenError> {
        let token = token.to_owned();
        let info = self.look(&token)?.info;
        if info.user_pin_locked() {
            return Err(TokenError::Locked { token });
        }
        if !info.user_pin_initialized() {
            return Err(TokenError::NoPin { token });
        }
        if info.user_pin_final_try() {
            return Err(TokenError::LastTry { token });
        }
        let pin = pin().map_err(|why| TokenError::PinUnreadable { token: token.clone(), why })?;
        if self.refused.get(&token) == Some(&pin) {
            return Err(TokenError::PinRefusedBefore { token });
        }
        let shown = AuthPin::new(pin.0.clone().into());
        match session.login(UserType::User, Some(&shown)) {
            Ok(()) => {
                self.refused.remove(&token);
                Ok(())
            }
            // Logins hold for all sessions of a process with a token.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                self.refused.insert(token.clone(), pin);
                Err(TokenError::Locked { token })
            }
            Err(Error::Pkcs11(RvError::UserPinNotInitialized, _)) => Err(TokenError::NoPin { token }),
            Err(Error::Pkcs11(why, _)) if refusal(&why).is_some() => {
                self.refused.insert(token.clone(), pin);
                let is_last = self.look(&token).is_ok_and(|found| found.info.user_pin_final_try());
                Err(TokenError::PinRefused { token, why: refusal(&why).unwrap_or_default(), is_last })
            }
            Err(error) => Err(TokenError::Failed { token, call: "C_Login", why: plain(&error) }),
        }
    }
}

fn refusal(why: &RvError) -> Option<&'static str> {
    match why {
        RvError::PinIncorrect => Some("it is not the right one"),
        RvError::PinInvalid => Some("it has characters that a PIN cannot have"),
        RvError::PinLenRange => Some("it is too short or too long"),
        RvError::PinExpired => Some("it has expired and must be changed"),
        _ => None,
    }
}

impl Open {
    fn private_key(&mut self, at: &TokenObject) -> Result<ObjectHandle, TokenError> {
        if let Some(key) = self.keys.get(&at.object) {
            return Ok(*key);
        }
        let label = Attribute::Label(at.object.clone().into());
        let key = match find(&self.session, at, ObjectClass::PRIVATE_KEY, Some(label))?.as_slice() {
            [key] => *key,
            [] => return Err(TokenError::NoObject { at: at.clone(), there: self.labels(at)? }),
            keys => {
                return Err(TokenError::SeveralObjects { at: at.clone(), kind: "private keys", count: keys.len() });
            }
        };
        self.keys.insert(at.object.clone(), key);
        Ok(key)
    }

    /// Of the private keys that are there.
    fn labels(&self, at: &TokenObject) -> Result<Vec<String>, TokenError> {
        let keys = find(&self.session, at, ObjectClass::PRIVATE_KEY, None)?;
        let label = |handle| Object { session: &self.session, handle, at }.bytes(AttributeType::Label).ok().flatten();
        let labels = keys.into_iter().filter_map(label).take(SHOWN_MAX);
        Ok(labels.map(|label| String::from_utf8_lossy(&label).into_owned()).collect())
    }
}

fn find(
    session: &Session,
    at: &TokenObject,
    class: ObjectClass,
    more: Option<Attribute>,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let template: Vec<Attribute> = std::iter::once(Attribute::Class(class)).chain(more).collect();
    session.find_objects(&template).map_err(failed(at, "C_FindObjects"))
}

fn public_by_label(session: &Session, at: &TokenObject) -> Result<Option<ObjectHandle>, TokenError> {
    let label = Attribute::Label(at.object.clone().into());
    match find(session, at, ObjectClass::PUBLIC_KEY, Some(label))?.as_slice() {
        [] => Ok(None),
        [public] => Ok(Some(*public)),
        several => Err(TokenError::SeveralObjects { at: at.clone(), kind: "public keys", count: several.len() }),
    }
}

/// An object in a token.
struct Object<'o> {
    session: &'o Session,
    handle: ObjectHandle,
    at: &'o TokenObject,
}

impl Object<'_> {
    /// One attribute; `None` where the token has none of that kind.
    fn attribute(&self, kind: AttributeType) -> Result<Option<Attribute>, TokenError> {
        let read = self.session.get_attributes(self.handle, &[kind]);
        Ok(read.map_err(failed(self.at, "C_GetAttributeValue"))?.into_iter().next())
    }

    fn flag(&self, kind: AttributeType) -> Result<Option<bool>, TokenError> {
        Ok(match self.attribute(kind)? {
            Some(Attribute::Sign(is) | Attribute::AlwaysAuthenticate(is)) => Some(is),
            _ => None,
        })
    }

    fn bytes(&self, kind: AttributeType) -> Result<Option<Vec<u8>>, TokenError> {
        Ok(match self.attribute(kind)? {
            Some(
                Attribute::Label(bytes)
                | Attribute::Id(bytes)
                | Attribute::EcParams(bytes)
                | Attribute::EcPoint(bytes)
                | Attribute::PublicKeyInfo(bytes),
            ) => Some(bytes),
            _ => None,
        })
    }

    /// Private keys need not name their curve; public ones do.
    fn is_ed25519(&self) -> Result<(), TokenError> {
        let not = |found: &str| Err(TokenError::NotEd25519 { at: self.at.clone(), found: found.to_owned() });
        match self.attribute(AttributeType::KeyType) {
            Ok(Some(Attribute::KeyType(KeyType::EC_EDWARDS))) => {}
            Ok(Some(Attribute::KeyType(kind))) => return not(&format!("a key of the type {kind}")),
            _ => return not("of no type that is known"),
        }
        match self.bytes(AttributeType::EcParams)? {
            Some(params) if !params.is_empty() && !attributes::is_ed25519(&params) => not("on another Edwards curve"),
            _ => Ok(()),
        }
    }

    /// Of a public key.
    fn point(&self) -> Result<[u8; 32], TokenError> {
        self.is_ed25519()?;
        let point = self.bytes(AttributeType::EcPoint)?.and_then(|bytes| attributes::point(&bytes));
        point.ok_or_else(|| TokenError::NotEd25519 { at: self.at.clone(), found: String::from("without a point") })
    }

    /// Of a private key: the public key with its label, or else with its CKA_ID, or what it says of that itself.
    fn public_half(&self) -> Result<[u8; 32], TokenError> {
        let of = |handle| Object { handle, ..*self }.point();
        if let Some(public) = public_by_label(self.session, self.at)? {
            return of(public);
        }
        if let Some(id) = self.bytes(AttributeType::Id)?.filter(|id| !id.is_empty()) {
            match find(self.session, self.at, ObjectClass::PUBLIC_KEY, Some(Attribute::Id(id)))?.as_slice() {
                [] => {}
                [public] => return of(*public),
                several => {
                    let (at, count) = (self.at.clone(), several.len());
                    return Err(TokenError::SeveralObjects {
                        at,
                        kind: "public keys with the CKA_ID of the one",
                        count,
                    });
                }
            }
        }
        let told = self.bytes(AttributeType::PublicKeyInfo)?.and_then(|bytes| attributes::key_info(&bytes));
        let told = match told {
            Some(key) => Some(key),
            None => self.bytes(AttributeType::EcPoint)?.and_then(|bytes| attributes::point(&bytes)),
        };
        told.ok_or_else(|| TokenError::NoPublicKey { at: self.at.clone() })
    }
}

fn failed(at: &TokenObject, call: &'static str) -> impl FnOnce(Error) -> TokenError {
    let token = at.token.clone();
    move |error| TokenError::Failed { token, call, why: plain(&error) }
}

/// The name of what the module answered, as everybody else writes it; what the crate says of it is the specification's
/// paragraph.
fn plain(error: &Error) -> String {
    match error {
        Error::Pkcs11(RvError::VendorDefined(code), _) => {
            format!("the module answered {code:#010x}, a code of its vendor")
        }
        Error::Pkcs11(code, _) => format!("the module answered {}", code_name(&format!("{code:?}"))),
        Error::LibraryLoading(error) => error.to_string(),
        Error::MissingSymbol(name) => format!("it has no `{name}`, so it is no PKCS #11 module"),
        error => error.to_string(),
    }
}

/// `CKR_DEVICE_REMOVED` of `DeviceRemoved`.
fn code_name(variant: &str) -> String {
    let mut name = String::from("CKR");
    for c in variant.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
