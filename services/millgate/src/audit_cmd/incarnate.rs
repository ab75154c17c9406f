//! `millgate audit incarnate`: a log with another origin takes the place of one that may not go on.
//!
//! The broker is stopped. What is left of the old log is set aside, and the first entry of the new one cites what the old one
//! last signed, what others have seen of it, and the operator's reason. The new log is whole before anything is moved; an
//! interrupted command goes on where it was when it is given again. In PostgreSQL the old log stays where it is, under its
//! origin, and the new one begins beside it: set aside are only its key and what it published.
//!
//! What this does **not** do: it changes no configuration and tells no witness. It prints what is to be changed.

use crate::out::say;
use crate::quarantine::{Contradiction, Mark, Views};
use crate::store;
use crate::witnessing::Witnessing;
use anyhow::{Context as _, ensure};
use audit::incarnation::{
    ASIDE_DIR, NEW_DIR, Previous, READY_FILE, Seen, Standstill, free_name, is_same, is_to_be_put_in_place, over,
    plain_name, put_in_place, relocate, set_aside,
};
use audit::signer::{self, SignerError};
use audit::{Incarnation, Keys, LogOptions, Publication, Random, StoreAt, Stored};
use clap::Args;
use runtime::clock::SystemClock;
use runtime::config::{Audit, Config, LogKey, TokenKey};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tlog::{Checkpoint, VerifierKey};

#[derive(Debug, Args)]
pub struct IncarnateArgs {
    /// The configuration that the broker of the old log was started with
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// The name of the new log, for ever; nobody may have used it before
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// Why, in the log for ever. Name no persons
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The file with the key of the new log; one is made in the place of the old one's if left out
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The label of the new log's key in the token that has the old one's (`millgate audit keys new` makes it)
    #[arg(long, value_name = "LABEL", conflicts_with = "key")]
    key_object: Option<String>,
    /// A checkpoint of the old log that somebody else has kept; may be repeated
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// Also where nobody is known to have seen anything else than what is here
    #[arg(long)]
    force: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Beside a new log that is whole and not in its place yet.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    origin: String,
    /// Of the folder that the old log is set aside in.
    aside: String,
    /// Its key is not the one that takes the old one's place.
    key: Option<PathBuf>,
    /// It is in the old one's token.
    #[serde(default)]
    key_object: Option<String>,
    vkey: String,
    seen: Vec<String>,
    /// What was given and is in the new log.
    #[serde(default)]
    reason: String,
    #[serde(default)]
    seen_files: Vec<PathBuf>,
    /// The old log as the new one cites it.
    #[serde(default)]
    cited: Option<Cited>,
    /// Both logs are in PostgreSQL, where the new one is begun with this, once it stands here.
    #[serde(default)]
    in_database: Option<Incarnation>,
}

/// What may have changed between two attempts, if somebody went on with the old log.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cited {
    size: Option<u64>,
    checkpoint: Option<String>,
    marked: Vec<Contradiction>,
}

impl Cited {
    async fn now(audit: &Audit, keys: Option<&Keys>) -> anyhow::Result<Self> {
        let Previous { size, checkpoint, .. } = previous(audit, keys).await;
        let marked = Mark::read(audit)?.map(|mark| mark.contradictions).unwrap_or_default();
        Ok(Self { size, checkpoint, marked })
    }
}

const KEY_FILE: &str = "checkpoint.key";
/// The reason stands in an entry, beside checkpoints.
const REASON_CHARS_MAX: usize = 2_000;

