//! Files that are whole or not there.

use model::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A directory of published files.
///
/// A file is written under a temporary name, flushed and renamed; [`Tree::sync`] then flushes the directories. Only after
/// that may anything refer to the file.
///
/// Who copies the directory file by file, or reads it for minutes, began with a checkpoint that is no longer the latest when they
/// come to the rest. What that one needs and later ones do not is therefore [retired](Tree::retire) and goes a while later.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    dirty: BTreeSet<PathBuf>,
    /// What was written beside the published files and is not in its place yet; `None` while everything goes to its place.
    beside: Option<Vec<String>>,
    /// Not needed any longer, once the next checkpoint is published.
    retired: Vec<String>,
    /// Not needed since then, the first ones first.
    leaving: VecDeque<(Timestamp, String)>,
}

/// Where files are written that are still to be compared: on the same file system, and under a name that hides.
const BESIDE: &str = ".beside";

impl Tree {
    /// Creates the directory for the owner alone, unless it is there: entries are nobody else's business by default.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(root)?;
        let (retired, leaving) = (Vec::new(), VecDeque::new());
        Ok(Self { root: root.to_owned(), dirty: BTreeSet::new(), beside: None, retired, leaving })
    }

    /// Removes what a run has left beside that found that it must not be used, or that ended before it knew; but for a run that does
    /// the same work again, which need not write it again.
    pub(crate) fn clear_beside(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(BESIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// From now on nothing that is there is touched: what is new or different is written beside it, until [`Tree::adopt`].
    pub(crate) fn build_beside(&mut self) {
        self.beside.get_or_insert_default();
    }

    /// Puts what was written beside the published files into its place.
    pub(crate) fn adopt(&mut self) -> io::Result<()> {
        for name in self.beside.take().unwrap_or_default() {
            let path = self.path(&name);
            let parent = path.parent().unwrap_or(&self.root).to_owned();
            self.create_dirs(&parent)?;
            fs::rename(self.root.join(BESIDE).join(&name), &path)?;
            self.dirty.insert(parent);
        }
        // There is nothing in it but empty directories, and what an earlier run had for another tree.
        let _ = fs::remove_dir_all(self.root.join(BESIDE));
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `None` when there is no such file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read_optional(&self.path(name))
    }

    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(&self.root).to_owned();
        if read_optional(&path)?.is_some_and(|found| found == bytes) {
            // Written by a round that failed later on, perhaps before it was flushed.
            File::open(&path)?.sync_all()?;
        } else if let Some(names) = &mut self.beside {
            names.push(name.to_owned());
            let beside = self.root.join(BESIDE).join(name);
            if read_optional(&beside)?.is_some_and(|found| found == bytes) {
                return File::open(&beside)?.sync_all();
            }
            fs::create_dir_all(beside.parent().unwrap_or(&self.root))?;
            return replace(&beside, bytes, None);
        } else {
            self.create_dirs(&parent)?;
            replace(&path, bytes, None)?;
        }
        self.dirty.insert(parent);
        Ok(())
    }

    /// Length of the file; `None` when there is no such file.
    pub(crate) fn length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.path(name)).ok().filter(fs::Metadata::is_file).map(|file| file.len())
    }

    /// When the file was written, by the file system; `None` when there is no such file.
    pub(crate) fn written(&self, name: &str) -> Option<Timestamp> {
        let at = fs::metadata(self.path(name)).ok()?.modified().ok()?;
        let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok().map(Timestamp)
    }

    /// The same of directories that an earlier run has left, each with the file since which nothing needs it.
    pub(crate) fn retire_earlier(&mut self, left: impl Iterator<Item = (String, String)>) {
        let left = left.filter(|(name, _)| self.path(name).is_dir());
        let mut left: Vec<_> = left.map(|(name, by)| (self.written(&by), name)).collect();
        left.sort_unstable();
        for (since, name) in left {
            match since {
                Some(since) => self.leaving.push_back((since, name)),
                None => self.retired.push(name),
            }
        }
    }

    /// A directory of files that nothing will need once the next checkpoint is published, if it is there.
    pub(crate) fn retire(&mut self, name: String) {
        if self.path(&name).is_dir() {
            self.retired.push(name);
        }
    }

    /// A checkpoint was published `now`: what was retired before that leaves when it has lingered. Failing to remove it is no
    /// fault; the next start finds it again.
    pub(crate) fn tidy(&mut self, now: Timestamp, linger_ms: i64) {
        self.leaving.extend(self.retired.drain(..).map(|name| (now, name)));
        while let Some((since, name)) = self.leaving.front() {
            if !has_lingered(*since, now, linger_ms) {
                return;
            }
            let _ = fs::remove_dir_all(self.root.join(name));
            self.leaving.pop_front();
        }
    }

    /// Flushes every directory that got a new name.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        while let Some(dir) = self.dirty.first().cloned() {
            File::open(&dir)?.sync_all()?;
            self.dirty.remove(&dir);
        }
        Ok(())
    }

    fn create_dirs(&mut self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|_| dir != self.root) {
            self.create_dirs(parent)?;
            self.dirty.insert(parent.to_owned());
        }
        fs::create_dir(dir)
    }
}

