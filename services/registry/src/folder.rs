//! The files of a folder, read once and named by their content.

use crate::problem::{FileMap, Problem};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A hundred thousand signals are about 20 MB; a file beyond this is not a catalog.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Folders in folders in folders: beyond this somebody pointed at the wrong place.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Toml,
    /// `signals*.csv`
    Signals,
}

/// What a folder holds, sorted by relative name.
#[derive(Debug)]
pub(crate) struct Folder {
    pub path: PathBuf,
    pub files: Vec<FileMap>,
    pub kinds: Vec<FileKind>,
    /// Over the relative names and contents of all files that count.
    pub digest: Digest,
    pub problems: Vec<Problem>,
}

impl Folder {
    /// Reads all `*.toml` of `dir`, and `signals*.csv` if `sheets`. Names beginning with a dot are skipped, so a folder
    /// that is a mounted Kubernetes ConfigMap (`..data` and links into it) is read once.
    pub(crate) fn read(dir: &Path, sheets: bool) -> Self {
        let mut walk = Walk::new(dir, sheets);
        walk.folder(dir, "", 0);
        let Walk { found, mut problems, .. } = walk;
        let mut hash = Sha256::new();
        let (mut files, mut kinds) = (Vec::new(), Vec::new());
        for (name, (path, kind)) in found {
            match read_text(&path) {
                Ok(text) => {
                    for part in [name.as_bytes(), text.as_bytes()] {
                        hash.update((part.len() as u64).to_be_bytes());
                        hash.update(part);
                    }
                    files.push(FileMap::new(dir.join(&name), text));
                    kinds.push(kind);
                }
                Err(what) => problems.push(bare(&dir.join(&name), what)),
            }
        }
        Self { path: dir.to_owned(), files, kinds, digest: Digest(hash.finalize().into()), problems }
    }
}

fn bare(file: &Path, what: String) -> Problem {
    Problem { file: file.to_owned(), line: None, column: None, what, help: None }
}

/// The texts of all `*.toml` of `dir` that can be read at all; several may be readings of one file.
pub(crate) fn lenient_texts(dir: &Path) -> Vec<FileMap> {
    let mut walk = Walk::new(dir, false);
    walk.folder(dir, "", 0);
    let tomls = walk.found.into_iter().filter(|(_, (_, kind))| *kind == FileKind::Toml);
    let read = tomls.filter_map(|(name, (path, _))| Some((dir.join(name), readings(read_bytes(&path).ok()?))));
    read.flat_map(|(path, texts)| texts.into_iter().map(move |text| FileMap::new(path.clone(), text))).collect()
}

/// The text, or what can be made of bytes that are none: what UTF-16 says that begins with its mark, and what is UTF-8 or
/// plain letters among them. Both, for a file that was begun in one and continued in the other.
fn readings(bytes: Vec<u8>) -> Vec<String> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return vec![text],
        Err(error) => error.into_bytes(),
    };
    let in_pairs = |unit: fn([u8; 2]) -> u16| {
        let pairs = bytes.chunks_exact(2).skip(1).filter_map(|pair| pair.try_into().ok());
        String::from_utf16_lossy(&pairs.map(unit).collect::<Vec<_>>())
    };
    let mut texts = match bytes.as_slice() {
        [0xff, 0xfe, ..] => vec![in_pairs(u16::from_le_bytes)],
        [0xfe, 0xff, ..] => vec![in_pairs(u16::from_be_bytes)],
        _ => Vec::new(),
    };
    let plain: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0).collect();
    texts.push(String::from_utf8_lossy(&plain).into_owned());
    texts
}

fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read_bytes(path)?)
        .map_err(|e| format!("is not UTF-8 from byte {} on", e.utf8_error().valid_up_to()))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("is {size} bytes long, more than the {FILE_BYTES_MAX} that are read"));
    }
    fs::read(path).map_err(|e| format!("cannot be read: {e}"))
}

