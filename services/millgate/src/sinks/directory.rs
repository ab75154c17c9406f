//! A directory on another mount, to which checkpoints are appended, a file a day:
//!
//! ```text
//! === 2026-11-29T15:00:00.123Z 412
//! plant.example/broker-1
//! …
//! ```
//!
//! A record is an empty line, this line with the time and the length of the note, and the note. Files are only appended to, so
//! that the mount, or an attribute of the files, may forbid anything else. The directory is never made: where the mount is
//! missing, so must it be.
//!
//! Whoever else may write there can hide nothing by writing more: what the log has not signed counts for nothing, and where too much
//! of it stands in the way, that is an error and not an empty directory. What somebody can take away there, this cannot know of.

use audit::Published;
use audit::incarnation::plain_name;
use model::{Clock as _, Timestamp};
use runtime::clock::SystemClock;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tlog::Checkpoint;
use tokio::task::JoinHandle;

const BEGIN: &str = "\n=== ";
const ENDING: &str = ".checkpoints";
/// Days that are read for the largest checkpoint, counted by files in which the log has signed something: the clock may have
/// been put back, and a copy of an old note makes a day of its own.
const DAYS_READ: usize = 7;
/// More files than this with the name of one log and without a note of it are somebody's work.
const FILES_MAX: usize = 1_000;
/// A day of checkpoints every second with the cosignatures of ten witnesses is this large.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Notes of one file whose signature is tried. Whoever writes here could put any number that nobody signed.
const TRIED_MAX: usize = 10_000;
/// Of a name, without the day and the ending; file systems take 255.
const PREFIX_BYTES_MAX: usize = 200;

/// The checkpoint in a note that the log has signed.
pub(crate) type Hear = dyn Fn(&str) -> Option<Checkpoint>;

#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    origin: String,
    /// A mount that hangs keeps its thread; there is never a second one.
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf, origin: &str) -> Self {
        Self { path, origin: origin.to_owned(), writing: None }
    }

    /// As it stands in metrics and log lines.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) async fn keep(&mut self, published: &Published) -> Result<(), String> {
        if let Some(before) = &mut self.writing {
            // What became of it does not matter: this one stands for it.
            let _ = before.await;
            self.writing = None;
        }
        let (dir, origin, note) = (self.path.clone(), self.origin.clone(), published.note.clone());
        let writing = tokio::task::spawn_blocking(move || append(&dir, &origin, &note, SystemClock.now()));
        let written = self.writing.insert(writing).await;
        self.writing = None;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The largest checkpoint that is kept here and that `hear` takes for one of the log; `None` if there is no file of this log.
    ///
    /// # Errors
    /// When the directory cannot be read, or nothing in its files counts, or not all could be read that may count.
    pub(crate) fn largest(path: &Path, origin: &str, hear: &Hear) -> io::Result<Option<(Checkpoint, String)>> {
        Self::largest_until(path, origin, hear, &day_of(SystemClock.now()))
    }

    /// As it is on this day.
    fn largest_until(path: &Path, origin: &str, hear: &Hear, today: &str) -> io::Result<Option<(Checkpoint, String)>> {
        let (files, mut is_ours) = (files(path, origin)?, false);
        let (mut largest, mut days): (Option<(Checkpoint, String)>, usize) = (None, 0);
        for (n, (day, name)) in files.iter().enumerate() {
            if days == DAYS_READ {
                break;
            }
            if n == FILES_MAX {
                return Err(hidden(&format!("more than {FILES_MAX} files lie before the last days of this log")));
            }
            let (notes, is_named) = (read(&path.join(name), origin)?, name.starts_with(&prefix(origin)));
            is_ours |= is_named || !notes.is_empty();
            let Some(found) = largest_of(notes, hear, name)? else { continue };
            // A day that has not come yet may be of a clock that went wrong, and so counts; that it is one of the last does not.
            days += usize::from(day.as_str() <= today);
            if largest.as_ref().is_none_or(|(known, _)| known.size < found.0.size) {
                largest = Some(found);
            }
        }
        if largest.is_none() && is_ours {
            return Err(hidden("there are files of this log, and it has signed nothing that is in them"));
        }
        Ok(largest)
    }
}

pub(super) fn hidden(what: &str) -> io::Error {
    io::Error::other(format!("{what}; look at who writes there"))
}

/// What the names of a log's files begin with: no two logs have the same, and none is the beginning of another's before a date.
pub(super) fn prefix(origin: &str) -> String {
    let mut name = String::new();
    for (n, c) in origin.chars().enumerate() {
        // Hidden files are passed over by those who copy.
        if c.is_ascii_alphanumeric() || c == '-' || (c == '.' && n > 0) {
            name.push(c);
        } else {
            c.to_string().bytes().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        }
    }
    if name.len() > PREFIX_BYTES_MAX {
        // No shorter name has two such signs in a row.
        let digest = tlog::leaf_hash(origin.as_bytes()).0.map(|byte| format!("{byte:02x}")).concat();
        name = format!("{}%%{digest}", name.get(..PREFIX_BYTES_MAX / 2).unwrap_or_default());
    }
    name
}