pub(super) async fn run(args: &IncarnateArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("`{}` cannot be used\n{}", args.config.display(), text.join("\n"))
    })?;
    let audit = &config.audit;
    check(args, audit)?;
    let standstill = match &audit.store {
        None => Standstill::of(&audit.directory),
        Some(store) => Standstill::of_database(&store::access(store)?, &audit.origin).await,
    };
    let standstill = standstill.context("stop the broker first")?;
    let new = audit.directory.join(NEW_DIR);
    let ready = match Ready::read(&new)? {
        Some(ready) => {
            ensure!(
                ready.origin == args.origin,
                "a log `{}` was begun here and is not in its place yet; go on with `--origin {0}`",
                ready.origin
            );
            if ready.is_stale(audit, &new, args.force).await? {
                eprintln!("note: the old log went on after the new one was begun, so the new one is begun once more");
                begin(args, audit, &new).await?
            } else {
                ready.tell_ignored(args);
                Some(ready)
            }
        }
        None => {
            is_unused(args, audit).await?;
            begin(args, audit, &new).await?
        }
    };
    let Some(ready) = ready else { return Ok(ExitCode::from(1)) };
    if let Some(incarnation) = &ready.in_database {
        begin_log(&ready.origin, audit, &new, incarnation.clone()).await?;
    }
    let places = settle(&ready, audit, &new)?;
    drop(standstill);
    report(args, audit, &ready, &places)?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &IncarnateArgs, audit: &Audit) -> anyhow::Result<()> {
    let reason = args.reason.trim();
    let is_line =
        !reason.is_empty() && reason.chars().count() <= REASON_CHARS_MAX && !reason.chars().any(char::is_control);
    ensure!(is_line, "`--reason` takes one line of 1 to {REASON_CHARS_MAX} characters");
    ensure!(
        args.origin != audit.origin,
        "`{}` is the origin of the log in `{}`; give the new one another, as in `{0}.2`, and the configuration of the old one",
        audit.origin,
        args.config.display()
    );
    match &audit.key {
        LogKey::File(_) => {
            ensure!(args.key_object.is_none(), "the key of the old log is in no token; give `--key FILE`")
        }
        LogKey::Token(old) => {
            ensure!(
                args.key.is_some() || args.key_object.is_some(),
                "the key of the old log is in the token `{}`, where none is made for the new one by itself: make one with \
                 `millgate audit keys new` and give `--key-object LABEL`, or `--key FILE`",
                old.token
            );
            ensure!(
                args.key_object.as_ref() != Some(&old.object),
                "`{}` is the old log's key; make another",
                old.object
            );
        }
    }
    Ok(())
}

/// To be called under the standstill.
async fn is_unused(args: &IncarnateArgs, audit: &Audit) -> anyhow::Result<()> {
    let used = audit.directory.join(ASIDE_DIR).join(plain_name(&args.origin));
    ensure!(!used.exists(), "a log `{}` was set aside in `{}`; choose another origin", args.origin, used.display());
    if audit.store.is_some() {
        let there = Stored::find(store_of(audit, &args.origin)?).await.context("the store cannot be read")?;
        ensure!(there.is_none(), "the database has a log `{}` already; choose another origin", args.origin);
    }
    Ok(())
}

/// Makes the new log, if there is a reason to. `None`: there is none, which has been said.
async fn begin(args: &IncarnateArgs, audit: &Audit, new: &Path) -> anyhow::Result<Option<Ready>> {
    let keys = old_keys(audit, args.force)?;
    // Before others are asked: what changes behind it is found to have changed.
    let cited_now = Cited::now(audit, keys.as_ref()).await;
    let (seen, silent) = contradictions(args, audit, keys.as_ref()).await?;
    if seen.is_empty() && !args.force {
        let silent = if silent.is_empty() { String::new() } else { format!(" ({} did not say)", silent.join(", ")) };
        let what = format!(
            "nobody is known to have seen anything else of `{}` than what is here{silent}: start the broker. \
             `--force` begins another log all the same",
            audit.origin
        );
        say(if args.json { serde_json::json!({ "ok": false, "why": what }).to_string() } else { what });
        return Ok(None);
    }
    // What an attempt left that did not get so far as to be used.
    if new.exists() {
        std::fs::remove_dir_all(new).with_context(|| format!("`{}` cannot be removed", new.display()))?;
    }
    let random: Random = Arc::new(runtime::random::fill);
    std::fs::create_dir_all(new).with_context(|| format!("`{}` cannot be created", new.display()))?;
    let new_key = new_key(args, audit, new, &random).context("the key of the new log cannot be used")?;
    let incarnation = Incarnation {
        previous: previous(audit, keys.as_ref()).await,
        forced: seen.is_empty(),
        reason: args.reason.trim().to_owned(),
        seen: seen.iter().map(cited).collect(),
    };
    // In a database it is in its place at once, so that it is to be begun is written down before.
    let in_database = audit.store.is_some().then(|| incarnation.clone());
    if in_database.is_none() {
        begin_log(&args.origin, audit, new, incarnation).await?;
    }
    let ready = Ready {
        origin: args.origin.clone(),
        aside: free_name(&audit.origin, [&audit.directory, &audit.publish_directory]),
        key: args.key.clone(),
        key_object: args.key_object.clone(),
        vkey: new_key.to_text(),
        seen: seen.iter().map(ToString::to_string).collect(),
        reason: args.reason.trim().to_owned(),
        seen_files: args.seen.clone(),
        cited: cited_now.ok(),
        in_database,
    };
    ready.write(new).with_context(|| format!("`{}` cannot be written", new.join(READY_FILE).display()))?;
    Ok(Some(ready))
}

