//! `millgate audit monitor`: watches a log from outside, as an auditor or a supplier does.
//!
//! It reads published files, from a folder or over HTTP, and keeps what it has seen in a file of its own. What it finds goes
//! to standard output, one look a line with `--json`, for whatever raises the alarm.

use super::target;
use crate::client::{Refused, Server};
use crate::out::say;
use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use model::entry::Entry;
use model::{Clock as _, Value};
use runtime::clock::SystemClock;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tlog::tile::{Kind, TilePath, WIDTH};
use tlog::{TrustPolicy, VerifierKey};
use verify::monitor::{Files, Look, Seen, Unreachable, Watch};

#[derive(Debug, clap::Args)]
pub struct MonitorArgs {
    /// Where the log is published: a folder, or an http or https URL
    #[arg(value_name = "LOG")]
    log: String,
    /// The log's public key; again for each that it has had since
    #[arg(long, value_name = "VKEY", required_unless_present = "policy", conflicts_with = "policy")]
    key: Vec<String>,
    /// A trust policy (C2SP tlog-policy) that names the log and the witnesses that count
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What has been seen, kept from look to look; begun if it is not there
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Begin with what is published now, and believe what is before it
    #[arg(long)]
    from_now: bool,
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// A log that wrote nothing for so long is a finding
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    silence: u64,
    /// For how many days the plant has said that it keeps entries, as in 3650d: a finding where some were pruned earlier
    #[arg(long, value_name = "DAYS", value_parser = days)]
    kept: Option<u32>,
    /// What earlier looks found in entries is dealt with: do not tell it again
    #[arg(long)]
    acknowledge: bool,
    /// Look once: exit status 0 is fine, 1 there are findings, 2 the log cannot be reached
    #[arg(long)]
    once: bool,
    /// Also ask the broker's api listener for some of the entries, new and old, and compare what its questions find
    #[arg(long, requires = "url")]
    ask: bool,
    #[command(flatten)]
    server: Server,
    /// One JSON object a look
    #[arg(long)]
    json: bool,
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    days.ok_or_else(|| String::from("write whole days, as in 3650d"))
}

pub async fn run(args: MonitorArgs) -> anyhow::Result<ExitCode> {
    let watch = watch(&args)?;
    let mut published = Published::new(&args)?;
    let mut seen = load(&args, &watch)?;
    if args.acknowledge {
        seen.iter_mut().for_each(Seen::acknowledge);
    }
    loop {
        let (looked, back) = {
            let (watch, from_now, asks) = (watch.clone(), args.from_now, args.ask);
            let handle = tokio::runtime::Handle::current();
            let work = move || {
                let mut files = Blocking { published: &mut published, handle };
                let mut looked = look(seen, &watch, from_now, &mut files);
                if let (true, Ok(look)) = (asks, &mut looked.1) {
                    older(look, &mut files);
                }
                (looked, published)
            };
            tokio::task::spawn_blocking(work).await.context("the look broke off")?
        };
        published = back;
        let (after, looked) = looked;
        seen = after;
        let code = match looked {
            Ok(look) => {
                // What is found must not be lost with the process, so the state comes last.
                let kept = keep(&args.state, &look)?;
                tell(&args, &look, &kept);
                if let Some(seen) = &seen {
                    store(&args.state, &seen.to_json(&watch))?;
                }
                let mut is_ok = look.is_ok();
                if args.ask && is_ok {
                    is_ok = ask_for(&args, &look).await;
                }
                match (is_ok, &look.unreachable) {
                    (false, _) => 1,
                    (true, Some(_)) => 2,
                    (true, None) => 0,
                }
            }
            Err(unreachable) => {
                // Since when nothing can be read of it: the next look tells when that lasts.
                if let Some(seen) = &seen {
                    store(&args.state, &seen.to_json(&watch))?;
                }
                let time = SystemClock.now().to_rfc3339();
                if args.json {
                    say(serde_json::json!({ "time": time, "unreachable": unreachable.0 }));
                } else {
                    say(format_args!("{time}  the log cannot be reached: {unreachable}"));
                }
                2
            }
        };
        if args.once {
            return Ok(ExitCode::from(code));
        }
        tokio::time::sleep(Duration::from_secs(args.interval)).await;
    }
}

