//! `millgate audit export`: a stretch of a log as one file for an auditor, or for one organisation.

use crate::out::say;
use crate::store::{Located, StoreArgs};
use anyhow::Context as _;
use audit::archive::{Summary, Wanted, export};
use audit::{Publication, signer};
use clap::Args;
use model::entry::CommitmentClass;
use model::{Clock as _, OrganisationId, Timestamp};
use runtime::clock::SystemClock;
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tlog::{TrustPolicy, VerifierKey};

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The published directory, if it is not `published` in `--directory` or the one that `--config` names
    #[arg(long, value_name = "DIR")]
    published: Option<PathBuf>,
    /// Entries from this time on, as in 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    from: Timestamp,
    /// Entries before this time; now if left out
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    to: Option<Timestamp>,
    /// Entries of this organisation alone, without policies, which name others: for itself
    #[arg(long, value_name = "ID", conflicts_with = "disclose")]
    organisation: Option<OrganisationId>,
    /// Show what is behind these commitments too: subject, network, payload
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = super::prove::class)]
    disclose: Vec<CommitmentClass>,
    /// A public key of the log that the archive is to name, where neither `--config` nor the log's directory has it
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// The archive to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let located = args.store.locate()?;
    eprintln!("reading the store of a log: nobody records this reading");
    let name = args.out.display();
    let now = SystemClock.now();
    let to = args.to.unwrap_or(now);
    anyhow::ensure!(args.from < to, "`--from` is not before `--to`");
    let file = create(&args.out).with_context(|| format!("`{name}` cannot be made"))?;
    let summary = match write(args, located, &file, (to, now)).await {
        Ok(summary) => summary,
        Err(error) => {
            // Half an archive looks like one from which something was taken.
            let _ = std::fs::remove_file(&args.out);
            return Err(error.context(format!("`{name}` could not be written")));
        }
    };
    if args.json {
        say(serde_json::to_string(&summary)?);
    } else {
        say(described(&args.out, &summary));
    }
    if summary.contents_missing > 0 {
        eprintln!("{} policy sets, schemas or slices that entries name are not in the store", summary.contents_missing);
    }
    if let Some(below) = summary.pruned.filter(|_| !args.json) {
        eprintln!(
            "entries before {below} were pruned: hashes stand in their place, and the archive holds the entry that says so"
        );
    }
    if summary.not_disclosed > 0 {
        eprintln!(
            "of {} entries nothing is disclosed: they have no such values, or these were erased",
            summary.not_disclosed
        );
    }
    if !args.json {
        eprintln!("to verify it: millgate-verify archive {name} --key 'the public key of {}'", summary.origin);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is there is not written over: it may be the only copy of an archive. What is new is for its owner alone.
fn create(out: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(out) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            anyhow::bail!("it is there already; choose another name, or remove it first")
        }
        file => Ok(file?),
    }
}

async fn write(
    args: &ExportArgs,
    located: Located,
    file: &File,
    (to, now): (Timestamp, Timestamp),
) -> anyhow::Result<Summary> {
    let published = args.published.clone().or_else(|| located.published.clone());
    let published = published.context("name the published directory with `--published`")?;
    let wanted = Wanted {
        from: args.from,
        to,
        organisation: args.organisation.clone(),
        disclose: args.disclose.clone(),
        keys: keys(args, &located, &published)?,
        witnesses: witnesses(&located),
        now,
    };
    let store = located.store;
    let terminal = std::io::stderr().is_terminal();
    let progress = |done: u64, total: u64| {
        if terminal {
            eprint!("\r{done} of {total} entries");
        }
    };
    let summary = export(&store, &published, &wanted, BufWriter::new(file), progress).await;
    if terminal {
        eprintln!();
    }
    let summary = summary.with_context(|| format!("the log in `{store}`"))?;
    file.sync_all().context("it cannot be flushed")?;
    Ok(summary)
}

/// What is known of the log's keys here. An archive without them is as good.
fn keys(args: &ExportArgs, located: &Located, published: &Path) -> anyhow::Result<Vec<VerifierKey>> {
    let given = args.key.iter().map(|key| VerifierKey::parse(key.trim()));
    let mut keys: Vec<VerifierKey> =
        given.collect::<Result<_, _>>().context("the key given with `--key` cannot be used")?;
    let origin = Publication::open(published)?.checkpoint().origin.clone();
    let file = args.store.directory.as_ref().map(|directory| directory.join("checkpoint.key"));
    let found = match (&located.audit, file.filter(|file| file.exists())) {
        (Some(audit), _) => {
            crate::keys::known(audit).map(|known| known.map(|known| known.verifiers()).unwrap_or_default())
        }
        (None, Some(file)) => signer::load_public(&file, &origin).map(|key| vec![key]).map_err(anyhow::Error::from),
        (None, None) => Ok(Vec::new()),
    };
    match found {
        Ok(found) => keys.extend(found),
        Err(error) => eprintln!("the archive will not name the log's keys: {error:#}"),
    }
    Ok(keys)
}

fn witnesses(located: &Located) -> Option<TrustPolicy> {
    let file = located.audit.as_ref()?.witnesses.as_ref()?;
    crate::witnessing::policy(file)
        .map_err(|error| eprintln!("the archive will not name the log's witnesses: {error:#}"))
        .ok()
}

fn described(out: &Path, summary: &Summary) -> String {
    let Summary { origin, size, entries, first, last, contents, .. } = summary;
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    format!(
        "{}: {entries} entries of log {origin}, indexes {first} to {last} of {size}, with {contents} contents",
        out.display()
    )
}