/// The log `origin` in the store that the configuration names, if that is a database.
fn store_of(audit: &Audit, origin: &str) -> anyhow::Result<StoreAt> {
    store::of(&Audit { origin: origin.to_owned(), ..audit.clone() })
}

/// Makes the new log; in a directory, in `new`.
async fn begin_log(origin: &str, audit: &Audit, new: &Path, incarnation: Incarnation) -> anyhow::Result<()> {
    let options = LogOptions {
        store: audit.store.as_ref().map(store::access).transpose()?,
        incarnation: Some(incarnation),
        heartbeat_ms: 0,
        ..LogOptions::new(new, origin, Arc::new(SystemClock), Arc::new(runtime::random::fill))
    };
    audit::incarnation::begin(options).await.context("the new log cannot be begun")
}

/// The public key of the new log. Made only if it is in a file.
fn new_key(args: &IncarnateArgs, audit: &Audit, new: &Path, random: &Random) -> Result<VerifierKey, SignerError> {
    if let (Some(object), LogKey::Token(old)) = (&args.key_object, &audit.key) {
        let key = LogKey::Token(TokenKey { object: object.clone(), ..old.clone() });
        return Ok(crate::keys::place(&key).load(&args.origin)?.verifier().clone());
    }
    let file = args.key.clone().unwrap_or_else(|| new.join(KEY_FILE));
    signer::load_or_create(&file, &args.origin, random).map(|key| key.verifier().clone())
}

/// That the old log signs with and has signed with; none is made. A token may be what was lost.
fn old_keys(audit: &Audit, force: bool) -> anyhow::Result<Option<Keys>> {
    if audit.key.file().is_some_and(|file| !file.exists()) {
        return Ok(None);
    }
    match crate::keys::load(audit).context("the keys of the old log cannot be used") {
        Err(error) if force && audit.key.file().is_none() => {
            eprintln!("note: {error:#}");
            Ok(None)
        }
        keys => keys.map(Some),
    }
}

/// Who has seen more or something else, by what is marked, what is asked now and what is given; and who did not say.
async fn contradictions(
    args: &IncarnateArgs,
    audit: &Audit,
    keys: Option<&Keys>,
) -> anyhow::Result<(Vec<Contradiction>, Vec<String>)> {
    let witnesses = Witnessing::new(audit, Arc::new(SystemClock))?;
    let views = match Views::ask(audit, keys, witnesses.as_deref()).await {
        Ok(views) => views,
        // What cannot be read any longer is a reason of its own, which the operator gives.
        Err(error) if args.force => {
            eprintln!("note: {error:#}");
            Views::default()
        }
        Err(error) => return Err(error),
    };
    let marked = Mark::read(audit)?.map(|mark| mark.contradictions).unwrap_or_default();
    let is_new = |one: &Contradiction| !views.contradictions.iter().any(|known| known.stands_for(one));
    let mut all: Vec<Contradiction> = marked.into_iter().filter(is_new).collect();
    all.extend(views.contradictions.iter().cloned());
    for file in &args.seen {
        let keys = keys.context("without the key of the old log a checkpoint of it cannot be judged")?;
        all.extend(kept(audit, file, keys).await?);
    }
    Ok((all, views.silent))
}

