//! All files of a folder as one: tables by kind and id, each id once.

use crate::document::{Entry, Node, Spot, Val, read_toml};
use crate::folder::{FileKind, Folder};
use crate::near;
use crate::problem::Problems;
use crate::sheet::read_signals;
use crate::table::Table;
use std::collections::BTreeMap;

/// The tables of one kind, by id.
pub(crate) type Tables<'a> = BTreeMap<&'a str, &'a Entry>;

/// What a folder may hold.
#[derive(Debug)]
pub(crate) struct Layout {
    /// `[kind.id]`
    pub kinds: &'static [&'static str],
    /// `[name]`, in any number of files.
    pub singles: &'static [&'static str],
    /// Kinds that belong in the other folder, and its name.
    pub elsewhere: (&'static [&'static str], &'static str),
}

/// The files' contents.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub tops: Vec<Entry>,
    /// Every file could be read to its end. Otherwise what seems to be missing may stand in the part that could not.
    pub complete: bool,
}

impl Documents {
    pub(crate) fn read(folder: &Folder, problems: &Problems) -> Self {
        let mut all = Self { tops: Vec::new(), complete: problems.is_empty() };
        for (file, (map, kind)) in problems.files().iter().zip(&folder.kinds).enumerate() {
            let (tops, whole) = match kind {
                FileKind::Toml => read_toml(file, map.text(), problems),
                FileKind::Signals => {
                    let (rows, whole) = read_signals(file, map.text(), problems);
                    (vec![signals(file, rows)], whole)
                }
            };
            all.tops.extend(tops);
            all.complete &= whole;
        }
        all
    }
}

/// Rows of a tag list as the table `signal`.
fn signals(file: usize, rows: Vec<Entry>) -> Entry {
    let spot = Spot { file, offset: 0 };
    Entry { key: String::from("signal"), spot, node: Node { spot, value: Val::Table(rows) } }
}

#[derive(Debug)]
pub(crate) struct Merged<'a> {
    kinds: BTreeMap<&'static str, Tables<'a>>,
    singles: Vec<&'a Entry>,
    pub complete: bool,
    pub problems: &'a Problems,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(documents: &'a Documents, layout: &Layout, problems: &'a Problems) -> Self {
        let kinds = layout.kinds.iter().map(|k| (*k, Tables::new())).collect();
        let mut merged = Self { kinds, singles: Vec::new(), complete: documents.complete, problems };
        for top in &documents.tops {
            merged.top(top, layout);
        }
        merged
    }

    fn top(&mut self, top: &'a Entry, layout: &Layout) {
        if layout.singles.contains(&top.key.as_str()) {
            return self.singles.push(top);
        }
        let Some((kind, tables)) = self.kinds.iter_mut().find(|(kind, _)| **kind == top.key) else {
            return self.problems.add(top.spot, format!("unknown table `{}`", top.key), unknown_help(&top.key, layout));
        };
        let Val::Table(entries) = &top.node.value else {
            let help = format!("write `[{kind}.ID]`");
            return self.problems.add(top.spot, format!("`{kind}` is {}", top.node.value.kind()), Some(help));
        };
        for entry in entries {
            one(kind, entry, tables, self.problems);
        }
    }

    /// The tables of `kind`, by id.
    pub(crate) fn tables(&self, kind: &str) -> impl Iterator<Item = (&'a str, Table<'a>)> + use<'a, '_> {
        let word = kind.replace('_', " ");
        self.kinds
            .get(kind)
            .into_iter()
            .flatten()
            .filter_map(move |(id, entry)| Some((*id, Table::of(format!("{word} `{id}`"), entry, self.problems)?)))
    }

    pub(crate) fn table(&self, kind: &str, id: &str) -> Option<Table<'a>> {
        let entry = self.kinds.get(kind)?.get(id)?;
        Table::of(format!("{} `{id}`", kind.replace('_', " ")), entry, self.problems)
    }

    pub(crate) fn singles(&self) -> impl Iterator<Item = Table<'a>> + use<'a, '_> {
        self.singles.iter().filter_map(|e| Table::of(format!("`{}`", e.key), e, self.problems))
    }

    pub(crate) fn knows(&self, kind: &str, id: &str) -> bool {
        self.kinds.get(kind).is_some_and(|tables| tables.contains_key(id))
    }

    /// The texts of the lists under `key` of all tables of `kind`, whatever else is wrong with them.
    pub(crate) fn texts(&self, kind: &str, key: &str) -> impl Iterator<Item = &'a str> {
        let tables = self.kinds.get(kind).into_iter().flat_map(|tables| tables.values());
        let lists = tables.filter_map(move |table| match &table.node.value {
            Val::Table(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        });
        lists.flat_map(|list| list.node.texts())
    }

    pub(crate) fn ids(&self, kind: &str) -> impl ExactSizeIterator<Item = &'a str> + use<'a, '_> {
        self.kinds.get(kind).unwrap_or(&NONE).keys().copied()
    }
}

static NONE: Tables<'static> = Tables::new();

fn unknown_help(key: &str, layout: &Layout) -> Option<String> {
    let (kinds, folder) = layout.elsewhere;
    if kinds.contains(&key) {
        return Some(format!("`{key}` belongs in the {folder} folder"));
    }
    near::help(key, layout.kinds.iter().chain(layout.singles).copied())
}

/// Keys that are tables of their own inside an item.
const INNER: [&str; 14] = [
    "fields",
    "records",
    "parameters",
    "shape",
    "upstream",
    "body",
    "password",
    "token",
    "groups",
    "introspection",
    "fetch_token",
    "spiffe",
    "subjects",
    "assertion",
];

fn one<'a>(kind: &str, entry: &'a Entry, tables: &mut Tables<'a>, problems: &Problems) {
    let id = entry.key.as_str();
    if let Some(inner) = unquoted(&entry.node) {
        let help = format!("an id with a dot is quoted: `[{kind}.\"{id}.{inner}\"]`");
        return problems.add(entry.spot, format!("{kind} `{id}` holds nothing but the table `{inner}`"), Some(help));
    }
    match tables.get(id) {
        Some(first) => {
            let first = problems.place_text(first.spot);
            problems.add(entry.spot, format!("{kind} `{id}` is defined twice, first in {first}"), None);
        }
        None => {
            tables.insert(id, entry);
        }
    }
}

/// `[signal.press-3.force]` is TOML for a table `force` inside `press-3`.
fn unquoted(node: &Node) -> Option<&str> {
    let Val::Table(entries) = &node.value else { return None };
    let inner = |e: &Entry| matches!(e.node.value, Val::Table(_)) && !INNER.contains(&e.key.as_str());
    entries.iter().all(inner).then(|| entries.first().map(|e| e.key.as_str()))?
}
