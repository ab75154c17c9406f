//! `millgate-verify`: is a published log whole, in order, and the one that was signed; is an entry in it? Arguments, output and
//! exit code; the checks are in the library.

use model::Timestamp;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tlog::note::KeyError;
use tlog::policy::NotTrusted;
use tlog::{TrustPolicy, VerifierKey};
use verify::archive::{self, ArchiveReport};
use verify::log::{self, Remembered};
use verify::proof::{self, ProofReport};
use verify::pruned::Pruned;
use verify::receipt::{self, ReceiptReport, Shown};
use verify::report::{Finding, Report};
use verify::verdict::{Point, Results};

const HELP: &str = "\
Verifies logs of Millgate, offline and trusting nobody but the keys it is given.

usage: millgate-verify log DIR TRUST [--checkpoint FILE] [--kept DAYS] [--json]
       millgate-verify archive FILE TRUST [--complete] [--json]
       millgate-verify proof FILE TRUST [--entry FILE] [--json]
       millgate-verify receipt FILE TRUST [--proof FILE] [--checkpoint FILE] [--at TIME] [--json]
       millgate-verify [log | archive | proof | receipt] --help | --version

TRUST is `--key VKEY`, the log's public key, several times if it has had several, or `--policy FILE`, a trust policy (C2SP tlog-policy) that names the log and the
witnesses that must have cosigned.

What is printed begins with the checks by name, each passed, failed or not done. Exit code: 0 nothing failed, 1 something did, 2 there was nothing to check.

`millgate-verify log --help` and so on say more.
";

const LOG_HELP: &str = "\
Verifies a published log: every entry, every hash tile, every kept checkpoint, the sequence of every organisation, that
every outcome belongs to one allowed exchange, and that every decision names policies that were in use.

usage: millgate-verify log DIR TRUST [--checkpoint FILE] [--kept DAYS] [--json]

  DIR                the directory the log is published to, or a copy of it
  --key VKEY         the log's public key, written `name+hash+key`; again for each that the log has had since; or
  --policy FILE      a trust policy (C2SP tlog-policy) that names the log, and the witnesses that must have cosigned, against
                     whose clocks entries are held
  --checkpoint FILE  a checkpoint of this log that you have put aside earlier: shows a log that was cut or rewritten
                     together with all the checkpoints it has kept
  --kept DAYS        for how many days the plant has said that it keeps entries, as in `3650d`: shows that some were
                     pruned earlier. Without it, what was pruned is said, with the time that its entry claims
  --json             one JSON object instead of text

exit code: 0 the log is fine, 1 it is not (what and which entries is printed), 2 there was nothing to check

example:
  millgate-verify log /mnt/audit/press-line --key \"$(cat press-line.vkey)\" --checkpoint last-month.checkpoint
";

const ARCHIVE_HELP: &str = "\
Verifies an archive of a part of a log: that its entries are those that the log has signed, that none is missing between the
first and the last, and that what comes with them is what they name. Says also what the archive does not prove.

usage: millgate-verify archive FILE TRUST [--complete] [--json]

  FILE           the archive, as `millgate audit export` writes it; `-` reads standard input
  --key VKEY     the log's public key, written `name+hash+key`; or
  --policy FILE  a trust policy (C2SP tlog-policy) that names the log, and the witnesses that must have cosigned
  --complete     it must be proven that nothing of the time that the archive says it is of is missing, also before its first
                 entry and behind its last. Which time that is nobody has signed: compare it with what you asked for
  --json         one JSON object instead of text

exit code: 0 the archive is fine, 1 it is not (what and which entries is printed), 2 there was nothing to check

example:
  millgate-verify archive november.tar --key \"$(cat press-line.vkey)\"
";

const PROOF_HELP: &str = "\
Verifies the proof of one entry: that it is in the log, under a checkpoint that the log has signed, and that values which
are shown of it are those that were recorded.

usage: millgate-verify proof FILE TRUST [--entry FILE] [--json]

  FILE          the proof (C2SP tlog-proof), as `millgate audit prove` writes it
  --key VKEY    the log's public key, written `name+hash+key`; or
  --policy FILE a trust policy (C2SP tlog-policy) that names the log, and the witnesses that must have cosigned
  --entry FILE  the entry, where it does not stand in the proof
  --json        one JSON object instead of text

