//! What is read: files or standard input, never the command line.

use anyhow::{Context as _, bail};
use identity::PeerCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::convert::Infallible;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

/// More than any token, proof or chain has.
const BYTES_MAX: u64 = 256 * 1024;

/// A file, or standard input. Its name is not printed: it could be a token.
#[derive(Clone)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Stdin } else { Self::File(text.into()) })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_stdin() { "Stdin" } else { "File" })
    }
}

impl Source {
    pub(super) fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin)
    }

    /// Without white space around it. One that is empty is a mistake on the way here and says nothing of the credential.
    pub(super) fn read(&self, what: &str) -> anyhow::Result<String> {
        let mut text = String::new();
        let read = match self {
            Self::Stdin => std::io::stdin().take(BYTES_MAX + 1).read_to_string(&mut text),
            Self::File(path) if !path.exists() => return Err(refused(what)),
            Self::File(path) => {
                std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
            }
        };
        let bytes = read.with_context(|| format!("the {what} cannot be read"))?;
        if bytes as u64 > BYTES_MAX {
            bail!("the {what} has more than {BYTES_MAX} bytes: is it the right file?");
        }
        let text = text.trim();
        if text.is_empty() {
            bail!("the {what} is empty: {} holds nothing", if self.is_stdin() { "standard input" } else { "the file" });
        }
        Ok(text.to_owned())
    }
}

/// Whatever stood there is not repeated.
pub(super) fn refused(what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the {what} is read from a file or, with `-`, from standard input; there is no file of the name given. A token \
         on the command line stands in the shell's history and in the list of processes: if you wrote one there, treat it \
         as known to others"
    )
}

/// The caller's own certificate first.
pub(super) fn certificate(pem: &str) -> anyhow::Result<PeerCertificate> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| anyhow::anyhow!("the certificate is not PEM: {error}"))?;
    PeerCertificate::new(chain).context("there is no certificate (`-----BEGIN CERTIFICATE-----`) in it")
}
