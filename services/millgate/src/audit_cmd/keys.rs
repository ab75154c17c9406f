//! `millgate audit keys`: the keys of a log, as its entries and its latest checkpoint have them; and a new one.
//!
//! Nothing is verified here: what is listed is what the published files say. `millgate-verify log` verifies them.

use crate::out::say;
use crate::table;
use anyhow::{Context as _, bail};
use audit::keys::Event;
use audit::pkcs11::{TokenKey, TokenObject};
use audit::query::{self, Query};
use audit::{Publication, signer};
use clap::{Args, Subcommand};
use model::entry::{Entry, Kind};
use model::party::SecretRef;
use runtime::config::Config;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tlog::note::Note;
use tlog::{Signer as _, VerifierKey};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
    /// The broker's configuration: its log, with the keys that are configured
    #[arg(long, value_name = "FILE", conflicts_with = "published")]
    config: Option<PathBuf>,
    /// A published directory, or a copy of one
    #[arg(long, value_name = "DIR")]
    published: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, in a file that is not there yet or in a token
    #[command(after_help = "Examples:\n  \
        millgate audit keys new --origin plant.example/broker-1 --out /var/lib/millgate/audit/checkpoint-2.key\n  \
        millgate audit keys new --origin plant.example/broker-1 --pkcs11 /usr/lib/softhsm/libsofthsm2.so \\\n      \
        --token millgate --object log-2 --pin-file /etc/millgate/pin\n\n\
        What is made in a token signs there, and can be neither read nor taken out.")]
    New(NewArgs),
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The log's name, which is also that of its keys
    #[arg(long, value_name = "ORIGIN")]
    origin: String,
    /// Where to write the private key, for the owner alone
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs11")]
    out: Option<PathBuf>,
    /// The PKCS #11 module of the token to make it in
    #[arg(long, value_name = "MODULE", requires_all = ["token", "object", "pin_file"], conflicts_with = "out")]
    pkcs11: Option<PathBuf>,
    /// The token's label
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// The label of the new key
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    object: Option<String>,
    /// The file with the PIN of the token's user
    #[arg(long, value_name = "FILE", requires = "pkcs11")]
    pin_file: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Signs receipts and checkpoints.
    Current,
    /// Signs checkpoints beside the current one.
    Next,
    /// Is configured, and the log does not know it yet.
    Configured,
    Retired,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    id: String,
    state: State,
    /// The entry that announced it; the log began with one that none announced.
    since: Option<u64>,
    /// The entry that retired it.
    until: Option<u64>,
    /// Not known of a key that no entry names.
    vkey: Option<String>,
}

pub fn run(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(KeysCommand::New(args)) => new(args),
        None => list(args),
    }
}

fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let random: audit::Random = Arc::new(runtime::random::fill);
    let (vkey, place) = match args {
        NewArgs { out: Some(file), .. } => {
            let key = signer::create(file, &args.origin, &random)?;
            (key.verifier().to_text(), serde_json::json!({ "key_file": file }))
        }
        NewArgs { pkcs11: Some(module), token: Some(token), object: Some(object), pin_file: Some(pin), .. } => {
            let at = TokenObject { module: module.clone(), token: token.clone(), object: object.clone() };
            let key = TokenKey::create(&at, &crate::keys::pin(SecretRef::File(pin.clone())), &args.origin, &random)?;
            (key.verifier().to_text(), serde_json::json!({ "pkcs11": module, "token": token, "object": object }))
        }
        _ => bail!("say where: `--out FILE`, or `--pkcs11`, `--token`, `--object` and `--pin-file`"),
    };
    let mut said = place;
    if let Some(members) = said.as_object_mut() {
        members.insert(String::from("vkey"), vkey.clone().into());
    }
    say(if args.json { said.to_string() } else { vkey });
    Ok(ExitCode::SUCCESS)
}

fn list(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let (published, configured) = match (&args.config, &args.published) {
        (Some(file), _) => {
            let config = Config::load(file).map_err(|problems| {
                let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("`{}` cannot be used\n{}", file.display(), text.join("\n"))
            })?;
            let keys = crate::keys::known(&config.audit)?.map(|keys| keys.verifiers()).unwrap_or_default();
            (config.audit.publish_directory, keys)
        }
        (None, Some(published)) => (published.clone(), Vec::new()),
        (None, None) => bail!("name `--config` or `--published`; `millgate audit keys --help` has examples"),
    };
    let (origin, size, rows) = read(&published, &configured)?;
    if args.json {
        say(serde_json::json!({ "origin": origin, "size": size, "keys": rows }));
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("log {origin}, {size} entries"));
    let number = |index: Option<u64>| index.map(|index| index.to_string()).unwrap_or_default();
    let state = |state: State| serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned));
    let cells = |row: &Row| {
        vec![
            row.id.clone(),
            state(row.state).unwrap_or_default(),
            number(row.since),
            number(row.until),
            row.vkey.clone().unwrap_or_default(),
        ]
    };
    say(table::render(
        &["id", "state", "since entry", "until entry", "key"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    ));
    Ok(ExitCode::SUCCESS)
}

fn id(key: &VerifierKey) -> String {
    format!("{:08x}", key.key_id())
}