/// The checkpoint in `file`, unless the store has signed it.
async fn kept(audit: &Audit, file: &Path, keys: &Keys) -> anyhow::Result<Option<Contradiction>> {
    let note = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let known = keys.known().verifiers();
    let (checkpoint, _) = Checkpoint::open_any(&note, &known)
        .with_context(|| format!("`{}` is no checkpoint of the old log", file.display()))?;
    if Stored::signed_root(store::of(audit)?, checkpoint.size).await? == Some(checkpoint.root) {
        return Ok(None);
    }
    let stored = Stored::find(store::of(audit)?).await?.map_or(0, |stored| stored.size);
    let by = String::from("who kept a checkpoint");
    Ok(Some(Contradiction { by, seen: checkpoint.size, checkpoint: Some(note), key: None, stored }))
}

fn cited(one: &Contradiction) -> Seen {
    Seen { by: one.by.clone(), size: one.seen, checkpoint: one.checkpoint.clone() }
}

async fn previous(audit: &Audit, keys: Option<&Keys>) -> Previous {
    let stored = match store::of(audit) {
        Ok(store) => Stored::find(store).await.ok().flatten(),
        Err(_) => None,
    };
    let published = || Publication::open(&audit.publish_directory).ok().map(|published| published.note().to_owned());
    Previous {
        origin: audit.origin.clone(),
        key: keys.map(|keys| keys.known().current().to_text()),
        // After a restore it may be the one of before that has signed last.
        other_keys: keys
            .map(|keys| keys.known().verifiers().iter().skip(1).map(VerifierKey::to_text).collect())
            .unwrap_or_default(),
        size: stored.as_ref().map(|stored| stored.size),
        checkpoint: stored.and_then(|stored| stored.checkpoint).or_else(published),
    }
}

impl Ready {
    /// Whether the old log, while it is still in its place, is no longer what the new one cites.
    async fn is_stale(&self, audit: &Audit, new: &Path, force: bool) -> anyhow::Result<bool> {
        let is_in_place = if self.in_database.is_some() {
            // Once the new one is begun it is not taken back, and no broker goes on with the old one from here.
            Stored::find(store_of(audit, &self.origin)?).await.context("the store cannot be read")?.is_none()
        } else {
            let aside = audit.directory.join(ASIDE_DIR).join(&self.aside).join("log.db");
            audit.directory.join("log.db").exists() && !aside.exists() && is_to_be_put_in_place(new)
        };
        if !is_in_place {
            return Ok(false);
        }
        let keys = old_keys(audit, force)?;
        let now = Cited::now(audit, keys.as_ref()).await.ok();
        Ok(self.cited != now)
    }

    /// The new log was begun with what the first call said.
    fn tell_ignored(&self, args: &IncarnateArgs) {
        let differ = [
            ("--reason", self.reason != args.reason.trim()),
            ("--seen", self.seen_files != args.seen),
            ("--key", self.key != args.key),
            ("--key-object", self.key_object != args.key_object),
        ];
        for (name, _) in differ.into_iter().filter(|(_, differs)| *differs) {
            eprintln!(
                "note: `{name}` is not what the log `{}` was begun with, which goes on as it was begun; `{name}` is ignored",
                self.origin
            );
        }
    }

