//! A file as a tree of values that know where they stand.

use crate::problem::Problems;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in one of the files of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// Index in the list of files.
    pub file: usize,
    /// Bytes from the beginning.
    pub offset: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub spot: Spot,
    pub value: Val,
}

#[derive(Clone, Debug)]
pub(crate) enum Val {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// TOML's own date-times, as written.
    Time(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// What no key takes; the word for it.
    Other(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub spot: Spot,
    pub node: Node,
}

impl Node {
    /// The texts of a list, or the one text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let items = match &self.value {
            Val::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(self),
        };
        items.iter().filter_map(|item| match &item.value {
            Val::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

impl Val {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "true or false",
            Self::Time(_) => "a time",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Reads TOML as far as it can be read. The flag says that all of it could.
pub(crate) fn read_toml(file: usize, text: &str, problems: &Problems) -> (Vec<Entry>, bool) {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |s| s.start);
        problems.add_unsound(Spot { file, offset }, sentence(error.message()));
    }
    (entries(file, table.get_ref()), errors.is_empty())
}

/// The parser's message in our spelling: one line, lower case.
fn sentence(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(", ");
    let mut chars = line.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect::<String>().trim_end_matches('.').to_owned()
}

/// In the order they are written, which the parser's map does not keep.
fn entries(file: usize, table: &DeTable<'_>) -> Vec<Entry> {
    let mut list: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            spot: Spot { file, offset: key.span().start },
            node: node(file, value),
        })
        .collect();
    list.sort_by_key(|e| e.spot);
    list
}

fn node(file: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let value_of = match value.get_ref() {
        DeValue::String(text) => Val::Text(text.to_string()),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or(Val::Other("an integer beyond 64 bits"), Val::Integer)
        }
        DeValue::Float(_) => Val::Other("a number with a decimal point"),
        DeValue::Boolean(b) => Val::Boolean(*b),
        DeValue::Datetime(t) => Val::Time(t.to_string()),
        DeValue::Array(items) => Val::Array(items.into_iter().map(|item| node(file, item)).collect()),
        DeValue::Table(table) => Val::Table(entries(file, table)),
    };
    Node { spot: Spot { file, offset: value.span().start }, value: value_of }
}