fn watch(args: &MonitorArgs) -> anyhow::Result<Watch> {
    let silence_ms = i64::try_from(args.silence).unwrap_or(i64::MAX).saturating_mul(1000);
    if let Some(file) = &args.policy {
        let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        let policy = TrustPolicy::parse(&text).with_context(|| format!("`{}` is no trust policy", file.display()))?;
        let Some(key) = policy.one_log().map(|log| log.key.clone()) else {
            bail!("`{}` names {} logs; one is watched at a time", file.display(), policy.logs.len());
        };
        return Ok(Watch { key, policy, silence_ms, kept_days: args.kept });
    }
    let keys = args.key.iter().map(|key| VerifierKey::parse(key.trim())).collect::<Result<Vec<_>, _>>();
    let policy = TrustPolicy::of_keys(keys.context("the key given with `--key` cannot be used")?);
    let Some(key) = policy.one_log().map(|log| log.key.clone()) else {
        bail!("the keys given with `--key` are those of several logs; one is watched at a time");
    };
    Ok(Watch { key, policy, silence_ms, kept_days: args.kept })
}

fn load(args: &MonitorArgs, watch: &Watch) -> anyhow::Result<Option<Seen>> {
    let file = args.state.display();
    match std::fs::read(&args.state) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes).ok();
            let seen = value.and_then(|value| Seen::from_json(watch, &value));
            let seen = seen.with_context(|| {
                format!(
                    "`{file}` is not what was seen of the log `{}`: name another `--state`, or give the key once more that was taken \
                     off the list meanwhile",
                    watch.key.name()
                )
            })?;
            Ok(Some(seen))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((!args.from_now).then(Seen::nothing)),
        Err(error) => Err(error).with_context(|| format!("`{file}` cannot be read")),
    }
}

type Looked = (Option<Seen>, Result<Look, Unreachable>);

fn look(seen: Option<Seen>, watch: &Watch, from_now: bool, files: &mut dyn Files) -> Looked {
    let mut seen = match seen {
        Some(seen) => seen,
        None if from_now => match Seen::from_now(watch, files, &SystemClock) {
            Ok(seen) => seen,
            Err(unreachable) => return (None, Err(unreachable)),
        },
        None => Seen::nothing(),
    };
    let looked = seen.look(watch, files, &SystemClock);
    (Some(seen), looked)
}

/// Adds entries of any age to those that are asked for, others at each look: what is new stands in no index yet.
fn older(look: &mut Look, files: &mut dyn Files) {
    let width = u64::from(WIDTH);
    for _ in 0..OLDER {
        let drawn = u64::from_be_bytes(runtime::random::bytes());
        let Some(index) = drawn.checked_rem(look.size / width * width) else { return };
        let bundle = TilePath { kind: Kind::Entries, index: index / width, width: WIDTH };
        // What was pruned is not there, and what is not there is not asked for.
        let Ok(Some(bytes)) = files.read(&bundle.to_path(), BUNDLE_BYTES_MAX) else { continue };
        let (entries, _) = tlog::bundle::decode_lossy(&bytes);
        let at = usize::try_from(index % width).ok();
        look.samples.extend(at.and_then(|at| entries.get(at)).map(|entry| (index, entry.to_vec())));
    }
}

fn store(path: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    write(path, value.to_string().as_bytes()).with_context(|| format!("`{}` cannot be written", path.display()))
}

/// Written beside and renamed, so that what is interrupted leaves what was there.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::File::create(&beside)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Notes that are kept beside a state: whoever publishes a log can sign ever new ones.
const KEPT_MAX: usize = 200;