fn day_of(time: Timestamp) -> String {
    time.to_rfc3339().get(..10).unwrap_or_default().to_owned()
}

/// Days and names of the files that may be this log's, the latest first.
fn files(path: &Path, origin: &str) -> io::Result<Vec<(String, String)>> {
    // The second as they were named before, where the names of two logs could be the same.
    let prefixes = [prefix(origin), plain_name(origin)];
    let mut files = Vec::new();
    for file in std::fs::read_dir(path)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let day = prefixes.iter().find_map(|prefix| {
            let day = name.strip_prefix(prefix.as_str())?.strip_prefix('.')?.strip_suffix(ENDING)?;
            is_day(day).then(|| day.to_owned())
        });
        files.extend(day.map(|day| (day, name)));
    }
    files.sort_unstable_by(|one, other| other.cmp(one));
    Ok(files)
}

fn is_day(text: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(digit)
}

/// The notes of this log in a file, with the sizes that they claim.
fn read(path: &Path, origin: &str) -> io::Result<Vec<(u64, String)>> {
    let name = path.file_name().unwrap_or_default().display();
    // Whoever opens a pipe waits for somebody to write into it.
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(hidden(&format!("`{name}` is no file")));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(hidden(&format!("`{name}` is larger than {FILE_BYTES_MAX} bytes, more than a log keeps in a day")));
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(records(&text).filter(|(_, note)| note.lines().next() == Some(origin)).collect())
}

/// The largest that counts.
fn largest_of(mut notes: Vec<(u64, String)>, hear: &Hear, name: &str) -> io::Result<Option<(Checkpoint, String)>> {
    notes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    for (n, (_, note)) in notes.into_iter().enumerate() {
        if n == TRIED_MAX {
            return Err(hidden(&format!("`{name}` begins with {TRIED_MAX} checkpoints that the log has not signed")));
        }
        if let Some(checkpoint) = hear(&note) {
            return Ok(Some((checkpoint, note)));
        }
    }
    Ok(None)
}

