//! `millgate audit store`: makes a database ready for logs. The broker never does.

use crate::out::say;
use crate::store::{self, DatabaseArgs};
use anyhow::Context as _;
use audit::postgres::init::{Roles, init};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make tables and roles in a database of PostgreSQL, or what is missing of them
    #[command(after_help = "Examples:\n  \
        millgate audit store init --store postgresql://db:5432/audit --username postgres --password-file admin.pw --store-ca ca.pem --writer broker_1\n  \
        millgate audit store init --store postgresql://db:5432/audit --username postgres --password-file admin.pw --store-ca ca.pem --writer broker_2 --reader auditor --json\n  \
        millgate audit store init --store postgresql://db:5432/audit --username postgres --password-file admin.pw --store-ca ca.pem --writer broker_1 --config millgate.toml\n\n\
        Run again, it changes what is missing and nothing else. Roles that it makes have no password: give them one, \
        and put that into a file for the broker's `[audit.store]`.")]
    Init(InitArgs),
}

#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// The role that owns the tables; nobody can log in as it
    #[arg(long, value_name = "ROLE", default_value = "millgate_audit_owner")]
    owner: String,
    /// A role that a broker logs in as: it may append to its logs and read. Several may be named
    #[arg(long, value_name = "ROLE")]
    writer: Vec<String>,
    /// A role that may read all logs. Several may be named
    #[arg(long, value_name = "ROLE")]
    reader: Vec<String>,
    /// The configuration of the broker that logs in as `--writer`: it may prune entries that have been kept for as long as
    /// `[audit.retention]` says there, and none that have not
    #[arg(long, value_name = "FILE", requires = "writer")]
    config: Option<PathBuf>,
    /// Let the owner's functions see how far standbys are, for `standby = true` in `[audit.store]`
    #[arg(long)]
    standby: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Init(args) = command;
    let access = args.database.access()?.context("name the database with `--store URL`")?;
    let keep_days = args.config.as_deref().map(keep_days).transpose()?;
    let (writers, readers) = (args.writer, args.reader);
    let roles = Roles { owner: args.owner, writers, readers, keep_days, standby: args.standby };
    let steps = init(&access, &roles).await.with_context(|| format!("`{}` could not be made ready", access.url))?;
    if args.json {
        say(serde_json::json!({ "store": access.url.to_string(), "steps": steps }));
    } else {
        for step in &steps {
            say(format_args!("{} {}", if step.changed { "done:     " } else { "as before:" }, step.what));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For how long the broker of this configuration keeps entries.
fn keep_days(config: &Path) -> anyhow::Result<u32> {
    let entries = store::read(config)?.audit.retention.entries;
    entries.context(
        "`[audit.retention]` has no `entries`: nothing is pruned, and there is nothing to allow; leave `--config` out",
    )
}
