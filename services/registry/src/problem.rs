//! What is wrong in a folder, said so that the person who wrote it can put it right.

use crate::document::Spot;
use crate::near::Budget;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, or the folder if no single file is to blame.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: Option<usize>,
    /// Characters, counted from 1.
    pub column: Option<usize>,
    pub what: String,
    /// What to write instead, if that can be guessed.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.what)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; help: {help}"))
    }
}

impl std::error::Error for Problem {}

/// A resolved [`Spot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(crate) fn problem(&self, what: String, help: Option<String>) -> Problem {
        Problem { file: self.file.clone(), line: Some(self.line), column: Some(self.column), what, help }
    }
}

/// A file's name and where its lines begin.
#[derive(Debug)]
pub(crate) struct FileMap {
    path: PathBuf,
    text: String,
    line_starts: Vec<usize>,
}

impl FileMap {
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        Self { path, text, line_starts }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        Place { file: self.path.clone(), line, column: before.chars().count() + 1 }
    }
}

/// Collects problems while a folder is read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    files: Vec<FileMap>,
    list: RefCell<Vec<Problem>>,
    /// Files that are not TOML from some place on. What else seems wrong in them may only be hidden by that.
    unsound: RefCell<BTreeSet<usize>>,
    pub suggestions: Budget,
}

impl Problems {
    pub(crate) fn new(files: Vec<FileMap>, list: Vec<Problem>) -> Self {
        Self { files, list: RefCell::new(list), unsound: RefCell::default(), suggestions: Budget::default() }
    }

    pub(crate) fn files(&self) -> &[FileMap] {
        &self.files
    }

    pub(crate) fn place(&self, spot: Spot) -> Option<Place> {
        self.files.get(spot.file).map(|file| file.place(spot.offset))
    }

    /// `catalog/a.toml:3`, for a message about another place.
    pub(crate) fn place_text(&self, spot: Spot) -> String {
        self.place(spot).map_or_else(String::new, |p| format!("{}:{}", p.file.display(), p.line))
    }

    /// Says that a file is not TOML. From here on nothing else is said about it.
    pub(crate) fn add_unsound(&self, spot: Spot, what: String) {
        if let Some(place) = self.place(spot) {
            self.list.borrow_mut().push(place.problem(what, None));
            self.unsound.borrow_mut().insert(spot.file);
        }
    }

    pub(crate) fn add(&self, spot: Spot, what: impl Into<String>, help: Option<String>) {
        if self.unsound.borrow().contains(&spot.file) {
            return;
        }
        if let Some(place) = self.place(spot) {
            self.list.borrow_mut().push(place.problem(what.into(), help));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// In reading order: by file, then line.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        sort(&mut list);
        // A table that is none is met by everybody who looks for it.
        list.dedup();
        list
    }
}

pub(crate) fn sort(list: &mut [Problem]) {
    list.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
}