fn append(dir: &Path, origin: &str, note: &str, now: Timestamp) -> io::Result<()> {
    let time = now.to_rfc3339();
    let path = dir.join(format!("{}.{}{ENDING}", prefix(origin), day_of(now)));
    let is_new = !path.exists();
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(&path)?;
    file.write_all(format!("{BEGIN}{time} {}\n{note}", note.len()).as_bytes())?;
    file.sync_all()?;
    if is_new {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// The notes of a file with the sizes that they claim. What is torn or damaged is passed over.
fn records(text: &str) -> impl Iterator<Item = (u64, String)> + '_ {
    text.split(BEGIN).skip(1).filter_map(|record| {
        let (head, rest) = record.split_once('\n')?;
        let length: usize = head.split(' ').nth(1)?.parse().ok()?;
        let note = rest.get(..length)?;
        let size = note.lines().nth(1)?.parse().ok()?;
        Some((size, note.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{Hash, SigningKey};

    const ORIGIN: &str = "plant.example/broker-1";

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(ORIGIN, [seed; 32]).unwrap()
    }

    fn note(size: u64, key: &SigningKey) -> String {
        Checkpoint::new(ORIGIN, size, Hash([7; 32])).sign(key).unwrap()
    }

    fn read_all(dir: &Path) -> io::Result<Option<(Checkpoint, String)>> {
        Directory::largest_until(dir, ORIGIN, &|note| Checkpoint::open(note, key(1).verifier()).ok(), "2026-12-01")
    }

    fn day(n: i64) -> Timestamp {
        Timestamp(1_795_375_200_000 + n * 86_400_000)
    }

    fn put(dir: &Path, name: &str, notes: &[String]) {
        let records = notes.iter().map(|note| format!("{BEGIN}2026-11-22T00:00:00.000Z {}\n{note}", note.len()));
        std::fs::write(dir.join(name), records.collect::<String>()).unwrap();
    }

    fn largest(dir: &Path) -> Option<u64> {
        read_all(dir).unwrap().map(|(checkpoint, note)| {
            assert_eq!(Checkpoint::open(&note, key(1).verifier()).unwrap(), checkpoint);
            checkpoint.size
        })
    }

    #[test]
    fn the_largest_that_the_log_signed_is_found_whatever_else_is_written_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(largest(dir.path()), None);
        for (n, size) in [(0, 3), (0, 9), (1, 12), (1, 11)] {
            append(dir.path(), ORIGIN, &note(size, &key(1)), day(n)).unwrap();
        }
        assert_eq!(largest(dir.path()), Some(12), "an older one behind it hides nothing");
        // Another key's, another log's file, and one that was torn.
        append(dir.path(), ORIGIN, &note(99, &key(2)), day(1)).unwrap();
        append(dir.path(), "plant.example/broker-2", &note(98, &key(1)), day(1)).unwrap();
        let path = dir.path().join("plant.example%2Fbroker-1.2026-11-23.checkpoints");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"\n=== 2026-11-23T00:00:00.000Z 400\nplant.example/broker-1\n97\n").unwrap();
        assert_eq!(largest(dir.path()), Some(12));
        // The next record is read all the same.
        append(dir.path(), ORIGIN, &note(13, &key(1)), day(1)).unwrap();
        assert_eq!(largest(dir.path()), Some(13));
    }

    #[test]
    fn whoever_writes_into_a_sink_hides_nothing_that_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), ORIGIN, &note(40, &key(1)), day(0)).unwrap();
        // Names that sort last, with nothing, other logs' notes, and what nobody signed; and a name that only begins like it.
        for n in 0..50 {
            let name = format!("{}.9999-01-{n:02}.checkpoints", prefix(ORIGIN));
            put(dir.path(), &name, &[note(100 + n, &key(2))]);
            put(dir.path(), &format!("{}.zz{n}.2026-11-22.checkpoints", prefix(ORIGIN)), &[]);
        }
        assert_eq!(largest(dir.path()), Some(40));
        // Old notes of the log itself, in days that have not come.
        for n in 0..2 * DAYS_READ {
            put(dir.path(), &format!("{}.9998-01-{n:02}.checkpoints", prefix(ORIGIN)), &[note(3, &key(1))]);
        }
        assert_eq!(largest(dir.path()), Some(40));
        // Other logs' records do not keep a log's own from being tried.
        let path = dir.path().join(format!("{}.2026-11-22.checkpoints", prefix(ORIGIN)));
        let kept = std::fs::read_to_string(&path).unwrap();
        let others = |origin: &str| {
            let one = note(99, &key(2)).replace(ORIGIN, origin);
            format!("{BEGIN}2026-11-22T00:00:00.000Z {}\n{one}", one.len()).repeat(TRIED_MAX + 1)
        };
        std::fs::write(&path, format!("{kept}{}", others("plant.example/broker-2"))).unwrap();
        assert_eq!(largest(dir.path()), Some(40));
        // What cannot be read to the end is said, and not taken for nothing.
        std::fs::write(&path, format!("{kept}{}", others(ORIGIN))).unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("that the log has not signed"), "{error}");
    }

    #[test]
    fn a_sink_whose_files_hold_nothing_that_counts_is_not_new() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "another.2026-11-22.checkpoints", &[note(9, &key(1))]);
        assert_eq!(largest(dir.path()), None, "no file of this log");
        // Named as before, of a log with another origin.
        let other = note(9, &key(1)).replace(ORIGIN, "plant.example_broker-1");
        put(dir.path(), "plant.example_broker-1.2026-11-22.checkpoints", &[other]);
        assert_eq!(largest(dir.path()), None);
        let name = format!("{}.2026-11-22.checkpoints", prefix(ORIGIN));
        for notes in [vec![], vec![note(9, &key(2))]] {
            put(dir.path(), &name, &notes);
            let error = read_all(dir.path()).unwrap_err().to_string();
            assert!(error.contains("it has signed nothing that is in them"), "{error}");
        }
        std::fs::remove_file(dir.path().join(&name)).unwrap();
        put(dir.path(), "plant.example_broker-1.2026-11-21.checkpoints", &[note(8, &key(1))]);
        assert_eq!(largest(dir.path()), Some(8), "what was kept under the earlier name counts");
        std::fs::create_dir(dir.path().join(&name)).unwrap();
        assert!(read_all(dir.path()).unwrap_err().to_string().contains("is no file"));
    }

    #[test]
    fn no_two_logs_share_the_names_of_their_files() {
        let long = |last: char| format!("{}{last}", "/".repeat(127));
        let origins =
            ["a.example/b", "a.example_b", "a.example%2Fb", "a.example-b", ".a", "a", "%%a", &long('a'), &long('b')];
        let names: std::collections::BTreeSet<_> = origins.iter().map(|origin| prefix(origin)).collect();
        assert_eq!(names.len(), origins.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() < 220 && !name.starts_with('.') && !name.contains('/')));
        assert!(is_day("2026-11-22") && !is_day("3.2026-11-") && !is_day("2026-11-221") && !is_day("2026/11/22"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("mount/checkpoints");
        assert!(append(&missing, ORIGIN, "note", Timestamp(0)).is_err());
        assert!(!missing.exists());
    }
}
