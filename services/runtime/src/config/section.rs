//! Reads one `[section]` key by key, remembers which keys were asked for, and reports the others as unknown.
//!
//! A value that is missing or wrong becomes a problem and the reading goes on, so that one run shows everything.

use super::problem::{Problems, nearest};
use model::party::SecretRef;
use model::url::{DatabaseUrl, InvalidUrl};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) struct Section<'a, 'p, 'f> {
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
    /// Of the `[section]` header, or the file's beginning if there is none.
    span: Range<usize>,
    asked: Vec<&'static str>,
    problems: &'p mut Problems<'f>,
    /// Relative paths begin here.
    base: &'f Path,
}

type Item<'a> = &'a Spanned<DeValue<'a>>;

impl<'a, 'p, 'f> Section<'a, 'p, 'f> {
    pub fn open(root: &'a DeTable<'a>, name: &'static str, problems: &'p mut Problems<'f>, base: &'f Path) -> Self {
        let entry = root.get_key_value(name);
        let table = entry.and_then(|(_, value)| value.get_ref().as_table());
        let span = entry.map_or(0..0, |(key, _)| key.span());
        if let Some((_, value)) = entry.filter(|_| table.is_none()) {
            let found = value.get_ref().type_str();
            problems.add(&span, format!("`{name}` is a {found}"), Some(format!("make it a section, `[{name}]`")));
        }
        Self { name, table, span, asked: Vec::new(), problems, base }
    }