/// Origin and size of the log that is published there, and its keys in the order in which they came.
fn read(published: &Path, configured: &[VerifierKey]) -> anyhow::Result<(String, u64, Vec<Row>)> {
    let publication = Publication::open(published)
        .with_context(|| format!("`{}` cannot be read as a published log", published.display()))?;
    let origin = publication.checkpoint().origin.clone();
    let mut rows = Vec::new();
    for (index, bytes) in publication.carried()? {
        if let Ok(entry) = Entry::parse(&bytes) {
            follow(&mut rows, index, &entry);
        }
    }
    let mut query = Query { kind: Some(Kind::Key), newest_first: false, limit: 1_000, ..Query::default() };
    loop {
        let page = query::offline(published, &query)?;
        for found in &page.entries {
            if let Ok(entry) = Entry::parse(found.entry.as_bytes()) {
                follow(&mut rows, found.index, &entry);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let note = Note::parse(publication.note()).map(|note| note.signatures).unwrap_or_default();
    let signing = note.iter().filter(|line| line.name == origin).map(|line| format!("{:08x}", line.key_id));
    settle(&mut rows, &signing.collect::<Vec<_>>(), configured);
    Ok((origin, publication.size(), rows))
}

fn follow(rows: &mut Vec<Row>, index: u64, entry: &Entry) {
    let Some((event, key)) = audit::keys::read(entry) else { return };
    let add = |rows: &mut Vec<Row>, key: &VerifierKey, since| {
        if !rows.iter().any(|row| row.id == id(key)) {
            rows.push(Row { id: id(key), state: State::Next, since, until: None, vkey: Some(key.to_text()) });
        }
    };
    if let Some(signer) = entry.text("signer").and_then(|text| VerifierKey::parse(text).ok()) {
        add(rows, &signer, None);
    }
    add(rows, &key, Some(index));
    if event == Event::Retired
        && let Some(row) = rows.iter_mut().find(|row| row.id == id(&key))
    {
        row.until.get_or_insert(index);
        row.state = State::Retired;
    }
}

/// Who signs is told by the latest checkpoint, the older one first.
fn settle(rows: &mut Vec<Row>, signing: &[String], configured: &[VerifierKey]) {
    for signing in signing {
        if !rows.iter().any(|row| row.id == *signing) {
            rows.push(Row { id: signing.clone(), state: State::Next, since: None, until: None, vkey: None });
        }
    }
    for key in configured {
        match rows.iter_mut().find(|row| row.id == id(key)) {
            Some(row) => row.vkey = Some(key.to_text()),
            None => {
                let (id, vkey) = (id(key), Some(key.to_text()));
                rows.push(Row { id, state: State::Configured, since: None, until: None, vkey });
            }
        }
    }
    if let Some(row) = rows.iter_mut().find(|row| signing.first() == Some(&row.id) && row.state == State::Next) {
        row.state = State::Current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Value;
    use model::canonical::Members;
    use model::entry::{Common, Draft};
    use tlog::SigningKey;

    fn key(seed: u8) -> VerifierKey {
        SigningKey::generate("plant.example/log", [seed; 32]).unwrap().verifier().clone()
    }

    fn entry(event: Event, about: u8, signer: u8) -> Entry {
        let (about, signer) = (key(about).to_text(), key(signer).to_text());
        let members: Members =
            [("event", Value::text(event.as_str())), ("key", Value::text(&about)), ("signer", Value::text(&signer))]
                .into_iter()
                .collect();
        let common = Common { nonce: [7; 16], time: model::Timestamp(5), boot: "b".into() };
        Entry::parse(&Draft::new(Kind::Key, &common, None, members, Vec::new()).unwrap().seal(None)).unwrap()
    }

    fn rows(
        events: &[(u64, Entry)],
        signing: &[u8],
        configured: &[u8],
    ) -> Vec<(String, State, Option<u64>, Option<u64>)> {
        let mut rows = Vec::new();
        events.iter().for_each(|(index, entry)| follow(&mut rows, *index, entry));
        let signing: Vec<String> = signing.iter().map(|seed| id(&key(*seed))).collect();
        settle(&mut rows, &signing, &configured.iter().map(|seed| key(*seed)).collect::<Vec<_>>());
        rows.into_iter().map(|row| (row.id, row.state, row.since, row.until)).collect()
    }

    #[test]
    fn keys_are_listed_with_their_time_and_their_part() {
        let of = |seed: u8| id(&key(seed));
        assert_eq!(rows(&[], &[1], &[]), [(of(1), State::Current, None, None)]);
        let announced = (7, entry(Event::Announced, 2, 1));
        let overlap = [(of(1), State::Current, None, None), (of(2), State::Next, Some(7), None)];
        assert_eq!(rows(std::slice::from_ref(&announced), &[1, 2], &[1, 2]), overlap);
        let retired = (9, entry(Event::Retired, 1, 2));
        let after = rows(&[announced, retired], &[2], &[2, 3, 1]);
        assert_eq!(
            after,
            [
                (of(1), State::Retired, None, Some(9)),
                (of(2), State::Current, Some(7), None),
                (of(3), State::Configured, None, None)
            ]
        );
    }
}
