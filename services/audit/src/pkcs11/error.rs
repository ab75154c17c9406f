//! Why a key in a token cannot be used, for whoever must act.

use super::TokenObject;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the PKCS #11 module `{}` cannot be used: {why}", path.display())]
    Module { path: PathBuf, why: String },
    #[error("the module shows no token `{token}`; {}", there_are("tokens", there))]
    NoToken { token: String, there: Vec<String> },
    #[error("{count} tokens have the label `{token}`; give each a label of its own")]
    SeveralTokens { token: String, count: usize },
    #[error("the PIN of the token `{token}` cannot be read: {why}")]
    PinUnreadable { token: String, why: String },
    #[error(
        "the token `{token}` refused the PIN ({why}); {}. The same PIN is not shown to it again: correct what `pin` names",
        tries(*is_last)
    )]
    PinRefused { token: String, why: &'static str, is_last: bool },
    #[error(
        "the token `{token}` has refused this PIN before, so it is not shown again: a token locks after some wrong ones. Correct \
         what `pin` names"
    )]
    PinRefusedBefore { token: String },
    #[error(
        "the token `{token}` takes one more wrong PIN before it locks, so none is shown to it: log in by hand with the right one \
         first, as with `pkcs11-tool --login --token-label {token} --list-objects`"
    )]
    LastTry { token: String },
    #[error("the token `{token}` is locked after too many wrong PINs; its security officer can unlock it")]
    Locked { token: String },
    #[error("the token `{token}` has no user PIN yet; its security officer sets one")]
    NoPin { token: String },
    #[error("there is no private key {at}; {}", there_are("private keys", there))]
    NoObject { at: TokenObject, there: Vec<String> },
    #[error("{count} {kind} have the label {at}; give each a label of its own")]
    SeveralObjects { at: TokenObject, kind: &'static str, count: usize },
    #[error("the key {at} is {found}; the key of a log is an Ed25519 key (CKK_EC_EDWARDS with the curve 1.3.101.112)")]
    NotEd25519 { at: TokenObject, found: String },
    #[error("the key {at} must not sign: its CKA_SIGN is false")]
    MustNotSign { at: TokenObject },
    #[error("the key {at} asks for the PIN at each signature (CKA_ALWAYS_AUTHENTICATE); make one that does not")]
    AlwaysAuthenticate { at: TokenObject },
    #[error("there is no public key of {at}: import one with the same label, or the same CKA_ID")]
    NoPublicKey { at: TokenObject },
    #[error("the token `{token}` does not know the mechanism {mechanism}, which Ed25519 keys need")]
    NoMechanism { token: String, mechanism: &'static str },
    #[error("there is an object {at} already; nothing was made")]
    Exists { at: TokenObject },
    #[error("the key {at} cannot be used")]
    Key {
        at: TokenObject,
        #[source]
        source: tlog::note::KeyError,
    },
    #[error("the key {at} was tried out and did not sign: {why}")]
    TriedOut { at: TokenObject, why: String },
    #[error("the token `{token}`: {call} failed: {why}")]
    Failed { token: String, call: &'static str, why: String },
    #[error("the PKCS #11 module has not answered within {} s", .0.as_secs_f32())]
    Late(Duration),
    #[error("the PKCS #11 module has not answered others yet who asked before")]
    Busy,
    #[error("the thread that speaks with the PKCS #11 module has ended; start the broker again")]
    Ended,
}

fn there_are(what: &str, there: &[String]) -> String {
    if there.is_empty() {
        return format!("it has no {what} at all that can be seen");
    }
    let names: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
    format!("its {what} are {}", names.join(", "))
}

fn tries(is_last: bool) -> &'static str {
    if is_last {
        "one more wrong PIN locks it"
    } else {
        "how many wrong ones it takes before it locks, PKCS #11 does not tell"
    }
}