exit code: 0 it is proven, 1 it is not (why is printed), 2 there was nothing to check

example:
  millgate-verify proof access.tlog-proof --key \"$(cat press-line.vkey)\"
";

const RECEIPT_HELP: &str = "\
Verifies a receipt: that it binds the log, with a proof whether the log has kept its promise, and without one whether the time
for it is over. Compare `request` with the `Millgate-Request-Id` of the answer that it came with.

usage: millgate-verify receipt FILE TRUST [--proof FILE] [--checkpoint FILE] [--at TIME] [--json]

  FILE               the receipt: the header `Audit-Receipt` of an answer, or its value
  --key VKEY         the log's public key, written `name+hash+key`; again for each that the log has had since; or
  --policy FILE      a trust policy (C2SP tlog-policy) that names the log, and the witnesses that must have cosigned
  --proof FILE       the proof of the entry (`millgate audit prove --receipt FILE`). With the entry in it (`--index N`, for
                     whoever may read it) its request is compared with that of the receipt, too
  --checkpoint FILE  a checkpoint of this log: shows that the entry was left out, if a quorum of the policy's witnesses
                     cosigned it after one had to cover the entry, and no other quorum can have cosigned one in time
                     without any of these. Without witnesses nothing tells when it was there
  --at TIME          judge as of this time (RFC 3339), not as of now: after the time of the receipt a proof must be shown
  --json             one JSON object instead of text

exit code: 0 it binds the log, and is kept, or may still be; 1 it does not, or is not kept, or overdue, or broken (why is
printed), 2 there was nothing to check

example:
  millgate-verify receipt receipt.txt --key \"$(cat press-line.vkey)\" --proof access.tlog-proof
";

/// A note is far smaller; anything larger is another file.
const NOTE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help(&'static str),
    Version,
    Log(LogArguments),
    Archive(FileArguments),
    Proof(FileArguments),
    Receipt(ReceiptArguments),
}

#[derive(Debug, PartialEq, Eq)]
enum TrustArgument {
    Keys(Vec<String>),
    Policy(PathBuf),
}

