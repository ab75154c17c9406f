//! Collecting findings: bounded in number, files that lack side by side told in one.

use crate::report::Finding;
use crate::verdict::{Point, Points};
use std::ops::{Deref, DerefMut, Range};
use tlog::tile::{Kind, TilePath};

/// More than this nobody reads; a hostile log could have one per entry.
const LISTED_MAX: usize = 1000;
/// Text out of the log is shown up to this many characters.
const SHOWN_CHARS_MAX: usize = 200;
/// And a finding as a whole, which says what to do in the end.
const WORDS_CHARS_MAX: usize = 800;

#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    left_off: u64,
    missing: Vec<MissingFiles>,
    /// The check that what comes next belongs to.
    check: Point,
    failed: Points,
}

/// The same findings while one check is made: what is added belongs to that.
#[derive(Debug)]
pub struct Of<'f> {
    findings: &'f mut Findings,
    before: Point,
}

impl Deref for Of<'_> {
    type Target = Findings;

    fn deref(&self) -> &Findings {
        self.findings
    }
}

impl DerefMut for Of<'_> {
    fn deref_mut(&mut self) -> &mut Findings {
        self.findings
    }
}

impl Drop for Of<'_> {
    fn drop(&mut self) {
        self.findings.check = self.before;
    }
}

/// Neighbouring files of one kind that are not there.
#[derive(Debug)]
struct MissingFiles {
    first: TilePath,
    last: TilePath,
    entries: Range<u64>,
}

impl Findings {
    /// For what belongs to this check, until it is dropped.
    pub fn of(&mut self, check: Point) -> Of<'_> {
        let before = std::mem::replace(&mut self.check, check);
        Of { findings: self, before }
    }

    /// The check has failed, as a finding of another one tells.
    pub fn fail(&mut self, check: Point) {
        self.failed.insert(check);
    }

    /// The checks that something was found against, listed or not.
    pub fn failed(&self) -> Points {
        self.failed
    }

    /// `entries` is a range of indexes; an empty one stands for no entry at all. The same of the next entry is one finding.
    pub fn add(&mut self, entries: Range<u64>, what: impl AsRef<str>) {
        let (check, what) = (self.check, worded(what.as_ref()));
        self.failed.insert(check);
        let entries =
            entries.end.checked_sub(1).filter(|last| *last >= entries.start).map(|last| (entries.start, last));
        if let (Some((first, last)), Some(Finding { check: of, what: before, entries: Some(listed) })) =
            (entries, self.list.last_mut())
            && listed.1.checked_add(1) == Some(first)
            && *before == what
            && *of == check
        {
            listed.1 = last;
        } else if self.is_full() {
            self.left_off += 1;
        } else {
            self.list.push(Finding { check, what, entries });
        }
    }

    pub fn missing(&mut self, file: TilePath, entries: Range<u64>) {
        self.failed.insert(check_of(file));
        let full = self.missing.len() >= LISTED_MAX;
        let run = self.missing.iter_mut().find(|run| run.last.kind == file.kind && run.entries.end == entries.start);
        match run {
            Some(run) => (run.last, run.entries.end) = (file, entries.end),
            None if !full => self.missing.push(MissingFiles { first: file, last: file, entries }),
            None => self.left_off += 1,
        }
    }

    /// Whether further findings are only counted.
    pub fn is_full(&self) -> bool {
        self.list.len() >= LISTED_MAX
    }

    /// The findings in the order of their entries, those without first; and how many are not listed.
    pub fn finish(mut self) -> (Vec<Finding>, u64) {
        for run in std::mem::take(&mut self.missing) {
            self.of(check_of(run.first)).add(run.entries.clone(), run.what());
        }
        self.list.sort_by_key(|finding| finding.entries);
        (self.list, self.left_off)
    }
}

/// Which check lacks a file.
fn check_of(file: TilePath) -> Point {
    match file.kind {
        Kind::Entries => Point::EntriesPresent,
        Kind::Tile(_) => Point::Tree,
    }
}

impl MissingFiles {
    fn what(&self) -> String {
        let what = match self.first.kind {
            Kind::Entries => "entry bundle",
            Kind::Tile(_) => "hash tile",
        };
        if self.first == self.last {
            return format!("{what} `{}` is missing", self.first.to_path());
        }
        format!("{what}s `{}` to `{}` are missing", self.first.to_path(), self.last.to_path())
    }
}