/// How many there are already.
fn kept_beside(state: &Path) -> usize {
    let Some(name) = state.file_name().and_then(|name| name.to_str()) else { return 0 };
    let dir = state.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_kept = |other: &str| {
        other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".checkpoint"))
    };
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_kept)).count()
}

/// Keeps notes that do not go together beside the state, each under a name of its own that nothing overwrites, up to a bound:
/// those come back that are there.
fn keep(state: &Path, look: &Look) -> anyhow::Result<Vec<PathBuf>> {
    let Some(contradiction) = &look.contradiction else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    for (what, note) in [("seen", &contradiction.seen), ("published", &contradiction.published)] {
        let digest: String = model::Digest::of(note.as_bytes()).to_hex().chars().take(12).collect();
        let mut path = state.as_os_str().to_owned();
        path.push(format!(".{what}-{digest}.checkpoint"));
        let path = PathBuf::from(path);
        if std::fs::read(&path).ok().as_deref() != Some(note.as_bytes()) {
            if kept_beside(state) >= KEPT_MAX {
                continue;
            }
            write(&path, note.as_bytes()).with_context(|| format!("`{}` cannot be written", path.display()))?;
        }
        kept.push(path);
    }
    Ok(kept)
}

fn tell(args: &MonitorArgs, look: &Look, kept: &[PathBuf]) {
    let time = SystemClock.now().to_rfc3339();
    if args.json {
        let mut told = look.to_json();
        if let Some(object) = told.as_object_mut() {
            object.insert(String::from("time"), time.into());
            let kept: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
            object.insert(String::from("kept"), kept.into());
        }
        return say(verify::report::line(&told));
    }
    let verdict = if look.is_ok() { "fine" } else { "FINDINGS" };
    let cosigned =
        if look.cosigned.is_empty() { String::new() } else { format!(", cosigned by {}", look.cosigned.len()) };
    let first = if look.is_first { "; nothing had been seen of it before" } else { "" };
    say(format_args!(
        "{time}  {verdict}: {} entries, {} new, {} open{cosigned}{first}",
        look.size, look.new, look.open
    ));
    look.findings.iter().for_each(|finding| say(format_args!("  {finding}")));
    if look.findings_left_off > 0 {
        say(format_args!("  {} more are not listed", look.findings_left_off));
    }
    look.unresolved.iter().for_each(|finding| say(format_args!("  from an earlier look: {finding}")));
    look.warnings.iter().for_each(|warning| say(format_args!("  warning: {warning}")));
    if look.warnings_left_off > 0 {
        say(format_args!("  warning: {} more are not listed", look.warnings_left_off));
    }
    if let Some(why) = &look.unreachable {
        say(format_args!("  the look is not complete: {why}"));
    }
    if let Some(contradiction) = &look.contradiction {
        let names: Vec<String> = kept.iter().map(|path| format!("`{}`", path.display())).collect();
        let what = if contradiction.is_proof {
            "whoever holds the key has signed two histories of one size, which these notes prove"
        } else {
            "whether these notes are of one history takes the entries, and an older copy may have been put in between"
        };
        say(format_args!("  {}: {what}", names.join(", ")));
        if kept.len() < 2 {
            say(format_args!(
                "  not all of them are kept: there are {KEPT_MAX} beside the state; move these elsewhere"
            ));
        }
    }
}

/// Asking is the least of a look, and whoever is asked may keep silent: it comes last, and not for long.
async fn ask_for(args: &MonitorArgs, look: &Look) -> bool {
    let asked = tokio::time::timeout(ASK_MAX, compare(&args.server, look)).await;
    let (findings, warning) = match asked {
        Ok(told) => told,
        Err(_) => (Vec::new(), Some(String::from("the broker was asked and did not answer in time"))),
    };
    if args.json && (!findings.is_empty() || warning.is_some()) {
        say(serde_json::json!({ "asked": findings, "warning": warning }));
    } else {
        findings.iter().for_each(|finding| say(format_args!("  {finding}")));
        warning.iter().for_each(|warning| say(format_args!("  warning: {warning}")));
    }
    findings.is_empty()
}

