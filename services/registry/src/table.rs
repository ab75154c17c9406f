//! One table under the reader's eye: every key is asked for by name and type, and what nobody asked for is an error.

use crate::document::{Entry, Node, Spot, Val};
use crate::merge::Merged;
use crate::near;
use crate::problem::Problems;
use model::Timestamp;
use model::time::{format_duration_ms, parse_duration_ms};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// ``source `historian` ``, for messages.
    pub what: String,
    pub spot: Spot,
    entries: &'a [Entry],
    asked: RefCell<BTreeSet<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Table<'a> {
    pub(crate) fn new(what: String, spot: Spot, entries: &'a [Entry], problems: &'a Problems) -> Self {
        Self { what, spot, entries, asked: RefCell::default(), problems }
    }

    /// `None`, and a problem, if the entry is no table.
    pub(crate) fn of(what: String, entry: &'a Entry, problems: &'a Problems) -> Option<Self> {
        match &entry.node.value {
            Val::Table(entries) => Some(Self::new(what, entry.spot, entries, problems)),
            other => {
                problems.add(entry.node.spot, format!("{what} is {}, not a table", other.kind()), None);
                None
            }
        }
    }

    pub(crate) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Entry> {
        self.asked.borrow_mut().insert(key);
        self.entries.iter().find(|e| e.key == key)
    }

    /// Where `key` stands, or the table if it does not.
    pub(crate) fn spot_of(&self, key: &'static str) -> Spot {
        self.get(key).map_or(self.spot, |e| e.node.spot)
    }

    pub(crate) fn problem(&self, spot: Spot, what: impl Into<String>, help: Option<String>) {
        self.problems.add(spot, what, help);
    }

    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// A problem at `key` (or at the table), with help.
    pub(crate) fn wrong(&self, key: &'static str, what: impl Into<String>, help: impl Into<String>) {
        self.problems.add(self.spot_of(key), what, Some(help.into()));
    }

    pub(crate) fn missing(&self, key: &'static str, example: &str) {
        let what = format!("{} has no `{key}`", self.what);
        self.problems.add(self.spot, what, Some(format!("add `{key} = {example}`")));
    }

    fn mistyped(&self, entry: &Entry, wanted: &str, example: &str) {
        let what = format!("`{}` of {} is {}, not {wanted}", entry.key, self.what, entry.node.value.kind());
        self.problems.add(entry.node.spot, what, Some(format!("write `{} = {example}`", entry.key)));
    }

    /// Text that is not empty and has no control characters: it ends up in messages, logs and requests.
    pub(crate) fn text(&self, key: &'static str) -> Option<&'a str> {
        let entry = self.get(key)?;
        let Val::Text(text) = &entry.node.value else {
            self.mistyped(entry, "text", "\"…\"");
            return None;
        };
        if text.is_empty() || text.chars().any(char::is_control) {
            let what = format!("`{key}` of {} is empty or has control characters", self.what);
            self.problem(entry.node.spot, what, None);
            return None;
        }
        Some(text)
    }

    /// As [`Self::text`], of several lines.
    pub(crate) fn required_lines(&self, key: &'static str) -> Option<&'a str> {
        let Some(entry) = self.get(key) else {
            self.missing(key, "\"…\"");
            return None;
        };
        match &entry.node.value {
            Val::Text(text)
                if !text.trim().is_empty()
                    && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) =>
            {
                Some(text)
            }
            Val::Text(_) => {
                self.wrong(key, format!("`{key}` of {} is empty or has control characters", self.what), "write text");
                None
            }
            other => {
                self.wrong(key, format!("`{key}` of {} is {}", self.what, other.kind()), "write text in quotes");
                None
            }
        }
    }

    pub(crate) fn required_text(&self, key: &'static str) -> Option<&'a str> {
        if self.get(key).is_none() {
            self.missing(key, "\"…\"");
        }
        self.text(key)
    }

    /// Text in the spelling of `T`.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        let text = self.text(key)?;
        self.parse_at(self.spot_of(key), text)
    }

    fn parse_at<T: FromStr<Err: Display>>(&self, spot: Spot, text: &str) -> Option<T> {
        text.parse().map_err(|e: T::Err| self.problem(spot, e.to_string(), None)).ok()
    }

    /// The id of one of the tables `[kind.…]` of this folder.
    pub(crate) fn reference<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
        kind: &str,
        merged: &Merged<'_>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let id = self.parse_at(self.spot_of(key), text)?;
        self.known(text, self.spot_of(key), kind, merged);
        Some(id)
    }

    pub(crate) fn required_reference<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
        kind: &str,
        merged: &Merged<'_>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            self.missing(key, "\"…\"");
        }
        self.reference(key, kind, merged)
    }

    /// A problem if there is no `[kind.id]`. Silent while some file could not be read to its end.
    pub(crate) fn known(&self, id: &str, spot: Spot, kind: &str, merged: &Merged<'_>) {
        if merged.complete && !merged.knows(kind, id) {
            let what = format!("{} names the unknown {} `{id}`", self.what, kind.replace('_', " "));
            self.problem(spot, what, self.problems.suggestions.help(id, merged.ids(kind)));
        }
    }

    /// One word of a closed list.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let what = format!("`{key}` of {} is `{text}`", self.what);
            self.problem(self.spot_of(key), what, near::help(text, words.iter().map(|(w, _)| *w)));
        }
        found
    }

    pub(crate) fn required_word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        if self.get(key).is_none() {
            let known = near::list(&words.iter().map(|(w, _)| *w).collect::<Vec<_>>());
            self.problem(self.spot, format!("{} has no `{key}`", self.what), Some(format!("it is one of {known}")));
        }
        self.word(key, words)
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let entry = self.get(key)?;
        if let Val::Boolean(b) = entry.node.value {
            return Some(b);
        }
        self.mistyped(entry, "true or false", "true");
        None
    }

    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.get(key)?;
        let Val::Integer(n) = entry.node.value else {
            self.mistyped(entry, "an integer", &range.start().to_string());
            return None;
        };
        if !range.contains(&n) {
            let what = format!("`{key}` of {} is {n}", self.what);
            self.problem(entry.node.spot, what, Some(format!("use {} to {}", range.start(), range.end())));
            return None;
        }
        Some(n)
    }

    /// Milliseconds.
    pub(crate) fn duration(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.text(key)?;
        let spot = self.spot_of(key);
        let Some(ms) = parse_duration_ms(text) else {
            let help = "one number and one unit: `250ms`, `10s`, `5m`, `12h`, `30d`";
            self.problem(spot, format!("`{key}` of {} is `{text}`, not a duration", self.what), Some(help.into()));
            return None;
        };
        if !range.contains(&ms) {
            let bounds = [format_duration_ms(*range.start()), format_duration_ms(*range.end())];
            let help = format!("use {} to {}", bounds[0], bounds[1]);
            self.problem(spot, format!("`{key}` of {} is `{text}`", self.what), Some(help));
            return None;
        }
        Some(ms)
    }

    /// RFC 3339 with offset, as text or as TOML's own date-time.
    pub(crate) fn timestamp(&self, key: &'static str) -> Option<Timestamp> {
        let entry = self.get(key)?;
        let (Val::Text(text) | Val::Time(text)) = &entry.node.value else {
            self.mistyped(entry, "a time", "2026-01-01T00:00:00Z");
            return None;
        };
        let time = Timestamp::parse_rfc3339(text);
        if time.is_none() {
            let help = "a time has a date and an offset: `2026-01-01T00:00:00Z`, `2026-01-01T00:00:00+01:00`";
            let what = format!("`{key}` of {} is `{text}`, which is not one moment", self.what);
            self.problem(entry.node.spot, what, Some(help.into()));
        }
        time
    }

    /// A list of texts with their places; empty if the key is absent.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<(&'a str, Spot)> {
        let Some(entry) = self.get(key) else { return Vec::new() };
        let Val::Array(items) = &entry.node.value else {
            self.mistyped(entry, "a list", "[\"…\"]");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.text_item(key, item)).collect()
    }

    fn text_item(&self, key: &str, item: &'a Node) -> Option<(&'a str, Spot)> {
        match &item.value {
            Val::Text(text) if !text.is_empty() && !text.chars().any(char::is_control) => Some((text, item.spot)),
            Val::Text(_) => {
                let what = format!("`{key}` of {} holds an empty text or control characters", self.what);
                self.problem(item.spot, what, None);
                None
            }
            other => {
                let what = format!("`{key}` of {} holds {}, not text", self.what, other.kind());
                self.problem(item.spot, what, None);
                None
            }
        }
    }

    /// A list of texts in the spelling of `T`, each once.
    pub(crate) fn parsed_list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Vec<(T, Spot)> {
        let mut list: Vec<(T, Spot)> = Vec::new();
        let mut seen = BTreeSet::new();
        for (text, spot) in self.texts(key) {
            let Some(value) = self.parse_at(spot, text) else { continue };
            // What is read this way has one spelling.
            if !seen.insert(text) {
                self.problem(spot, format!("`{key}` of {} names `{text}` twice", self.what), None);
                continue;
            }
            list.push((value, spot));
        }
        list
    }

    /// A list of ids of tables `[kind.…]` of this folder.
    pub(crate) fn references<T>(&self, key: &'static str, kind: &str, merged: &Merged<'_>) -> Vec<T>
    where
        T: FromStr<Err: Display> + AsRef<str>,
    {
        let list: Vec<(T, Spot)> = self.parsed_list(key);
        list.into_iter()
            .map(|(id, spot)| {
                self.known(id.as_ref(), spot, kind, merged);
                id
            })
            .collect()
    }

    pub(crate) fn required_list(&self, key: &'static str) {
        match self.get(key).map(|e| &e.node.value) {
            None => self.missing(key, "[\"…\"]"),
            Some(Val::Array(items)) if items.is_empty() => {
                self.wrong(
                    key,
                    format!("`{key}` of {} is an empty list", self.what),
                    format!("write `{key} = [\"…\"]`"),
                );
            }
            Some(_) => {}
        }
    }

    pub(crate) fn table(&self, key: &'static str) -> Option<Self> {
        Self::of(format!("`{key}` of {}", self.what), self.get(key)?, self.problems)
    }

    /// Names every key that nobody asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.into_inner();
        for entry in self.entries.iter().filter(|e| !asked.contains(e.key.as_str())) {
            let what = format!("{} has the unknown key `{}`", self.what, entry.key);
            self.problems.add(entry.spot, what, near::help(&entry.key, asked.iter().copied()));
        }
    }
}
