//! What is wrong in a configuration file, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One problem, printed as `millgate.toml:3:1: unknown key `lisen`; did you mean `listen`?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// Line and column, counted from 1, columns in characters; absent when the file as a whole is meant.
    pub at: Option<(usize, usize)>,
    pub what: String,
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.what)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

impl std::error::Error for Problem {}

/// Collects problems of one file in the order of their places.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<(usize, Problem)>,
}

impl<'a> Problems<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub fn add(&mut self, span: &Range<usize>, what: impl Into<String>, help: Option<String>) {
        let at = Some(line_and_column(self.text, span.start));
        self.found.push((span.start, Problem { file: self.file.to_owned(), at, what: what.into(), help }));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The known name that `name` probably meant: within a third of its length in edits.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, k)| *distance <= name.len().max(k.len()).div_ceil(3))
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\nä = 2\r\nb = 3";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find("= 2").unwrap()), (2, 3));
        assert_eq!(line_and_column(text, text.find('3').unwrap()), (3, 5));
        assert_eq!(line_and_column(text, 10_000), (3, 6));
    }

    #[test]
    fn a_suggestion_is_near_or_absent() {
        let known = ["listen", "tls", "folders", "audit"];
        assert_eq!(nearest("lisen", known.into_iter()), Some("listen"));
        assert_eq!(nearest("tsl", known.into_iter()), Some("tls"));
        assert_eq!(nearest("database", known.into_iter()), None);
    }

    #[test]
    fn a_file_without_a_place_prints_without_one() {
        let problem = Problem { file: "m.toml".into(), at: None, what: "cannot be read".into(), help: None };
        assert_eq!(problem.to_string(), "m.toml: cannot be read");
    }
}