/// Asks the broker for some of the entries by what they say, and holds what its questions find against the files.
async fn compare(server: &Server, look: &Look) -> (Vec<String>, Option<String>) {
    let mut findings = Vec::new();
    for (index, bytes) in &look.samples {
        let Ok(entry) = Entry::parse(bytes) else { continue };
        let mut pairs = vec![("kind", entry.kind.as_str().to_owned())];
        pairs.extend(entry.organisation.as_ref().map(|id| ("organisation", id.to_string())));
        pairs.extend(ASKED.iter().filter_map(|name| Some((*name, entry.text(name)?.to_owned()))));
        for (name, member) in [("policy", "policies"), ("reason", "reasons")] {
            let Some(Value::Array(all)) = entry.get(member) else { continue };
            pairs.extend(all.first().and_then(Value::as_text).map(|one| (name, one.to_owned())));
        }
        pairs.push(("before", (index + 1).to_string()));
        pairs.extend(index.checked_sub(1).map(|before| ("after", before.to_string())));
        match server.get(&target(&pairs)).await {
            Ok(answer) => {
                let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
                let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                if !contains(&body, bytes) {
                    findings.push(format!(
                        "entry {index}: a question for what it says does not find it at the broker, or finds another one"
                    ));
                }
            }
            Err(error) => {
                let refused = error.downcast_ref::<Refused>().is_some();
                let why = verify::report::shown(&format!("{error:#}"));
                return (
                    findings,
                    Some(format!("the broker {} asked: {why}", if refused { "may not be" } else { "could not be" })),
                );
            }
        }
    }
    (findings, None)
}

/// Members of an entry that a question can name. An index lists an entry under each, and finds it where it is under all.
const ASKED: [&str; 10] =
    ["action", "agreement", "country", "decision", "ended", "principal", "product", "purpose", "request", "resource"];
/// Entries of any age that are asked for in one look.
const OLDER: usize = 2;
/// A full bundle of the largest entries.
const BUNDLE_BYTES_MAX: usize = 256 * (2 + 65_535);

/// For all questions of one look.
const ASK_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

fn contains(body: &[u8], entry: &[u8]) -> bool {
    body.windows(entry.len().max(1)).any(|window| window == entry)
}

/// Published files, wherever they are.
enum Published {
    Folder(PathBuf),
    Http { base: String, server: Server },
}

impl Published {
    fn new(args: &MonitorArgs) -> anyhow::Result<Self> {
        let is_url = args.log.starts_with("http://") || args.log.starts_with("https://");
        if !is_url {
            return Ok(Self::Folder(PathBuf::from(&args.log)));
        }
        let base = args.log.trim_end_matches('/').to_owned();
        Ok(Self::Http { base, server: args.server.clone() })
    }
}

/// Of a file so many bytes and one more, if there are.
fn bounded(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::open(path)?, most), &mut bytes)?;
    Ok(bytes)
}

struct Blocking<'p> {
    published: &'p mut Published,
    handle: tokio::runtime::Handle,
}

impl Files for Blocking<'_> {
    fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        match self.published {
            Published::Folder(dir) => match std::fs::metadata(dir.join(path)) {
                // A pipe in the place of a file would never answer.
                Ok(meta) if !meta.is_file() => Err(String::from("is no file")),
                // Read no further, whatever is there by then.
                Ok(_) => match bounded(&dir.join(path), bytes_max) {
                    Ok(bytes) if bytes.len() > bytes_max => {
                        Err(format!("has more than {bytes_max} bytes, which cannot be right"))
                    }
                    read => read.map(Some).map_err(|error| error.to_string()),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Published::Http { base, server } => {
                let url = format!("{base}/{path}");
                let fetched = server.fetch(&url, bytes_max);
                self.handle.block_on(fetched).map_err(|error| format!("{error:#}"))
            }
        }
    }
}
