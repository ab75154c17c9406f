//! What is out at once: revocations count although anything else is broken.

mod pieces;
#[cfg(test)]
mod tests;

use crate::document::{Entry, Val, read_toml};
use crate::folder::lenient_texts;
use crate::merge::{Documents, Merged};
use crate::party::parse_principal;
use crate::problem::Problems;
use crate::table::Table;
use model::party::Revocations;
use model::{CertificateRef, IssuerId, OrganisationId, SerialNumber};
use std::path::Path;
use std::str::FromStr;

/// RFC 7519 sets no bound on `jti`.
const TOKEN_BYTES_MAX: usize = 255;

/// Reads `[revoked]` of all files, strictly, and what [`load_revocations`] would find besides.
pub(crate) fn read(merged: &Merged<'_>, documents: &Documents) -> Revocations {
    let mut all = Revocations::default();
    documents.tops.iter().for_each(|top| gather(top, &mut all));
    for table in merged.singles() {
        all.organisations.extend(table.references::<OrganisationId>("organisations", "organisation", merged));
        for (text, spot) in table.texts("principals") {
            match parse_principal(text) {
                Ok((organisation, subject)) => {
                    table.known(organisation.as_str(), spot, "organisation", merged);
                    all.principals.insert((organisation, subject));
                }
                Err(e) => table.problem(spot, e, None),
            }
        }
        tokens(&table, merged, &mut all);
        certificates(&table, merged, &mut all);
        table.finish();
    }
    all
}

fn tokens(table: &Table<'_>, merged: &Merged<'_>, all: &mut Revocations) {
    for (text, spot) in table.texts("tokens") {
        match parse_token(text) {
            Some((issuer, token)) => {
                table.known(issuer.as_str(), spot, "issuer", merged);
                all.tokens.insert((issuer, token));
            }
            None => table.problem(spot, format!("`{text}` is not written `issuer/jti`"), None),
        }
    }
}

fn parse_token(text: &str) -> Option<(IssuerId, String)> {
    let (issuer, token) = text.split_once('/')?;
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    Some((issuer.parse().ok().filter(|_| fits)?, token.to_owned()))
}

fn certificates(table: &Table<'_>, merged: &Merged<'_>, all: &mut Revocations) {
    for (text, spot) in table.texts("certificates") {
        match parse_certificate(text) {
            Some(certificate) => {
                table.known(certificate.authority.as_str(), spot, "authority", merged);
                all.certificates.insert(certificate);
            }
            None => {
                let help =
                    "the number in hexadecimal, as `openssl x509 -noout -serial` prints it: `acme-machines/0A1B2C`";
                table.problem(spot, format!("`{text}` is not written `authority/SERIAL`"), Some(help.into()));
            }
        }
    }
}

fn parse_certificate(text: &str) -> Option<CertificateRef> {
    let (authority, serial) = text.split_once('/')?;
    Some(CertificateRef { authority: authority.parse().ok()?, serial: parse_serial(serial)? })
}

/// Any spelling of one number, hexadecimal: `0A:1B:2C`, `0x0a1b2c`, `00A1B2C`.
fn parse_serial(text: &str) -> Option<SerialNumber> {
    let digits: String = text.trim().to_ascii_lowercase().chars().filter(|c| *c != ':').collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    let number = digits.trim_start_matches('0');
    // `0` is a number; nothing is none.
    SerialNumber::new(if number.is_empty() && !digits.is_empty() { "0" } else { number }).ok()
}

/// Reads what is revoked, as far as anything can be read: `[revoked]`, and organisations and agreements whose `status` is
/// not `active`.
///
/// It never fails, and a file with a fault counts as far as it can be understood: reading too much here denies too
/// much, reading too little lets a revoked caller in. A folder or file that cannot be opened adds nothing, so whoever
/// keeps serving with an earlier snapshot keeps that snapshot's revocations beside these.
pub fn load_revocations(dir: &Path) -> Revocations {
    let problems = Problems::new(lenient_texts(dir), Vec::new());
    let mut all = Revocations::default();
    for (file, map) in problems.files().iter().enumerate() {
        let (tops, is_sound) = read_toml(file, map.text(), &problems);
        tops.iter().for_each(|top| gather(top, &mut all));
        if !is_sound {
            // A table or a key that stands twice is an error, and of two the parser keeps one.
            for piece in pieces::of(map.text()) {
                read_toml(file, &piece, &problems).0.iter().for_each(|top| gather(top, &mut all));
            }
        }
    }
    all
}

fn gather(top: &Entry, all: &mut Revocations) {
    let entries = match &top.node.value {
        Val::Table(entries) => entries,
        // `[[revoked]]`
        Val::Array(tables) if top.key == "revoked" => {
            for table in tables {
                let Val::Table(entries) = &table.value else { continue };
                revoked(entries, all);
            }
            return;
        }
        _ => return,
    };
    match top.key.as_str() {
        "revoked" => revoked(entries, all),
        "organisation" => all.organisations.extend(entries.iter().filter_map(suspended)),
        "agreement" => all.agreements.extend(entries.iter().filter_map(suspended)),
        _ => {}
    }
}

/// The organisation or agreement, unless its status is absent or `active`.
fn suspended<T: FromStr>(entry: &Entry) -> Option<T> {
    let Val::Table(entries) = &entry.node.value else { return None };
    let stated = entries.iter().any(|e| e.key == "status");
    (stated && peek(entries, "status") != Some("active")).then(|| entry.key.parse().ok())?
}

/// The text under `key`, whatever else is wrong with the table.
fn peek<'a>(entries: &'a [Entry], key: &str) -> Option<&'a str> {
    entries.iter().find(|e| e.key == key).and_then(|e| match &e.node.value {
        Val::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

fn revoked(entries: &[Entry], all: &mut Revocations) {
    for entry in entries {
        // One that somebody forgot to put in brackets counts too.
        let texts = entry.node.texts();
        match entry.key.as_str() {
            "organisations" => all.organisations.extend(texts.filter_map(|t| t.parse().ok())),
            "principals" => all.principals.extend(texts.filter_map(|t| parse_principal(t).ok())),
            "tokens" => all.tokens.extend(texts.filter_map(parse_token)),
            "certificates" => all.certificates.extend(texts.filter_map(parse_certificate)),
            _ => {}
        }
    }
}