/// Of a proof with the file of its entry.
#[derive(Debug, PartialEq, Eq)]
struct FileArguments {
    file: PathBuf,
    trust: TrustArgument,
    beside: Option<PathBuf>,
    /// Of an archive: that something may be missing at its edges is a finding.
    complete: bool,
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct ReceiptArguments {
    file: PathBuf,
    trust: TrustArgument,
    proof: Option<PathBuf>,
    checkpoint: Option<PathBuf>,
    at: Option<Timestamp>,
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct LogArguments {
    dir: PathBuf,
    trust: TrustArgument,
    checkpoint: Option<PathBuf>,
    kept_days: Option<u32>,
    json: bool,
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(ok) => ExitCode::from(u8::from(!ok)),
        Err(message) => {
            // Nothing to do when even this cannot be written; the exit code says it.
            let _ = writeln!(std::io::stderr(), "millgate-verify: {}", verify::report::said(&message));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<bool, String> {
    match parse(arguments)? {
        Command::Help(text) => print(text),
        Command::Version => print(&format!("millgate-verify {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Log(arguments) => {
            let report = verify_log(&arguments)?;
            return show(report.is_ok(), &report, arguments.json.then(|| report.to_json()));
        }
        Command::Archive(arguments) => {
            let report = verify_archive(&arguments)?;
            return show(report.is_ok(), &report, arguments.json.then(|| report.to_json()));
        }
        Command::Proof(arguments) => {
            let report = verify_proof(&arguments)?;
            return show(report.is_ok(), &report, arguments.json.then(|| report.to_json()));
        }
        Command::Receipt(arguments) => {
            let report = verify_receipt(&arguments)?;
            return show(report.is_ok(), &report, arguments.json.then(|| report.to_json()));
        }
    }
    .map(|()| true)
}

/// Prints what a check has found, and says whether that is fine.
fn show(is_ok: bool, report: &impl std::fmt::Display, json: Option<serde_json::Value>) -> Result<bool, String> {
    print(&json.map_or_else(|| report.to_string(), |json| format!("{}\n", verify::report::line(&json))))?;
    Ok(is_ok)
}

fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough; the exit code still tells.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("the result cannot be written: {error}")),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let command = arguments.next().ok_or("no command; try `millgate-verify --help`")?;
    match command.to_str() {
        Some("--help" | "-h" | "help") => Ok(Command::Help(HELP)),
        Some("--version" | "-V") => Ok(Command::Version),
        Some("log") => parse_log(arguments),
        Some("archive") => {
            let arguments = parse_file("archive", (None, &["--complete"]), arguments)?;
            Ok(arguments.map_or(Command::Help(ARCHIVE_HELP), Command::Archive))
        }
        Some("proof") => {
            let arguments = parse_file("proof", (Some("--entry"), &[]), arguments)?;
            Ok(arguments.map_or(Command::Help(PROOF_HELP), Command::Proof))
        }
        Some("receipt") => parse_receipt(arguments),
        _ => Err(format!(
            "`{}` is no command; there are `log`, `archive`, `proof` and `receipt`",
            command.to_string_lossy()
        )),
    }
}

fn parse_log(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let Some(mut given) = Given::parse("log", "DIR", (&["--checkpoint", "--kept"], &[]), arguments)? else {
        return Ok(Command::Help(LOG_HELP));
    };
    let (checkpoint, kept) = (given.own("--checkpoint").map(PathBuf::from), given.own("--kept"));
    let days = |text: OsString| {
        let days = text.to_str().and_then(|text| text.strip_suffix('d')?.parse().ok());
        days.ok_or_else(|| String::from("`--kept` takes whole days, as in `3650d`"))
    };
    let kept_days = kept.map(days).transpose()?;
    let dir = given.what.ok_or_else(|| lacks("log", "the log's directory"))?.into();
    Ok(Command::Log(LogArguments { dir, trust: given.trust, checkpoint, kept_days, json: given.json }))
}

fn parse_receipt(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let Some(mut given) = Given::parse("receipt", "FILE", (&["--proof", "--checkpoint", "--at"], &[]), arguments)?
    else {
        return Ok(Command::Help(RECEIPT_HELP));
    };
    let time = |text: OsString| {
        let time = text.to_str().and_then(Timestamp::parse_rfc3339);
        time.ok_or_else(|| String::from("`--at` takes a time of RFC 3339, as in `2026-11-22T19:21:00Z`"))
    };
    let at = given.own("--at").map(time).transpose()?;
    let (proof, checkpoint) = (given.own("--proof").map(PathBuf::from), given.own("--checkpoint").map(PathBuf::from));
    let file = given.what.ok_or_else(|| lacks("receipt", "the file of the receipt"))?.into();
    Ok(Command::Receipt(ReceiptArguments { file, trust: given.trust, proof, checkpoint, at, json: given.json }))
}

/// `None`: help is wanted.
fn parse_file(
    command: &str,
    (own, flags): (Option<&str>, &[&str]),
    arguments: impl Iterator<Item = OsString>,
) -> Result<Option<FileArguments>, String> {
    let own: Vec<&str> = own.into_iter().collect();
    let Some(mut given) = Given::parse(command, "FILE", (&own, flags), arguments)? else {
        return Ok(None);
    };
    let beside = own.first().and_then(|name| given.own(name));
    let Given { what, trust, flags, json, .. } = given;
    let complete = flags.iter().any(|flag| flag == "--complete");
    let file = what.ok_or_else(|| lacks(command, &format!("the file of the {command}")))?.into();
    Ok(Some(FileArguments { file, trust, beside: beside.map(PathBuf::from), complete, json }))
}

/// What stands behind a command.
struct Given {
    what: Option<OsString>,
    trust: TrustArgument,
    /// The values of the command's own options.
    own: Vec<(String, OsString)>,
    /// Those that have none.
    flags: Vec<String>,
    json: bool,
}

fn lacks(command: &str, what: &str) -> String {
    format!("{what} is missing; try `millgate-verify {command} --help`")
}

impl Given {
    /// `None`: help is wanted.
    fn parse(
        command: &str,
        what: &str,
        (known, flags): (&[&str], &[&str]),
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Result<Option<Self>, String> {
        let (mut found, mut keys, mut policy, mut json): (Option<OsString>, _, _, _) = (None, Vec::new(), None, false);
        let mut own: Vec<(String, OsString)> = Vec::new();
        let mut set_flags: Vec<String> = Vec::new();
        while let Some(argument) = arguments.next() {
            let (option, mut inline) = split_option(&argument);
            let mut value =
                |name: &str| inline.take().or_else(|| arguments.next()).ok_or(format!("`{name}` needs a value"));
            match option.as_deref() {
                Some("--help" | "-h") => return Ok(None),
                Some("--key") => {
                    keys.push(value("--key")?.into_string().map_err(|_| "the key is not text".to_owned())?);
                }
                Some("--policy") => set(&mut policy, value("--policy")?, "--policy")?,
                Some(option) if known.contains(&option) => {
                    if own.iter().any(|(name, _)| name == option) {
                        return Err(format!("`{option}` is given twice"));
                    }
                    own.push((option.to_owned(), value(option)?));
                }
                Some("--json") if inline.is_none() => json = true,
                Some(flag) if inline.is_none() && flags.contains(&flag) => set_flags.push(flag.to_owned()),
                Some(option) => {
                    let help = format!("try `millgate-verify {command} --help`");
                    return Err(format!("`{option}` is no option of `{command}`; {help}"));
                }
                None => {
                    if let Some(before) = &found {
                        let (before, argument) = (before.to_string_lossy(), argument.to_string_lossy());
                        return Err(format!("`{what}` is given twice: `{before}` and `{argument}`"));
                    }
                    found = Some(argument);
                }
            }
        }
        let trust = match (keys.as_slice(), policy) {
            ([_, ..], None) => TrustArgument::Keys(keys),
            ([], Some(policy)) => TrustArgument::Policy(policy.into()),
            ([], None) => return Err(lacks(command, "`--key` or `--policy`")),
            ([_, ..], Some(_)) => return Err("`--key` and `--policy` are given; one says whom to trust".to_owned()),
        };
        Ok(Some(Self { what: found, trust, own, flags: set_flags, json }))
    }

    fn own(&mut self, name: &str) -> Option<OsString> {
        let at = self.own.iter().position(|(own, _)| own == name)?;
        Some(self.own.swap_remove(at).1)
    }
}

/// `--name=value` or `--name`; nothing for what is no option.
fn split_option(argument: &OsString) -> (Option<String>, Option<OsString>) {
    match argument.to_str().filter(|text| text.starts_with('-') && text.len() > 1) {
        None => (None, None),
        Some(text) => match text.split_once('=') {
            Some((option, value)) => (Some(option.to_owned()), Some(value.into())),
            None => (Some(text.to_owned()), None),
        },
    }
}

fn set(slot: &mut Option<OsString>, value: OsString, name: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` is given twice")),
    }
}

/// A cosignature that is later than now by more than this was not made when it says.
const CLOCKS_DIFFER_SECONDS: u64 = 3_600;

/// In seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a cosignature tells the time, and is held against that of this machine")]
fn now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whom the caller trusts.
struct Trust {
    /// Of one log, which may have had several.
    keys: Vec<VerifierKey>,
    policy: TrustPolicy,
}

impl Trust {
    fn of(argument: &TrustArgument) -> Result<Self, String> {
        match argument {
            TrustArgument::Keys(keys) => {
                let parse =
                    |key: &String| VerifierKey::parse(key.trim()).map_err(|error| key_fault(key.trim(), &error));
                let keys = keys.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
                Self::of_policy(TrustPolicy::of_keys(keys), || String::from("the keys given with `--key` are those of"))
            }
            TrustArgument::Policy(file) => {
                let name = file.display();
                let policy = TrustPolicy::parse(&small_text(file)?)
                    .map_err(|error| format!("`{name}` is no trust policy: {error}"))?;
                Self::of_policy(policy, || format!("`{name}` names"))
            }
        }
    }

    fn of_policy(policy: TrustPolicy, named: impl Fn() -> String) -> Result<Self, String> {
        if policy.one_log().is_none() {
            let mut names: Vec<String> = policy.logs.iter().map(|log| format!("`{}`", log.key.name())).collect();
            names.dedup();
            return Err(match names.as_slice() {
                [] => format!("{} no log: it needs a line `log VKEY` with the log's public key", named()),
                _ => format!(
                    "{} several logs, {}; one is verified at a time: leave the others away",
                    named(),
                    names.join(" and ")
                ),
            });
        }
        Ok(Self { keys: policy.logs.iter().map(|log| log.key.clone()).collect(), policy })
    }

    /// The witnesses that cosigned the checkpoint, and findings if they are too few or ahead of time.
    fn witnessed(&self, note: &str, verdict: &mut Results) -> (Vec<(String, u64)>, Vec<Finding>) {
        let cosigned = self.policy.cosigned(note);
        if self.policy.asks_for_witnesses() {
            verdict.done(Point::Cosignatures);
        }
        let names = cosigned.iter().map(|(name, _)| name.clone()).collect();
        let too_few = (!self.policy.is_met(&cosigned)).then(|| NotTrusted::NoQuorum(names).to_string());
        let ahead = cosigned.iter().filter(|(_, time)| *time > now().saturating_add(CLOCKS_DIFFER_SECONDS));
        let ahead = ahead.map(|(name, _)| {
            format!("`{name}` says that it cosigned in the future: its clock, or this one, is wrong, or the time was made up")
        });
        let findings = too_few.into_iter().chain(ahead);
        let findings = findings.map(|what| Finding { check: Point::Cosignatures, what, entries: None }).collect();
        (cosigned, findings)
    }

    /// What a quorum of this policy does not show, however well it has cosigned.
    fn warning(&self) -> Option<Finding> {
        let what = "two quorums of the trust policy need not share a witness, so each of two histories can have one: that this one was \
                    cosigned does not show that others see the same. Ask for more witnesses, so that any two quorums overlap";
        let is_weak = self.policy.asks_for_witnesses() && !self.policy.quorums_overlap();
        is_weak.then(|| Finding { check: Point::Cosignatures, what: what.to_owned(), entries: None })
    }
}

/// What to do about a key that cannot be used.
fn key_fault(text: &str, error: &KeyError) -> String {
    let hint = if text.starts_with("PRIVATE+KEY+") {
        "; that is the private one, which nobody but the log may have: give the public one"
    } else if text.is_empty() {
        "; nothing was given: is the file empty that it was to come from?"
    } else if Path::new(text).is_file() {
        "; that is a file: give what stands in it, as in `--key \"$(cat FILE)\"`"
    } else if text.contains(char::is_whitespace) {
        "; give each of several keys with a `--key` of its own"
    } else {
        ""
    };
    format!("the key given with `--key` cannot be used: {error}{hint}")
}

fn verify_archive(arguments: &FileArguments) -> Result<ArchiveReport, String> {
    let trust = Trust::of(&arguments.trust)?;
    let keys = &trust.keys;
    let name = arguments.file.display();
    let shown = std::io::stderr().is_terminal();
    let mut told = 0;
    let progress = |entries: u64| {
        if shown && entries > told + 10_000 {
            told = entries;
            let _ = write!(std::io::stderr(), "\r{entries} entries\u{1b}[K");
        }
    };
    let report = if arguments.file == Path::new("-") {
        archive::check_by(std::io::stdin().lock(), keys, progress)
    } else {
        let file = std::fs::File::open(&arguments.file).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
        if arguments.file.is_dir() {
            return Err(format!("`{name}` is a directory: a published one is checked by `millgate-verify log`"));
        }
        archive::check_by(std::io::BufReader::with_capacity(1 << 20, file), keys, progress)
    };
    if shown {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    let mut report = report.map_err(|error| format!("`{name}` {error}"))?;
    report.witnessed(&trust.policy);
    report.findings.extend(trust.witnessed(&report.note, &mut report.verdict).1);
    report.warnings.extend(trust.warning());
    if arguments.complete {
        report.demand_complete();
    }
    Ok(report)
}

fn verify_proof(arguments: &FileArguments) -> Result<ProofReport, String> {
    let trust = Trust::of(&arguments.trust)?;
    let entry = arguments.beside.as_deref().map(small_file).transpose()?;
    let text = small_text(&arguments.file)?;
    let mut report = proof::check_by(&text, entry.as_deref(), &trust.keys)
        .map_err(|error| format!("`{}` is no proof: {error}", arguments.file.display()))?;
    let (cosigned, findings) = trust.witnessed(&report.note, &mut report.verdict);
    report.cosigned = cosigned;
    report.findings.extend(findings);
    Ok(report)
}

fn verify_receipt(arguments: &ReceiptArguments) -> Result<ReceiptReport, String> {
    let trust = Trust::of(&arguments.trust)?;
    let proof = arguments.proof.as_deref().map(small_text).transpose()?;
    let checkpoint = arguments.checkpoint.as_deref().map(note_text).transpose()?;
    let at = arguments.at.unwrap_or_else(|| Timestamp(i64::try_from(now()).unwrap_or(i64::MAX).saturating_mul(1_000)));
    let shown = Shown { proof: proof.as_deref(), checkpoint: checkpoint.as_deref(), at };
    let mut report = receipt::check(&small_text(&arguments.file)?, shown, &trust.policy).map_err(|error| {
        let what = "a receipt is the header `Audit-Receipt` of an answer, or its value, and nothing beside it";
        format!("`{}`: {error}; {what}", arguments.file.display())
    })?;
    if let Some(note) = &report.note {
        report.findings.extend(trust.witnessed(note, &mut Results::default()).1);
    }
    Ok(report)
}

fn small_text(file: &Path) -> Result<String, String> {
    let fault =
        |_| format!("`{}` is no text (UTF-8), as proofs, checkpoints, receipts and policies are", file.display());
    String::from_utf8(small_file(file)?).map_err(fault)
}

/// Of a file that is to be a checkpoint.
fn note_text(file: &Path) -> Result<String, String> {
    let text = small_text(file).map_err(|why| format!("checkpoint {why}"))?;
    if text.starts_with("c2sp.org/tlog-proof") {
        return Err(format!(
            "`{}` is a proof and no checkpoint: that is a signed note, like the file `checkpoint` of a published log",
            file.display()
        ));
    }
    Ok(text)
}

fn small_file(file: &Path) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("`{}` cannot be read: {error}", file.display());
    // Of what has no size of its own, a pipe or a device, no more either.
    let mut bytes = Vec::new();
    let file_of_any_size = std::fs::File::open(file).map_err(fault)?;
    file_of_any_size.take(NOTE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= NOTE_BYTES_MAX) {
        return Ok(bytes);
    }
    let name = file.display();
    Err(format!(
        "`{name}` has more than {NOTE_BYTES_MAX} bytes: that is no proof, checkpoint, entry, receipt or policy"
    ))
}

fn verify_log(arguments: &LogArguments) -> Result<Report, String> {
    let trust = Trust::of(&arguments.trust)?;
    let keys = &trust.keys;
    let remembered = arguments.checkpoint.as_deref().map(|file| remembered(file, keys)).transpose()?;
    let mut shown = std::io::stderr().is_terminal().then_some(u64::MAX);
    let mut progress = |done: u64, total: u64| show_progress(&mut shown, done, total);
    let report = log::check_trusting(&arguments.dir, &trust.policy, remembered.as_ref(), &mut progress);
    if shown.is_some() {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    let mut report = report.map_err(|error| error.to_string())?;
    // The one that was verified, not whatever stands there by now.
    let (cosigned, findings) = trust.witnessed(&report.note, &mut report.verdict);
    report.cosigned = cosigned;
    report.findings.extend(findings);
    report.warnings.extend(trust.warning());
    let faults: Vec<Finding> =
        report.pruned.iter().flat_map(|pruned| pruned_faults(arguments, &trust, pruned)).collect();
    report.findings.extend(faults);
    Ok(report)
}

/// What was pruned, held against what the caller was told, and against the clocks of witnesses whom the caller trusts.
fn pruned_faults(arguments: &LogArguments, trust: &Trust, pruned: &Pruned) -> Vec<Finding> {
    let told = arguments.kept_days.and_then(|days| pruned.fault(days));
    let mut faults: Vec<Finding> =
        told.into_iter().map(|(at, what)| Finding { check: Point::Pruning, what, entries: Some((at, at)) }).collect();
    let origin = trust.keys.first().map(VerifierKey::name).unwrap_or_default();
    let mut kept = log::kept_below(&arguments.dir, origin, pruned.below);
    let cosigned = kept.find_map(|(size, note)| {
        let latest = trust.policy.cosigned(&note).into_iter().max_by_key(|(_, seconds)| *seconds)?;
        Some((size, latest))
    });
    if let Some((size, (witness, seconds))) = cosigned
        && pruned.is_later(seconds)
    {
        let under = pruned.under;
        let what = format!(
            "says that all entries before {} are of before {}; when `{witness}` cosigned a checkpoint of {size} entries, it was later",
            pruned.below,
            pruned.before.to_rfc3339()
        );
        faults.push(Finding { check: Point::Pruning, what, entries: Some((under, under)) });
    }
    faults
}

fn remembered(file: &Path, keys: &[VerifierKey]) -> Result<Remembered, String> {
    let name = file.display().to_string();
    let note = note_text(file)?;
    Remembered::open_any(&name, &note, keys).map_err(|error| format!("`{name}` is no checkpoint of this log: {error}"))
}

/// One line that is written over, once per per cent.
fn show_progress(shown: &mut Option<u64>, done: u64, total: u64) {
    let percent = u64::try_from(u128::from(done) * 100 / u128::from(total.max(1))).unwrap_or(100);
    if shown.is_some_and(|shown| shown != percent) {
        *shown = Some(percent);
        let _ = write!(std::io::stderr(), "\r{percent:3} %  {done} of {total} entries\u{1b}[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn arguments_are_taken_in_any_order_and_both_spellings() {
        let expected = Command::Log(LogArguments {
            dir: "d".into(),
            trust: TrustArgument::Keys(vec!["a+b+c=".into()]),
            checkpoint: Some("f".into()),
            kept_days: Some(90),
            json: true,
        });
        assert_eq!(parsed("log d --key a+b+c= --checkpoint f --kept 90d --json").as_ref(), Ok(&expected));
        assert_eq!(parsed("log --json --checkpoint=f --kept=90d --key=a+b+c= d").as_ref(), Ok(&expected));
        assert!(parsed("log d --key a+b+c= --kept 90").unwrap_err().contains("whole days"));
        let expected = Command::Receipt(ReceiptArguments {
            file: "r".into(),
            trust: TrustArgument::Policy("t".into()),
            proof: Some("p".into()),
            checkpoint: Some("c".into()),
            at: Some(Timestamp(1_795_375_260_123)),
            json: false,
        });
        let line = "receipt --at 2026-11-22T19:21:00.123Z --checkpoint=c r --proof p --policy t";
        assert_eq!(parsed(line).as_ref(), Ok(&expected));
        assert!(parsed("receipt r --key k --at yesterday").unwrap_err().contains("RFC 3339"));
        let archive = |complete| FileArguments {
            file: "f".into(),
            trust: TrustArgument::Keys(vec!["k".into()]),
            beside: None,
            complete,
            json: false,
        };
        assert_eq!(parsed("archive --complete f --key k"), Ok(Command::Archive(archive(true))));
        assert_eq!(parsed("archive f --key k"), Ok(Command::Archive(archive(false))));
        assert_eq!(parsed("--help"), Ok(Command::Help(HELP)));
        assert_eq!(parsed("log d --help"), Ok(Command::Help(LOG_HELP)));
        assert_eq!(parsed("--version"), Ok(Command::Version));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, message) in [
            ("", "no command; try `millgate-verify --help`"),
            ("lag", "`lag` is no command; there are `log`, `archive`, `proof` and `receipt`"),
            ("proof --key k", "the file of the proof is missing; try `millgate-verify proof --help`"),
            ("receipt --key k", "the file of the receipt is missing; try `millgate-verify receipt --help`"),
            (
                "receipt r --key k --entry e",
                "`--entry` is no option of `receipt`; try `millgate-verify receipt --help`",
            ),
            ("log d", "`--key` or `--policy` is missing; try `millgate-verify log --help`"),
            ("log --key k", "the log's directory is missing; try `millgate-verify log --help`"),
            ("log d --key", "`--key` needs a value"),
            ("log d --key k --policy p", "`--key` and `--policy` are given; one says whom to trust"),
            ("log d e --key k", "`DIR` is given twice: `d` and `e`"),
            ("log d --policy k --policy k", "`--policy` is given twice"),
            ("log d --keys k", "`--keys` is no option of `log`; try `millgate-verify log --help`"),
            ("log d --complete --key k", "`--complete` is no option of `log`; try `millgate-verify log --help`"),
            (
                "archive f --complete=1 --key k",
                "`--complete` is no option of `archive`; try `millgate-verify archive --help`",
            ),
            ("log d --json=1 --key k", "`--json` is no option of `log`; try `millgate-verify log --help`"),
        ] {
            assert_eq!(parsed(line), Err(message.to_owned()), "{line}");
        }
    }
}
