//! The matrix for people: callers, purposes and data that are treated alike stand together.

use super::changes::join;
use super::{Cell, Extent, Key, Matrix, Who};
use model::Action;
use model::time::format_duration_ms;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

const WIDTH: usize = 120;

/// What is decided of what, in words.
type Decided<'m> = BTreeMap<Heading<'m>, BTreeMap<String, &'m Cell>>;

/// For what something is asked. The audit log is asked for nothing in particular.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heading<'m> {
    Data { names: Option<&'m str>, purpose: Option<&'m str> },
    Audit,
    Erasing,
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What is decided for whom at {}, with a plain login and nobody acting for the caller.", self.at)?;
        let mut by_caller: BTreeMap<&Who, Decided<'_>> = BTreeMap::new();
        for (key, cell) in &self.cells {
            by_caller.entry(&key.who).or_default().entry(key.heading()).or_default().insert(key.what(), cell);
        }
        for (who, decided) in alike(by_caller) {
            write!(f, "\n{}", wrapped(&join(who.into_iter().map(ToString::to_string)), 0, 4))?;
            headings(f, decided)?;
        }
        Ok(())
    }
}

/// Keys of equal values together, in the order of the first of each.
fn alike<K, V: PartialEq>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(Vec<K>, V)> {
    let mut groups: Vec<(Vec<K>, V)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(_, of)| *of == value) {
            Some((keys, _)) => keys.push(key),
            None => groups.push((vec![key], value)),
        }
    }
    groups
}

fn headings(f: &mut fmt::Formatter<'_>, decided: Decided<'_>) -> fmt::Result {
    let purposes = decided.keys().filter(|heading| matches!(heading, Heading::Data { names: None, .. })).count();
    let mut groups = alike(decided);
    // What is permitted first.
    groups.sort_by_key(|(_, cells)| cells.values().map(|cell| cell.order()).min());
    for (headings, cells) in groups {
        f.write_str(&wrapped(&title(&headings, purposes), 2, 4))?;
        let mut by_cell: BTreeMap<(u8, &Cell), BTreeSet<&str>> = BTreeMap::new();
        for (resource, cell) in &cells {
            by_cell.entry((cell.order(), cell)).or_default().insert(resource);
        }
        for ((_, cell), resources) in by_cell {
            let resources = match resources.len() == cells.len() && cells.len() > 1 {
                true => String::from("everything"),
                false => join(resources.into_iter().map(str::to_owned)),
            };
            let mut words = cell.words();
            if headings.contains(&Heading::Erasing) {
                words = words.replacen("sees", "may", 1);
            }
            f.write_str(&wrapped(&format!("{words}: {resources}"), 4, 8))?;
        }
    }
    Ok(())
}

/// `all` is how many there are without those under a named agreement.
fn title(headings: &[Heading<'_>], all: usize) -> String {
    if headings.len() == all && all > 1 {
        return String::from("for any purpose, or none");
    }
    let mut titles: Vec<String> = headings.iter().map(Heading::to_string).collect();
    titles.sort_by_key(|title| title.starts_with("without"));
    titles.join(", ")
}

impl fmt::Display for Heading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audit => return f.write_str("audit log"),
            Self::Erasing => return f.write_str("erasing of personal values in the audit log"),
            Self::Data { purpose: Some(purpose), .. } => f.write_str(purpose)?,
            Self::Data { purpose: None, .. } => f.write_str("without a purpose")?,
        }
        match self {
            Self::Data { names: Some(agreement), .. } => write!(f, " under {agreement}"),
            _ => Ok(()),
        }
    }
}

/// Lines of at most [`WIDTH`] characters, broken at spaces, each with its line end.
fn wrapped(text: &str, first: usize, others: usize) -> String {
    let mut out = " ".repeat(first);
    let mut used = first;
    for (n, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if n > 0 && used + 1 + width > WIDTH {
            let _ = write!(out, "\n{}", " ".repeat(others));
            used = others;
        } else if n > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += width;
    }
    out.push('\n');
    out
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unlisted, self.service) {
            (false, false) if self.subject.is_empty() => write!(f, "a listed person of {}", self.organisation),
            (false, true) if self.subject.is_empty() => write!(f, "a listed machine of {}", self.organisation),
            (false, _) => write!(f, "{}/{}", self.organisation, self.subject),
            (true, false) => write!(f, "any other person of {}", self.organisation),
            (true, true) => write!(f, "any other machine of {}", self.organisation),
        }
    }
}

impl Key {
    /// What is asked, without the kind where it is clear.
    pub(super) fn what(&self) -> String {
        match self.resource.split_once('/') {
            Some(("AuditScope", "*")) => String::from("all entries"),
            Some(("AuditScope", organisation)) => format!("entries about {organisation}"),
            Some((_, id)) => id.to_owned(),
            None => self.resource.clone(),
        }
    }

    fn heading(&self) -> Heading<'_> {
        match self.action {
            Action::ReadAudit => Heading::Audit,
            Action::EraseAudit => Heading::Erasing,
            _ => Heading::Data { names: self.names.as_deref(), purpose: self.purpose.as_deref() },
        }
    }

    /// For what it is asked.
    pub(super) fn reason(&self) -> String {
        self.heading().to_string()
    }
}

impl Cell {
    fn order(&self) -> u8 {
        match self.decision.as_str() {
            "permit" => 0,
            "deny" => 1,
            _ => 2,
        }
    }

    /// `sees under acme-maintenance-2026, without fields of commercial`.
    pub fn words(&self) -> String {
        match self.decision.as_str() {
            "permit" => self.permitted(),
            "deny" => format!("is refused ({})", self.reasons.join(", ")),
            _ => String::from("is told that there is no such thing"),
        }
    }

    fn permitted(&self) -> String {
        let mut words = String::from("sees");
        if let Some(agreement) = &self.agreement {
            let _ = write!(words, " under {agreement}");
        }
        if !self.classes_hidden.is_empty() {
            let _ = write!(words, ", without fields of {}", self.classes_hidden.join(" and "));
        }
        if self.records_hidden {
            words.push_str(", without the records of others");
        }
        let Extent { resolution_min_ms, window_max_ms, rows_max } = self.extent.unwrap_or_default();
        if let Some(ms) = resolution_min_ms {
            let _ = write!(words, ", one value per {} at the finest", format_duration_ms(ms));
        }
        if let Some(ms) = window_max_ms {
            let _ = write!(words, ", {} at a time", format_duration_ms(ms));
        }
        if let Some(rows) = rows_max {
            let _ = write!(words, ", {rows} rows at the most");
        }
        words
    }
}