/// Text from a log on its way to a terminal: no control characters, nothing that ends a line, hides, or turns the order of what
/// stands around it.
pub fn printed(text: &str) -> String {
    text.chars().map(|c| if is_tame(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// JSON on its way to a terminal: the same characters, written so that they do nothing there. They stand in strings alone.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_tame(c) {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

fn is_tame(c: char) -> bool {
    !c.is_control() && !is_unseen(c)
}

/// Characters without a shape of their own: of direction, joiners, separators of lines, tags.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same, and no novels.
pub fn printable(text: &str) -> String {
    cut(text, SHOWN_CHARS_MAX)
}

/// The same of a whole sentence of ours, with what it cites.
pub fn worded(text: &str) -> String {
    cut(text, WORDS_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut shown = printed(&text.chars().take(chars_max).collect::<String>());
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_files_are_one_finding() {
        let mut findings = Findings::default();
        let file = |index| TilePath { kind: Kind::Entries, index, width: 256 };
        findings.add(3..4, "x");
        [0, 1, 2, 5].into_iter().for_each(|i| findings.missing(file(i), file(i).entries()));
        let listed: Vec<_> = findings.finish().0.iter().map(ToString::to_string).collect();
        assert_eq!(
            listed,
            [
                "entries 0 to 767: entry bundles `tile/entries/000` to `tile/entries/002` are missing",
                "entry 3: x",
                "entries 1280 to 1535: entry bundle `tile/entries/005` is missing",
            ]
        );
    }

    #[test]
    fn the_same_of_neighbouring_entries_is_one_finding() {
        let mut findings = Findings::default();
        [(3, "x"), (4, "x"), (5, "y"), (7, "y")].into_iter().for_each(|(at, what)| findings.add(at..at + 1, what));
        let listed: Vec<_> = findings.finish().0.iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["entries 3 to 4: x", "entry 5: y", "entry 7: y"]);
    }

    #[test]
    fn what_is_found_belongs_to_the_check_that_was_made() {
        let mut findings = Findings::default();
        findings.of(Point::Keys).of(Point::Tree).add(3..4, "x");
        findings.of(Point::Keys).add(4..5, "x");
        findings.add(5..6, "x");
        (0..1_000).for_each(|i| findings.add(10 + 2 * i..11 + 2 * i, "x"));
        findings.of(Point::Outcomes).add(0..0, "left off");
        findings.missing(TilePath { kind: Kind::Entries, index: 0, width: 256 }, 0..256);
        let failed = findings.failed();
        for (point, has) in [
            (Point::Tree, true),
            (Point::Keys, true),
            (Point::EntryForm, true),
            (Point::Outcomes, true),
            (Point::EntriesPresent, true),
            (Point::Pruning, false),
        ] {
            assert_eq!(failed.has(point), has, "{point:?}");
        }
        let (listed, _) = findings.finish();
        let first: Vec<Point> = listed.iter().take(3).map(|finding| finding.check).collect();
        assert_eq!(first, [Point::Tree, Point::Keys, Point::EntryForm]);
    }

    #[test]
    fn text_of_a_hostile_log_is_tamed() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printed("a\u{202e}b\u{2028}c\u{200b}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(printed("Prüfer – 検査 …"), "Prüfer – 検査 …");
        assert_eq!(printable(&"x".repeat(300)).chars().count(), SHOWN_CHARS_MAX + 1);
        let hostile = serde_json::json!({ "a\u{9b}2J": "b\n\u{202e}c\u{e0041}ü" });
        let text = escaped(&hostile.to_string());
        assert_eq!(text, "{\"a\\u009b2J\":\"b\\n\\u202ec\\udb40\\udc41ü\"}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), hostile);
        let mut findings = Findings::default();
        findings.add(0..0, "x".repeat(10_000));
        assert_eq!(findings.finish().0[0].what.chars().count(), WORDS_CHARS_MAX + 1);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut findings = Findings::default();
        (0..1500).for_each(|i| findings.add(2 * i..2 * i + 1, "x"));
        (0..9).for_each(|i| findings.add(2999 + i..3000 + i, "y"));
        let (listed, left_off) = findings.finish();
        assert_eq!((listed.len(), left_off), (LISTED_MAX, 509));
    }
}