    /// The table under `key`, as a section of its own.
    pub fn within<'s>(&'s mut self, key: &'static str, name: &'static str) -> Section<'a, 's, 'f> {
        self.asked.push(key);
        let entry = self.table.and_then(|table| table.get_key_value(key));
        let table = entry.and_then(|(_, value)| value.get_ref().as_table());
        let span = entry.map_or_else(|| self.span.clone(), |(key, _)| key.span());
        if let Some((_, value)) = entry.filter(|_| table.is_none()) {
            let found = value.get_ref().type_str();
            self.problems.add(&span, format!("`{name}` is a {found}"), Some(format!("make it a section, `[{name}]`")));
        }
        Section { name, table, span, asked: Vec::new(), problems: self.problems, base: self.base }
    }

    /// Reports every key that nobody asked for.
    pub fn close(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let key_text = key.get_ref().as_ref();
            if !self.asked.contains(&key_text) {
                let known = self.asked.iter().copied();
                self.problems.add(&key.span(), format!("unknown key `{key_text}` in `[{}]`", self.name), {
                    nearest(key_text, known.clone()).map(|k| format!("did you mean `{k}`?")).or_else(|| {
                        let names: Vec<_> = known.map(|k| format!("`{k}`")).collect();
                        Some(format!("known keys are {}", names.join(", ")))
                    })
                });
            }
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// Reports a problem of a key's value, or of the section if the key is absent.
    pub fn problem(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        let span = self.table.and_then(|t| t.get(key)).map_or_else(|| self.span.clone(), Spanned::span);
        self.problems.add(&span, what, Some(help.into()));
    }

    /// Reports a required key that is not there. `help` shows how to write it.
    pub fn missing(&mut self, key: &str, help: &str) {
        let what = format!("`[{}]` needs `{key}`", self.name);
        self.problems.add(&self.span, what, Some(help.to_owned()));
    }

    fn ask(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        self.table.and_then(|t| t.get(key))
    }

    fn wrong(&mut self, key: &str, item: Item<'_>, expected: &str) {
        let (span, value) = (item.span(), spelling(item.get_ref()));
        self.problems.add(&span, format!("`{key}` is {value}"), Some(format!("write {expected}")));
    }

    pub fn text(&mut self, key: &'static str, expected: &str) -> Option<&'a str> {
        let item = self.ask(key)?;
        let text = item.get_ref().as_str().filter(|t| !t.is_empty());
        if text.is_none() {
            self.wrong(key, item, expected);
        }
        text
    }

    /// A text that `parse` understands. `None` when absent or wrong.
    pub fn parsed<T>(&mut self, key: &'static str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let item = self.ask(key)?;
        let value = item.get_ref().as_str().and_then(parse);
        if value.is_none() {
            self.wrong(key, item, expected);
        }
        value
    }

    /// One text or a list of them, each of which `parse` understands, none twice. Empty when absent or wrong.
    pub fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some(item) = self.ask(key) else { return Vec::new() };
        let items: Vec<Item<'a>> = item.get_ref().as_array().map_or_else(|| vec![item], |list| list.iter().collect());
        let mut values = Vec::new();
        for item in items {
            match item.get_ref().as_str().and_then(&parse) {
                Some(value) if values.contains(&value) => {
                    let what = format!("`{key}` names {} twice", spelling(item.get_ref()));
                    self.problems.add(&item.span(), what, Some("remove one".into()));
                }
                Some(value) => values.push(value),
                None => self.wrong(key, item, expected),
            }
        }
        values
    }

    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(item) = self.ask(key) else { return default };
        item.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong(key, item, "`true` or `false`");
            default
        })
    }

    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(item) = self.ask(key) else { return default };
        let value = integer_of(item.get_ref()).and_then(|n| T::try_from(n).ok());
        value.filter(|n| range.contains(n)).unwrap_or_else(|| {
            self.wrong(key, item, &format!("a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    /// A size in bytes: a number, or a text such as `"16KiB"`.
    pub fn bytes(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(item) = self.ask(key) else { return default };
        let value = match item.get_ref() {
            DeValue::String(text) => parse_bytes(text),
            other => integer_of(other).and_then(|n| u64::try_from(n).ok()),
        };
        value.filter(|n| range.contains(n)).unwrap_or_else(|| {
            let (low, high) = (format_bytes(*range.start()), format_bytes(*range.end()));
            self.wrong(key, item, &format!("a size from {low} to {high}, such as `\"16KiB\"` or a number of bytes"));
            default
        })
    }

    /// A duration, or the text `off`, which is none.
    pub fn duration_or_off(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let Some(item) = self.ask(key) else { return default };
        let text = item.get_ref().as_str();
        if text == Some("off") {
            return None;
        }
        let value = text.and_then(parse_duration).filter(|d| range.contains(d));
        if value.is_none() {
            let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
            self.wrong(key, item, &format!("a duration from {low} to {high}, such as `\"12h\"`, or `\"off\"`"));
        }
        value.or(default)
    }

    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>, default: Duration) -> Duration {
        let Some(item) = self.ask(key) else { return default };
        let value = item.get_ref().as_str().and_then(parse_duration);
        value.filter(|d| range.contains(d)).unwrap_or_else(|| {
            let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
            self.wrong(
                key,
                item,
                &format!("a duration from {low} to {high}, such as `\"250ms\"`, `\"10s\"` or `\"5m\"`"),
            );
            default
        })
    }

    /// A number from 0 to 1.
    pub fn ratio(&mut self, key: &'static str, default: f64) -> f64 {
        let Some(item) = self.ask(key) else { return default };
        let value = match item.get_ref() {
            DeValue::Float(f) => f.as_str().parse().ok(),
            DeValue::Integer(n) => n.as_str().parse().ok(),
            _ => None,
        };
        value.filter(|r| (0.0..=1.0).contains(r)).unwrap_or_else(|| {
            self.wrong(key, item, "a number from 0.0 to 1.0");
            default
        })
    }

    /// A path, relative to the configuration file.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, "a path, relative to this file or absolute").map(|text| self.base.join(text))
    }

    /// A table within this one, by its whole name. `None` when absent or something else.
    pub fn optional_table<'s>(&'s mut self, key: &'static str, name: &'static str) -> Option<Section<'a, 's, 'f>> {
        let item = self.ask(key)?;
        let span = item.span();
        let Some(table) = item.get_ref().as_table() else {
            let found = item.get_ref().type_str();
            self.problems.add(&span, format!("`{key}` is a {found}"), Some(format!("make it a section, `[{name}]`")));
            return None;
        };
        Some(Section { name, table: Some(table), span, asked: Vec::new(), problems: self.problems, base: self.base })
    }

    /// The address of a database. What is wrong is not repeated: it may hold a password.
    pub fn address(&mut self, key: &'static str) -> Option<DatabaseUrl> {
        let help = "write `postgresql://HOST:PORT/DATABASE`";
        let text = self.text(key, help)?;
        let wrong = |e: InvalidUrl| match e {
            InvalidUrl::Scheme => String::from("does not begin with `postgresql://`"),
            e => e.to_string(),
        };
        text.parse().map_err(|e| self.problem(key, format!("`{key}` {}", wrong(e)), help)).ok()
    }

    /// Where a secret is. One that is written here is refused and not repeated.
    pub fn secret(&mut self, key: &'static str) -> Option<SecretRef> {
        let item = self.ask(key)?;
        let help = format!("write `{key} = {{ file = \"…\" }}` or `{key} = {{ env = \"NAME\" }}`");
        let Some(table) = item.get_ref().as_table() else {
            self.problem(key, format!("`{key}` is written inline"), format!("put it in a file, and {help}"));
            return None;
        };
        let entries: Vec<_> =
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref().as_str())).collect();
        match entries.as_slice() {
            [("file", Some(file))] if !file.is_empty() => Some(SecretRef::File(self.base.join(file))),
            [("env", Some(name))] if !name.is_empty() => Some(SecretRef::Environment((*name).to_owned())),
            _ => {
                self.problem(key, format!("`{key}` names not one place"), help);
                None
            }
        }
    }

    /// A list of paths; empty if the key is absent.
    pub fn paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let Some(item) = self.ask(key) else { return Vec::new() };
        let texts = item.get_ref().as_array().map(|list| list.iter().map(|e| e.get_ref().as_str()).collect::<Vec<_>>());
        let texts: Option<Vec<_>> = texts.and_then(|t| t.into_iter().map(|t| t.filter(|t| !t.is_empty())).collect());
        let Some(texts) = texts else {
            self.wrong(key, item, "a list of paths, relative to this file or absolute");
            return Vec::new();
        };
        texts.into_iter().map(|t| self.base.join(t)).collect()
    }

    /// A path to a file that is there.
    pub fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.existing(key, path, "file", Path::is_file)
    }

    /// A path to a folder that is there.
    pub fn folder(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.existing(key, path, "folder", Path::is_dir)
    }

    /// One folder or a list of them, each there, none twice.
    pub fn folders(&mut self, key: &'static str) -> Option<Vec<PathBuf>> {
        let item = self.table.and_then(|t| t.get(key));
        let Some(list) = item.and_then(|i| i.get_ref().as_array()) else {
            return self.folder(key).map(|f| vec![f]);
        };
        self.asked.push(key);
        let mut folders = Vec::new();
        for entry in list.iter() {
            let Some(text) = entry.get_ref().as_str().filter(|t| !t.is_empty()) else {
                self.wrong(key, entry, "a path, relative to this file or absolute");
                continue;
            };
            let folder = self.base.join(text);
            if folders.contains(&folder) {
                self.problems.add(&entry.span(), format!("`{key}` names `{text}` twice"), Some("remove one".into()));
            } else if folder.is_dir() {
                folders.push(folder);
            } else {
                self.absent(&entry.span(), &folder, "folder");
            }
        }
        (folders.len() == list.len() && !folders.is_empty()).then_some(folders).or_else(|| {
            if list.is_empty() {
                self.problem(key, format!("`{key}` is empty"), "name at least one folder");
            }
            None
        })
    }

    fn existing(&mut self, key: &str, path: PathBuf, kind: &str, is: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        if is(&path) {
            return Some(path);
        }
        let span = self.table.and_then(|t| t.get(key)).map_or_else(|| self.span.clone(), Spanned::span);
        self.absent(&span, &path, kind);
        None
    }

    fn absent(&mut self, span: &Range<usize>, path: &Path, kind: &str) {
        let what = if path.exists() { format!("is not a {kind}") } else { String::from("does not exist") };
        let help = format!("name a {kind} that this process can read; relative paths begin at this file");
        self.problems.add(span, format!("`{}` {what}", path.display()), Some(help));
    }
}