struct Walk {
    /// Resolved, so that a link out of the folder can be seen.
    root: Option<PathBuf>,
    sheets: bool,
    found: BTreeMap<String, (PathBuf, FileKind)>,
    problems: Vec<Problem>,
}

impl Walk {
    fn new(dir: &Path, sheets: bool) -> Self {
        Self { root: fs::canonicalize(dir).ok(), sheets, found: BTreeMap::new(), problems: Vec::new() }
    }

    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return self.problems.push(bare(dir, format!("folders are nested more than {DEPTH_MAX} deep")));
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) => return self.problems.push(bare(dir, format!("cannot be read: {e}"))),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry.path(), prefix, depth),
                Err(e) => self.problems.push(bare(dir, format!("cannot be read: {e}"))),
            }
        }
    }

    fn entry(&mut self, path: &Path, prefix: &str, depth: usize) {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return self.problems.push(bare(path, String::from("has a name that is not UTF-8")));
        };
        if name.starts_with('.') {
            return;
        }
        let relative = format!("{prefix}{name}");
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => self.folder(path, &format!("{relative}/"), depth + 1),
            Ok(meta) => self.file(path, relative, name, meta.is_symlink()),
            Err(e) => self.problems.push(bare(path, format!("cannot be read: {e}"))),
        }
    }

    fn file(&mut self, path: &Path, relative: String, name: &str, link: bool) {
        let Some(kind) = self.kind(path, name) else { return };
        // A link is followed inside the folder only: who may write here must not be able to name other files.
        let target = fs::canonicalize(path);
        let inside = target.as_ref().is_ok_and(|t| self.root.as_ref().is_some_and(|root| t.starts_with(root)));
        match target {
            Ok(target) if target.is_file() && (!link || inside) => {
                self.found.insert(relative, (target, kind));
            }
            Ok(target) if target.is_file() => {
                self.problems
                    .push(bare(path, String::from("is a symbolic link out of the folder, which is not followed")));
            }
            Ok(_) => self.problems.push(bare(path, String::from("is not a regular file"))),
            Err(e) => self.problems.push(bare(path, format!("cannot be read: {e}"))),
        }
    }

    fn kind(&mut self, path: &Path, name: &str) -> Option<FileKind> {
        match Path::new(name).extension().and_then(|e| e.to_str()) {
            Some("toml") => Some(FileKind::Toml),
            Some("csv") if self.sheets && name.starts_with("signals") => Some(FileKind::Signals),
            Some("csv") => {
                let help =
                    if self.sheets { "name it `signals*.csv`" } else { "tag lists belong in the catalog folder" };
                let what = String::from("is a CSV file that nobody reads");
                self.problems.push(Problem { help: Some(help.into()), ..bare(path, what) });
                None
            }
            _ => None,
        }
    }
}

/// A cheap value that changes when a file of the folder is added, removed, replaced or written: for polling.
///
/// Taken from names, sizes, modification times and inodes, following links; contents are not read. It does not fail: a
/// folder that cannot be read has a fingerprint too.
pub fn fingerprint(dir: &Path) -> Digest {
    let mut lines = Vec::new();
    collect(dir, 0, &mut lines);
    lines.sort_unstable();
    Digest::of(lines.join("\n").as_bytes())
}

fn collect(dir: &Path, depth: usize, lines: &mut Vec<String>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) if depth <= DEPTH_MAX => entries,
        Ok(_) => return,
        Err(e) => return lines.push(format!("{} {:?}", dir.display(), e.kind())),
    };
    for path in entries.flatten().map(|e| e.path()) {
        if path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            collect(&path, depth + 1, lines);
        } else {
            lines.push(format!("{} {}", path.display(), stamp(&path)));
        }
    }
}

fn stamp(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(path) {
        Ok(m) => format!("{} {} {}.{} {}.{}", m.len(), m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()),
        Err(e) => format!("{:?}", e.kind()),
    }
}
