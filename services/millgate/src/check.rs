//! `millgate check`: everything that is wrong, at once, before the plant notices.

use crate::out::say;
use crate::serve::{assertion_keys, folders, networks};
use crate::sinks::s3::S3;
use broker::upstream::Upstreams;
use broker::{Parts, World};
use model::Clock as _;
use model::party::{Agreement, Issuer, KeyLocation, Status};
use model::plant::{Acknowledgement, Product};
use registry::{Networks, Problem};
use runtime::clock::SystemClock;
use runtime::config::Config;
use runtime::secret;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millgate check --config /etc/millgate/millgate.toml\n  millgate check --config millgate.toml --json"
)]
pub struct Args {
    /// The configuration file; the folders it names are checked with it
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What a sound configuration holds.
#[derive(Debug, Default, serde::Serialize)]
struct Counts {
    sources: usize,
    products: usize,
    datasets: usize,
    signals: usize,
    routes: usize,
    organisations: usize,
    issuers: usize,
    authorities: usize,
    agreements: usize,
    agreements_in_force: usize,
    policies: usize,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut warnings = Vec::new();
    let (problems, counts) = match examine(args, &mut warnings) {
        Ok(counts) => (Vec::new(), counts),
        Err(problems) => (problems, Counts::default()),
    };
    if args.json {
        let report = serde_json::json!({
            "ok": problems.is_empty(), "problems": problems, "warnings": warnings, "counts": counts,
        });
        say(report);
    } else {
        for problem in &problems {
            say(problem);
        }
        for warning in &warnings {
            say(format_args!("warning: {warning}"));
        }
        match problems.len() {
            0 => say(format_args!("{}: fine\n  {}", args.config.display(), summary(&counts))),
            n => say(counted((n, "problem", "problems"))),
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn summary(c: &Counts) -> String {
    let plant = [
        (c.sources, "source", "sources"),
        (c.products, "product", "products"),
        (c.datasets, "dataset", "datasets"),
        (c.signals, "signal", "signals"),
        (c.routes, "route", "routes"),
    ];
    let parties = [
        (c.organisations, "organisation", "organisations"),
        (c.issuers, "issuer", "issuers"),
        (c.authorities, "authority", "authorities"),
        (c.agreements, "agreement", "agreements"),
    ];
    let (plant, parties) = (plant.map(counted).join(", "), parties.map(counted).join(", "));
    let policies = counted((c.policies, "policy", "policies"));
    format!("{plant}; {parties} ({} in force); {policies}", c.agreements_in_force)
}

fn counted((n, one, many): (usize, &str, &str)) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// What is wrong with the policies that are to be tried beside those in use.
fn unfit_to_try(config: &Config, parts: &Parts) -> Vec<Problem> {
    let Some(shadow) = &config.shadow else { return Vec::new() };
    let folders = broker::Folders { policies: shadow.policies.clone(), ..folders(config) };
    let tried = folders
        .load_policies(None)
        .and_then(|policies| World::join(&Parts { policies, ..parts.clone() }, 0, Upstreams::new()));
    tried.err().unwrap_or_default()
}

/// Products that nobody could get, and policies by which nobody could get anything.
fn unwitnessed(config: &Config, parts: &Parts) -> Vec<String> {
    let Some((why, help)) = nobody(config) else { return Vec::new() };
    let wants = |product: &&Product| product.acknowledgement == Acknowledgement::Witnessed;
    let what = |product: &Product| {
        format!(
            "product `{}` is given out only when witnesses have cosigned (`acknowledgement = \"witnessed\"`), and {why}; \
             help: {help}",
            product.id
        )
    };
    let products = parts.catalog.plant.products.values().filter(wants).map(what);
    let permits = parts.policies.demanding_witnesses().map(|(file, line, policy)| {
        format!(
            "{file}:{line}: policy `{policy}`: what it permits is given out only when witnesses have cosigned \
             (`@acknowledgement(\"witnessed\")`), and {why}; help: {help}"
        )
    });
    products.chain(permits).collect()
}

/// Why no witness has to have seen a checkpoint, and what to do about it.
fn nobody(config: &Config) -> Option<(&'static str, &'static str)> {
    match config.audit.witnesses.as_deref().map(crate::witnessing::policy) {
        None => Some(("the log has none", "name them in `[audit] witnesses`")),
        Some(Ok(policy)) if !policy.asks_for_witnesses() => Some((
            "`quorum none` in the log's trust policy asks for none",
            "name the quorum in the file that `[audit] witnesses` names",
        )),
        // What is wrong with the file is said for itself.
        Some(_) => None,
    }
}

fn unseen(config: &Config) -> Option<String> {
    let (why, help) = nobody(config)?;
    Some(format!(
        "no witness has to see the log ({why}): whoever holds its key could show one history to one auditor and another to the next; \
         help: {help}, run by others than you"
    ))
}

/// What works, and not as well as it could.
fn exposed(config: &Config) -> Vec<String> {
    let Some(Ok(policy)) = config.audit.witnesses.as_deref().map(crate::witnessing::policy) else { return Vec::new() };
    let warning = |(witness, url): (&str, &str)| {
        format!(
            "witness `{witness}` is asked over `{url}`: whoever stands between can say in its name that it contradicts, which nobody \
             signs, and so stop the log; help: an `https://` URL in the file that `[audit] witnesses` names"
        )
    };
    crate::witnessing::exposed(&policy).map(warning).collect()
}

/// Policies that would wait for a country for ever: a permit that lets nobody in, or worse, a `forbid` that keeps nobody out.
fn unlocated(config: &Config, parts: &Parts) -> Vec<String> {
    if networks(config).all().next().is_some() {
        return Vec::new();
    }
    let asking = parts.policies.asking_for_country().map(|(file, line, policy)| {
        format!(
            "{file}:{line}: policy `{policy}` asks where a request comes from, and nobody knows of any network where it is; \
             help: name `networks_file` or `database_file` in `[countries]`"
        )
    });
    asking.collect()
}

/// What is wrong; `warnings` gets what is not as it should be and does not keep the broker from starting.
fn examine(args: &Args, warnings: &mut Vec<String>) -> Result<Counts, Vec<String>> {
    let config = Config::load(&args.config).map_err(|problems| texts(&problems))?;
    let mut problems = Vec::new();
    warnings.extend(
        unseen(&config)
            .into_iter()
            .chain(exposed(&config))
            .map(|warning| format!("{}: {warning}", args.config.display())),
    );
    if let Some(tls) = &config.tls
        && let Err(error) = broker::tls::server_config(&tls.certificate, &tls.key)
    {
        problems.push(format!("{}: {error}", args.config.display()));
    }
    if let Some(Err(error)) = config.audit.witnesses.as_deref().map(crate::witnessing::policy) {
        problems.push(format!("{}: [audit] witnesses: {error:#}", args.config.display()));
    }
    if let Err(error) = crate::sinks::roots(config.audit.witnesses_ca_file.as_deref()) {
        problems.push(format!("{}: [audit] witnesses_ca_file: {error:#}", args.config.display()));
    }
    if let Some(problem) = crate::keys::problem(&config.audit) {
        problems.push(format!("{}: [audit] {problem}", args.config.display()));
    }
    let store = config.audit.store.iter().flat_map(crate::store::problems);
    problems.extend(store.map(|problem| format!("{}: {problem}", args.config.display())));
    let missing = config.audit.sinks.directories.iter().filter(|directory| !directory.is_dir());
    problems.extend(missing.map(|directory| {
        format!(
            "{}: [audit.sinks] directories: `{}` is not there; help: mount it, and make the directory within the mount",
            args.config.display(),
            directory.display()
        )
    }));
    if let Some(s3) = &config.audit.sinks.s3 {
        let secret =
            secret::read(&s3.secret_access_key).err().map(|error| anyhow::anyhow!("secret_access_key: {error}"));
        let problem = secret.or_else(|| S3::new(s3, &config.audit.origin).err());
        problems.extend(problem.map(|error| format!("{}: [audit.sinks.s3] {error:#}", args.config.display())));
    }
    let key = &config.masks.key_file;
    if key.exists()
        && let Err(error) = secret::key(key)
    {
        problems.push(format!("{}: {error}", args.config.display()));
    }
    if let Err(error) = assertion_keys(&config).check() {
        problems.push(format!("{}: {error}", args.config.display()));
    }
    problems
        .extend(Networks::load(&networks(&config), &Networks::default()).err().iter().flat_map(|found| texts(found)));
    let parts = match folders(&config).load() {
        Ok(parts) => parts,
        Err(found) => {
            problems.extend(texts(&found));
            return Err(problems);
        }
    };
    let missing = registry::unreadable(&parts.catalog, &parts.parties);
    // What is there is tried; what is missing would only be said twice.
    let is_there = |problem: &Problem| missing.iter().all(|missing| missing.file != problem.file);
    problems.extend(useless(&parts).filter(is_there).map(|problem| problem.to_string()));
    let upstreams = if missing.is_empty() { World::connect(&parts.catalog) } else { Err(missing) };
    let (upstreams, found) = upstreams.map_or_else(|e| (Upstreams::new(), e), |upstreams| (upstreams, Vec::new()));
    problems.extend(texts(&found));
    match World::join(&parts, 0, upstreams) {
        Ok(world) => problems.extend(texts(&broker::cases::failing(&world.snapshot, &config.folders.cases))),
        Err(found) => problems.extend(texts(&found)),
    }
    problems.extend(unwitnessed(&config, &parts));
    problems.extend(unlocated(&config, &parts));
    problems.extend(unfit_to_try(&config, &parts).iter().map(ToString::to_string));
    if !problems.is_empty() {
        return Err(problems);
    }
    let (plant, parties) = (&parts.catalog.plant, &parts.parties);
    Ok(Counts {
        sources: parts.catalog.sources.len(),
        products: plant.products.len(),
        datasets: plant.datasets.len(),
        signals: plant.signals.len(),
        routes: parts.catalog.routes.len(),
        organisations: parties.organisations.len(),
        issuers: parties.issuers.len(),
        authorities: parties.authorities.len(),
        agreements: parties.agreements.len(),
        agreements_in_force: parties.agreements.values().filter(|a| in_force(a)).count(),
        policies: parts.policies.len(),
    })
}

/// What can be read and lets nobody in. A broker starts with it all the same: that one company is refused is no reason to
/// serve none.
fn useless(parts: &Parts) -> impl Iterator<Item = Problem> {
    let key_files = parts.parties.issuers.values().filter_map(useless_keys);
    let lists = parts.authorities.overdue(SystemClock.now()).into_iter().map(|p| {
        let help = Some(format!("it is of `authority.{}` in the registry", p.authority));
        Problem { file: p.file, line: None, column: None, what: p.what, help }
    });
    key_files.chain(lists)
}

fn useless_keys(issuer: &Issuer) -> Option<Problem> {
    let KeyLocation::File(file) = &issuer.keys else { return None };
    let what = identity::key_file_problem(file, &issuer.algorithms)?;
    let what = format!("`keys_file` of issuer `{}`: {what}", issuer.id);
    Some(Problem { file: file.clone(), line: None, column: None, what, help: None })
}

fn in_force(agreement: &Agreement) -> bool {
    let now = SystemClock.now();
    agreement.status == Status::Active && agreement.not_before <= now && now < agreement.not_after
}

fn texts<T: ToString>(problems: &[T]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
