//! `millgate identity`: what Millgate makes of a credential, without a request.
//!
//! Everything that a broker with this configuration would judge is judged by the same code. What only a broker knows, it
//! says: whether a proof has been used before, and whether whoever shows a certificate has its key.

mod input;
mod report;

use crate::out::say;
use crate::serve;
use anyhow::{Context as _, bail};
use broker::Parts;
use broker::canonical::Canonical;
use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use identity::{Failure, Origins, PeerCertificate, Presented};
use input::Source;
use model::{Clock as _, Origin, Timestamp};
use report::Report;
use runtime::clock::SystemClock;
use runtime::config::Config;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say, check by check, what Millgate makes of a token or a certificate
    #[command(after_help = "Examples:\n  \
        millgate identity explain --config millgate.toml --token - < token.jwt\n  \
        millgate identity explain --token token.jwt --certificate press-3.pem --json\n  \
        millgate identity explain --token token.jwt --proof proof.jwt --url https://data.plant.example/series/press-3.force\n\n\
        Exit status: 0 accepted; 1 refused; 2 usage or configuration.\n\
        Nothing secret is printed. The token's issuer is asked for its keys, as the configuration says.")]
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// File with the token; `-` reads it from standard input
    #[arg(long, value_name = "FILE|-")]
    token: Option<Source>,
    /// PEM file with the caller's certificate, and those between it and its authority
    #[arg(long, value_name = "FILE|-")]
    certificate: Option<Source>,
    /// File with the own token of who acts for the other token's principal
    #[arg(long, value_name = "FILE|-", requires = "token")]
    actor_token: Option<Source>,
    /// File with the proof (DPoP) that is sent beside the token
    #[arg(long, value_name = "FILE|-", requires = "token", requires = "url")]
    proof: Option<Source>,
    /// The method that is asked with
    #[arg(long, default_value = "GET")]
    method: Method,
    /// The address that is asked: its host can say whose an opaque token is, and a proof is made for it
    #[arg(long)]
    url: Option<Uri>,
    /// The time to judge by, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    // Caught, so that a token is not repeated in a message.
    #[arg(hide = true)]
    rest: Vec<Source>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| String::from("write it as in 2026-11-22T08:00:00Z"))
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Explain(args) = command;
    let report = explain(&args).await?;
    if args.json {
        say(report.json());
    } else {
        say(report.text());
    }
    Ok(if report.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn explain(args: &ExplainArgs) -> anyhow::Result<Report> {
    let shown = Shown::read(args)?;
    let config = Config::load(&args.config).map_err(|problems| said(&problems))?;
    let parts = serve::folders(&config).load().map_err(|problems| said(&problems))?;
    let origins = shown.origins(&config)?;
    let (identity, _copy) = identity(config)?;
    identity.update(&parts.parties);
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let explanation =
        Box::pin(identity.explain(&shown.presented(&origins), &parts.parties, &parts.authorities, now)).await;
    let notes = shown.notes(&parts, explanation.failure.as_ref());
    Ok(Report::new(explanation, &parts.parties, notes, now))
}

fn said<T: ToString>(problems: &[T]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the configuration cannot be used; `millgate check` says more\n{}", lines.join("\n"))
}

/// As a broker with this configuration has it, but for the folder of keys: that is a copy, so that neither the user nor
/// the time of this command leaves anything in the broker's.
fn identity(mut config: Config) -> anyhow::Result<(identity::Identity, tempfile::TempDir)> {
    let copy = tempfile::tempdir().context("no folder for temporary files")?;
    if let Some(keys) = &config.identity.key_cache {
        copy_files(keys, copy.path()).with_context(|| format!("the keys in `{}` cannot be read", keys.display()))?;
        config.identity.key_cache = Some(copy.path().to_owned());
    }
    Ok((serve::identity(&config)?, copy))
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What a request would show.
#[derive(Debug)]
struct Shown {
    headers: HeaderMap,
    certificate: Option<PeerCertificate>,
    target: Option<Target>,
    method: Method,
    has_proof: bool,
}

#[derive(Debug)]
struct Target {
    origin: Origin,
    canonical: Canonical,
    path: String,
}

impl Shown {
    fn read(args: &ExplainArgs) -> anyhow::Result<Self> {
        if !args.rest.is_empty() {
            return Err(input::refused("a token or another value"));
        }
        if args.token.is_none() && args.certificate.is_none() {
            bail!("nothing to explain: name a file with `--token` or `--certificate`");
        }
        let sources = [&args.token, &args.certificate, &args.actor_token, &args.proof];
        if sources.into_iter().flatten().filter(|source| source.is_stdin()).count() > 1 {
            bail!("standard input holds one thing; name files for the others");
        }
        let text = |source: &Option<Source>, what| source.as_ref().map(|source| source.read(what)).transpose();
        let proof = text(&args.proof, "proof")?;
        let mut headers = HeaderMap::new();
        if let Some(token) = text(&args.token, "token")? {
            let scheme = if proof.is_some() { "DPoP" } else { "Bearer" };
            put(&mut headers, header::AUTHORIZATION, &format!("{scheme} {token}"), "token")?;
        }
        if let Some(actor) = text(&args.actor_token, "actor's token")? {
            put(&mut headers, HeaderName::from_static("millgate-actor-token"), &actor, "actor's token")?;
        }
        if let Some(proof) = &proof {
            put(&mut headers, HeaderName::from_static("dpop"), proof, "proof")?;
        }
        let certificate = text(&args.certificate, "certificate")?.map(|pem| input::certificate(&pem)).transpose()?;
        let target = args.url.as_ref().map(|url| Target::of(url, &args.method)).transpose()?;
        Ok(Self { headers, certificate, target, method: args.method.clone(), has_proof: proof.is_some() })
    }

    /// How the listener is reached that would be asked: the data listener, unless the address is the api listener's.
    fn origins(&self, config: &Config) -> anyhow::Result<Origins> {
        let https = config.tls.is_some();
        let api = serve::origins(&config.listen.api_origins, config.listen.api, https);
        let is_apis = self.target.as_ref().is_some_and(|target| api.contains(&target.origin));
        Ok(if is_apis { api } else { serve::origins(&config.listen.data_origins, config.listen.data, https) })
    }

    fn presented<'a>(&'a self, origins: &'a Origins) -> Presented<'a> {
        let target = self.target.as_ref();
        Presented {
            headers: &self.headers,
            query_has_access_token: target.is_some_and(|target| target.canonical.has_query("access_token")),
            method: &self.method,
            origins,
            host: target.and_then(|target| target.canonical.host.as_deref()),
            path: target.map_or("/", |target| &target.path),
            certificate: self.certificate.as_ref(),
        }
    }

    fn notes(&self, parts: &Parts, failure: Option<&Failure>) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(failure.map(Failure::to_string));
        if self.certificate.is_some() {
            notes.push("that whoever shows the certificate has its key is proven in a TLS handshake, not here".into());
        }
        if self.has_proof {
            notes.push(
                "whether the proof has been used before, and whether its nonce is ours, only the broker knows".into(),
            );
        }
        let by_host = |parts: &Parts| {
            let mut asked = parts.parties.issuers.values().filter_map(|issuer| issuer.introspection.as_ref());
            asked.any(|introspection| introspection.host.is_some())
        };
        if self.target.is_none() && by_host(parts) {
            notes.push("no `--url`: an opaque token is known by its prefix alone here".into());
        }
        notes
    }
}

/// The value must not be repeated in a message.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str, what: &str) -> anyhow::Result<()> {
    let Ok(mut value) = HeaderValue::from_str(value) else {
        bail!("the {what} has characters that no header can carry: is it the right file?");
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

impl Target {
    fn of(url: &Uri, method: &Method) -> anyhow::Result<Self> {
        const FORM: &str = "`--url` must be like https://data.plant.example/series/press-3.force";
        let text = url.to_string();
        let (origin, _) = Origin::split(&text).context(FORM)?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let authority = url.authority().context(FORM)?.as_str();
        let request = http::Request::builder().method(method).uri(target).header(header::HOST, authority).body(())?;
        let canonical = Canonical::parse(&request.into_parts().0)
            .map_err(|refusal| anyhow::anyhow!("no request can have this `--url`: {}", refusal.detail))?;
        let path = canonical.path_text();
        Ok(Self { origin, canonical, path })
    }
}

#[cfg(test)]
mod tests;