/// Whether so much time has gone by. A clock that was set back keeps nothing for longer than it would have been.
pub(crate) fn has_lingered(since: Timestamp, now: Timestamp, linger_ms: i64) -> bool {
    let gone = now.millis().saturating_sub(since.millis());
    gone >= linger_ms || gone < -linger_ms
}

/// `None` when there is no such file.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `bytes` in the place of the file, at once. `mode` is that of a new file, otherwise what the process gives.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{}.tmp", name.display()));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if let Some(mode) = mode {
        // A file left over from before may have another mode.
        let _ = fs::remove_file(&temporary);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    }
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(&dir.path().join("published")).unwrap();
        tree.put("tile/0/x001/067", b"first").unwrap();
        tree.put("tile/0/x001/067", b"second").unwrap();
        tree.sync().unwrap();
        assert_eq!(tree.read("tile/0/x001/067").unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(tree.read("tile/0/x001/068").unwrap(), None);
        assert_eq!(tree.read("tile/0/x001/067/9").unwrap(), None);
        assert_eq!(fs::read_dir(tree.path("tile/0/x001")).unwrap().count(), 1);
        assert!(tree.dirty.is_empty());
    }

    #[test]
    fn what_is_built_beside_changes_nothing_until_it_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(dir.path()).unwrap();
        tree.put("tile/0/000", b"good").unwrap();
        tree.put("tile/0/001", b"damaged").unwrap();
        tree.build_beside();
        for (name, bytes) in [("tile/0/000", "good"), ("tile/0/001", "mended"), ("tile/1/000.p/1", "new")] {
            tree.put(name, bytes.as_bytes()).unwrap();
        }
        assert_eq!(tree.read("tile/0/001").unwrap().as_deref(), Some(&b"damaged"[..]));
        assert_eq!(tree.read("tile/1/000.p/1").unwrap(), None);
        // Whoever is not sure of it drops it, and whoever does the same again goes on with it.
        let mut again = Tree::open(dir.path()).unwrap();
        again.build_beside();
        let written = again.written(".beside/tile/0/001");
        again.put("tile/0/001", b"mended").unwrap();
        assert!(written.is_some() && again.written(".beside/tile/0/001") == written, "written once");
        let mut again = Tree::open(dir.path()).unwrap();
        again.clear_beside().unwrap();
        again.clear_beside().unwrap();
        assert!(!again.path(BESIDE).exists());
        again.build_beside();
        again.put("tile/0/001", b"mended").unwrap();
        again.adopt().unwrap();
        again.sync().unwrap();
        assert_eq!(again.read("tile/0/001").unwrap().as_deref(), Some(&b"mended"[..]));
        assert!(!again.path(BESIDE).exists());
        again.put("tile/0/001", b"at once").unwrap();
        assert_eq!(again.read("tile/0/001").unwrap().as_deref(), Some(&b"at once"[..]));
    }

    #[test]
    fn what_is_retired_stays_for_as_long_as_somebody_may_be_reading_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(dir.path()).unwrap();
        tree.put("tile/0/000.p/9", b"x").unwrap();
        tree.retire(String::from("tile/0/000.p"));
        tree.retire(String::from("tile/0/001.p"));
        for (now, is_there) in [(1_000, true), (60_999, true), (61_000, false)] {
            tree.tidy(Timestamp(now), 60_000);
            assert_eq!(tree.path("tile/0/000.p").exists(), is_there, "at {now}");
        }
        assert!(tree.leaving.is_empty() && tree.retired.is_empty());
        // By another run, which comes to it later.
        tree.put("tile/0/001", b"full").unwrap();
        tree.put("tile/0/001.p/9", b"x").unwrap();
        let full = tree.written("tile/0/001").unwrap();
        let mut again = Tree::open(dir.path()).unwrap();
        again.retire_earlier([(String::from("tile/0/001.p"), String::from("tile/0/001"))].into_iter());
        for (later, is_there) in [(59_999, true), (60_000, false)] {
            again.tidy(full.plus_millis(later), 60_000);
            assert_eq!(again.path("tile/0/001.p").exists(), is_there, "{later} behind the full one");
        }
        // A clock that was an hour ahead when it was retired.
        assert!(has_lingered(Timestamp(3_600_000), Timestamp(1_000), 60_000));
    }
}