/// The value as a person would quote it, short.
fn spelling(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("`\"{}\"`", text.chars().take(60).collect::<String>()),
        DeValue::Integer(n) => format!("`{n}`"),
        DeValue::Float(f) => format!("`{f}`"),
        DeValue::Boolean(b) => format!("`{b}`"),
        other => format!("a value of type {}", other.type_str()),
    }
}

fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
}

fn parse_duration(text: &str) -> Option<Duration> {
    let ms = model::time::parse_duration_ms(text)?;
    u64::try_from(ms).ok().map(Duration::from_millis)
}

fn format_duration(duration: Duration) -> String {
    model::time::format_duration_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

const BYTE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads `16KiB`, `1 MiB`, `512B`. Decimal units are refused: nobody agrees on what they mean.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let scale = BYTE_UNITS.iter().chain(&[("B", 1)]).find(|(name, _)| *name == unit).map(|(_, scale)| scale)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn format_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, scale)| format!("{} {name}", bytes / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_number_and_a_binary_unit() {
        assert_eq!(parse_bytes("16KiB"), Some(16_384));
        assert_eq!(parse_bytes("1 MiB"), Some(1 << 20));
        assert_eq!(parse_bytes("512B"), Some(512));
        for bad in [
            "",
            "KiB",
            "16",
            "16KB",
            "16kib",
            "-1B",
            "1.5MiB",
            "16  KiB",
            "99999999999999999999B",
            "18446744073709551615KiB",
        ] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert_eq!(format_bytes(16_384), "16 KiB");
        assert_eq!(format_bytes(1_000), "1000 bytes");
        assert_eq!(format_bytes(0), "0 bytes");
    }
}