    fn read(new: &Path) -> anyhow::Result<Option<Self>> {
        let path = new.join(READY_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).with_context(|| format!("`{}` is damaged", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
        }
    }

    fn write(&self, new: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new_in(new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.as_file().sync_all()?;
        file.persist(new.join(READY_FILE)).map_err(|error| error.error)?;
        std::fs::File::open(new)?.sync_all()
    }
}

/// Moves the old log away and the new one into its place; can be done again after half of it.
fn settle(ready: &Ready, audit: &Audit, new: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let new_key = new.join(KEY_FILE);
    // Where the new key is another file, or in a token, the old one stays where it is.
    let old_key = audit.key.file().filter(|_| ready.key.is_none());
    if let Some(old_key) = old_key.filter(|old_key| is_same(&new_key, old_key)) {
        // Copied to another mount by an attempt that ended then.
        relocate(&new_key, old_key)?;
    }
    // Behind a first attempt it may be the new key that stands there, and the new log.
    let replaced = old_key.filter(|_| new_key.exists());
    // What a log in a database publishes comes from a broker, and none starts before this is over.
    let places = if ready.in_database.is_some() || is_to_be_put_in_place(new) {
        set_aside(&audit.directory, &audit.publish_directory, replaced, &ready.aside)
            .context("the old log cannot be set aside; give the command again when it can")?
    } else {
        [&audit.directory, &audit.publish_directory].map(|dir| dir.join(ASIDE_DIR).join(&ready.aside))
    };
    if let Some(old_key) = replaced {
        relocate(&new_key, old_key).with_context(|| format!("the new key cannot be put to `{}`", old_key.display()))?;
    }
    match ready.in_database {
        None => put_in_place(new, &audit.directory),
        Some(_) => over(new),
    }
    .context("the new log cannot be put into its place; give the command again")?;
    std::fs::remove_dir_all(new).with_context(|| format!("`{}` cannot be removed", new.display()))?;
    Ok(places)
}

fn report(args: &IncarnateArgs, audit: &Audit, ready: &Ready, [own, open]: &[PathBuf; 2]) -> anyhow::Result<()> {
    let Ready { origin, vkey, key, key_object, seen, .. } = ready;
    let gone = no_longer(audit);
    if args.json {
        let mut config = serde_json::Map::new();
        config.insert("origin".into(), origin.clone().into());
        config.extend(key.iter().map(|key| (String::from("key_file"), key.display().to_string().into())));
        config.extend(key_object.iter().map(|object| (String::from("key"), serde_json::json!({ "object": object }))));
        say(serde_json::to_string(&serde_json::json!({
            "ok": true, "origin": origin, "key": vkey, "seen": seen, "store_aside": own.exists().then_some(own),
            "published_aside": open.exists().then_some(open), "old_log_in": audit.store.as_ref().map(|s| s.url.to_string()),
            "change": { "audit": config }, "remove": { "audit": gone },
        }))?);
        return Ok(());
    }
    let mut lines = vec![format!(
        "The log `{origin}` begins. Its first entry cites the old one's last checkpoint and your reason."
    )];
    lines.extend(seen.iter().map(|seen| format!("  cited: {seen}")));
    let published = format!("what it published, for auditors: `{}`", open.display());
    lines.push(match &audit.store {
        None => format!("The old log is set aside: `{}`; {published}.", own.display()),
        Some(store) => format!(
            "The old log stays in `{}` under its origin; its key, where it was replaced, is in `{}`; {published}.",
            store.url,
            own.display()
        ),
    });
    lines.push(format!("\nNow change `{}`:\n  [audit]\n  origin = \"{origin}\"", args.config.display()));
    lines.extend(key.iter().map(|key| format!("  key_file = \"{}\"", key.display())));
    lines.extend(key_object.iter().map(|object| format!("  key = {{ …, object = \"{object}\" }}")));
    if !gone.is_empty() {
        let gone: Vec<String> = gone.iter().map(|name| format!("`{name}`")).collect();
        lines.push(format!(
            "and take {} out of it: those are keys of the old log, and stay with it.",
            gone.join(" and ")
        ));
    }
    lines.push(format!(
        "In the trust policy (`audit.witnesses`), and at each witness (`--logs`), beside the old log's line or in its place:\n  log {vkey}"
    ));
    lines.push(String::from("Give auditors this key too, and tell them why. Then start the broker."));
    say(lines.join("\n"));
    Ok(())
}

/// What the configuration says of the old log's keys that the new one, which has another name, cannot use.
fn no_longer(audit: &Audit) -> Vec<&'static str> {
    let next = audit.next_key.as_ref().map(|key| if key.file().is_some() { "next_key_file" } else { "next_key" });
    let previous = (!audit.previous_key_files.is_empty()).then_some("previous_key_files");
    next.into_iter().chain(previous).collect()
}

#[cfg(test)]
mod tests;
