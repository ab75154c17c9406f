//! `sql` of a route: one question to a database, written in the catalog, with typed values in its holes.
//!
//! A hole becomes a parameter of the statement (`$1`), never a part of its text: what a caller chose cannot be read as
//! SQL. The broker puts the statement into one of its own, which says what columns and which rows are wanted and how many.

use super::parameter::Kind;
use super::read::Scope;
use super::read_upstream::filling;
use super::template::{Of, Type, Values, Written, split};
use crate::near;
use crate::table::Table;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A statement as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// With `$1`, `$2` … for its values.
    pub text: Arc<str>,
    binds: Vec<Of>,
}

/// One question to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlQuestion {
    /// A query that reads, with `$1`, `$2` … for `binds`.
    pub text: Arc<str>,
    pub binds: Vec<Bind>,
    /// So many rows are wanted.
    pub rows_max: i64,
}

/// A value of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Also of times, in RFC 3339.
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl Statement {
    pub(super) fn parameters(&self) -> BTreeSet<&str> {
        let names = self.binds.iter().filter_map(|of| match of {
            Of::Parameter(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    pub(super) fn tells_signal(&self) -> bool {
        self.binds.iter().any(|of| matches!(of, Of::SignalId | Of::SignalAddress))
    }

    pub(super) fn tells_dataset(&self) -> bool {
        self.binds.iter().any(|of| matches!(of, Of::DatasetId))
    }

    /// `None` if a value is missing, which loading has ruled out.
    pub(super) fn fill(&self, values: &impl Values, rows_max: i64) -> Option<SqlQuestion> {
        use super::parameter::Value;
        let bind = |of: &Of| {
            Some(match values.value(of)?.as_ref() {
                Value::Integer(n) => Bind::Integer(*n),
                Value::Duration(ms) => Bind::Integer(*ms),
                Value::Boolean(is) => Bind::Boolean(*is),
                value => Bind::Text(value.to_text()),
            })
        };
        let binds = self.binds.iter().map(bind).collect::<Option<_>>()?;
        Some(SqlQuestion { text: self.text.clone(), binds, rows_max })
    }
}

/// Reads `sql` of a route.
pub(super) fn statement(route: &Table<'_>, scope: &Scope<'_>) -> Option<Statement> {
    let text = route.required_lines("sql")?;
    let spot = route.spot_of("sql");
    let wrong = |what: String, help: &str| route.problem(spot, what, Some(help.to_owned()));
    let pieces = split(text).map_err(|e| wrong(format!("`sql` of {} has {e}", route.what), "see above")).ok()?;
    let mut lexer = Lexer::default();
    let (mut out, mut binds) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Written::Literal(text) => {
                lexer.read(&text).map_err(|e| wrong(format!("`sql` of {} {e}", route.what), FORM)).ok()?;
                out.push_str(&text);
            }
            Written::Hole(hole) => {
                let (of, kind) = hole_value(route, hole, scope)?;
                lexer.value().map_err(|e| wrong(format!("`{{{hole}}}` in `sql` of {} {e}", route.what), FORM)).ok()?;
                let n = binds.iter().position(|known| *known == of).unwrap_or_else(|| {
                    binds.push(of);
                    binds.len() - 1
                });
                out.push_str(&placeholder(n + 1, kind));
            }
        }
    }
    lexer.finish().map_err(|e| wrong(format!("`sql` of {} {e}", route.what), FORM)).ok()?;
    Some(Statement { text: out.trim().into(), binds })
}

const FORM: &str =
    "one query that begins with SELECT, WITH, VALUES or TABLE; a placeholder stands where a value does, without quotes";

/// With its type, so that the same text means the same whatever it is compared with.
fn placeholder(n: usize, kind: Type) -> String {
    match kind {
        Type::Text => format!("${n}::text"),
        Type::Integer => format!("${n}::bigint"),
        Type::Boolean => format!("${n}::boolean"),
        Type::Timestamp => format!("${n}::text::timestamptz"),
        Type::Duration => format!("(${n}::bigint * interval '1 millisecond')"),
    }
}

fn hole_value(route: &Table<'_>, hole: &str, scope: &Scope<'_>) -> Option<(Of, Type)> {
    let spot = route.spot_of("sql");
    if let Some((name, _)) = hole.split_once('|') {
        let what = format!("`{{{hole}}}` in `sql` of {} says how it is spelled", route.what);
        let help = format!("write `{{{}}}`: it is passed as a value", name.trim());
        route.problem(spot, what, Some(help));
        return None;
    }
    let Some((of, kind, _)) = filling(hole, scope) else {
        if !scope.declared.contains(&hole) {
            let what = format!("`sql` of {} uses the unknown `{{{hole}}}`", route.what);
            let known = scope.parameters.keys().map(String::as_str);
            route.problem(spot, what, near::help(hole, known));
        }
        return None;
    };
    Some((of, kind))
}

/// Whether a parameter of a statement chooses among records by what only its author knows: it says which fields.
pub(super) fn declared_filters(route: &Table<'_>, scope: &Scope<'_>, rows: Option<&str>, statement: &Statement) {
    for name in statement.parameters() {
        let Some(parameter) = scope.parameters.get(name) else { continue };
        let is_resource = matches!(parameter.kind, Kind::Signal { .. } | Kind::Dataset { .. });
        if rows == Some(name) {
            let what = format!("`{{{name}}}` in `sql` of {} says how many rows are wanted", route.what);
            route.wrong("sql", what, "remove it there: the broker takes so many of those that may be seen");
        } else if parameter.filters.is_none() && !is_resource {
            let what = format!("parameter `{name}` of {} does not say what it chooses by", route.what);
            let help =
                format!("add `filters = [\"FIELD\"]` to `{name}`: the fields that the statement compares it with");
            route.wrong("parameters", what, help);
        }
    }
}

// === reading SQL

/// PostgreSQL's quotes and comments, so that a hole is where a value can be. Not a parser: the database is one.
#[derive(Debug, Default)]
struct Lexer {
    state: State,
    /// The letters of the first word.
    first: String,
    has_first: bool,
    /// What stands before, outside of quotes.
    before: Option<char>,
    /// What stands before that.
    earlier: Option<char>,
    /// Parentheses that are open.
    depth: u32,
    /// The tag of a dollar quote, as far as it is read.
    tag: Option<String>,
}

/// Stands for a value among the characters before; no text has it.
const HOLE: char = '\0';

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// `'…'`, `E'…'`, `"…"`; whether a backslash escapes.
    Quoted(char, bool),
    Escaped(char),
    /// To the end of the line.
    Line,
    /// `/* */`, so deep.
    Block(u32),
    /// `$tag$ … $tag$`, and the part of its end that has been read.
    Dollar(String, String),
}

impl Lexer {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let next = chars.peek().copied();
            let pair = self.step(c, next)?;
            if pair {
                chars.next();
            }
        }
        Ok(())
    }

    /// Whether `next` is used up too.
    fn step(&mut self, c: char, next: Option<char>) -> Result<bool, &'static str> {
        let (state, pair) = match std::mem::take(&mut self.state) {
            State::Outside => return self.outside(c, next),
            State::Quoted(quote, escapes) => match c {
                '\\' if escapes => (State::Escaped(quote), false),
                // A doubled quote ends and begins one.
                c if c == quote => (State::Outside, false),
                _ => (State::Quoted(quote, escapes), false),
            },
            State::Escaped(quote) => (State::Quoted(quote, true), false),
            State::Line => (if matches!(c, '\n' | '\r') { State::Outside } else { State::Line }, false),
            State::Block(depth) => match (c, next, depth) {
                ('/', Some('*'), _) => (State::Block(depth + 1), true),
                ('*', Some('/'), 1) => (State::Outside, true),
                ('*', Some('/'), _) => (State::Block(depth - 1), true),
                _ => (State::Block(depth), false),
            },
            State::Dollar(end, mut read) => {
                read.push(c);
                while !end.starts_with(&read) {
                    read.remove(0);
                }
                (if read == end { State::Outside } else { State::Dollar(end, read) }, false)
            }
        };
        self.state = state;
        Ok(pair)
    }

    fn outside(&mut self, c: char, next: Option<char>) -> Result<bool, &'static str> {
        if let Some(mut tag) = self.tag.take() {
            tag.push(c);
            match c {
                '$' => self.state = State::Dollar(tag, String::new()),
                c if c.is_alphanumeric() || c == '_' => self.tag = Some(tag),
                _ => return Err("has a `$` that begins no quote"),
            }
            return Ok(false);
        }
        if self.before == Some(HOLE) && (c.is_alphanumeric() || matches!(c, '_' | '[' | '$' | ':')) {
            return Err("goes on right behind a placeholder");
        }
        let pair = match (c, next) {
            (';', _) => return Err("has a `;`"),
            ('(', _) => {
                self.depth += 1;
                false
            }
            (')', _) => {
                self.depth = self.depth.checked_sub(1).ok_or("closes a parenthesis that it has not opened")?;
                false
            }
            ('-', Some('-')) => {
                self.state = State::Line;
                true
            }
            ('/', Some('*')) => {
                self.state = State::Block(1);
                true
            }
            ('\'' | '"', _) => {
                let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                let escapes = c == '\'' && matches!(self.before, Some('e' | 'E')) && !self.earlier.is_some_and(is_word);
                self.state = State::Quoted(c, escapes);
                false
            }
            ('$', Some(digit)) if digit.is_ascii_digit() => return Err("has a `$1` of its own"),
            ('$', _) if !self.before.is_some_and(|b| b.is_alphanumeric() || b == '_') => {
                self.tag = Some(String::from("$"));
                false
            }
            _ => false,
        };
        if !self.has_first {
            if c.is_ascii_alphabetic() {
                self.first.push(c.to_ascii_uppercase());
            } else if !self.first.is_empty() {
                self.has_first = true;
            } else if !c.is_whitespace() && self.state == State::Outside {
                return Err("does not begin with a query");
            }
        }
        (self.earlier, self.before) = (self.before, Some(c));
        Ok(pair)
    }

    /// A value stands here.
    fn value(&mut self) -> Result<(), &'static str> {
        if self.state != State::Outside || self.tag.is_some() {
            return Err("stands inside quotes or a comment");
        }
        if self.before.is_none_or(|b| b.is_alphanumeric() || matches!(b, '_' | '$' | '[' | HOLE)) {
            return Err("is joined to the word before it");
        }
        (self.earlier, self.before) = (self.before, Some(HOLE));
        Ok(())
    }

    fn finish(&self) -> Result<(), &'static str> {
        match self.state {
            State::Outside | State::Line if self.tag.is_none() => {}
            _ => return Err("has a quote or a comment that is not closed"),
        }
        if self.depth > 0 {
            return Err("has a parenthesis that is not closed");
        }
        match self.first.as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(()),
            _ => Err("is no query"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Result<(), &'static str> {
        let mut lexer = Lexer::default();
        for (n, part) in text.split('?').enumerate() {
            if n > 0 {
                lexer.value()?;
            }
            lexer.read(part)?;
        }
        lexer.finish()
    }

    #[test]
    fn a_value_stands_where_the_database_takes_one() {
        for good in [
            "SELECT a FROM t WHERE b = ? AND c >= ?",
            "  with x as (select 1) select * from x where a=?",
            "-- the parts\nSELECT 'it''s; $1', \"a\"\"b;\" FROM t WHERE a = ?",
            "/* a /* nested */ ; */ SELECT E'\\'; ' || $tag$ ; 'x' $ta $tag$ FROM t WHERE b IN (?,?)",
            "VALUES (1)",
            "SELECT a$b FROM t -- the end",
        ] {
            assert_eq!(lex(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("SELECT a FROM t WHERE b = '?'", "inside quotes"),
            ("SELECT a FROM t WHERE b = 'x''?'", "inside quotes"),
            ("SELECT a FROM t WHERE b = E'\\'?'", "inside quotes"),
            ("SELECT a FROM t -- ?", "inside quotes"),
            ("SELECT a FROM t /* ? */", "inside quotes"),
            ("SELECT a FROM \"?\"", "inside quotes"),
            ("SELECT $x$ ? $x$", "inside quotes"),
            ("SELECT a FROM t?", "joined to the word"),
            ("SELECT a FROM t WHERE b = ?x", "right behind"),
            ("SELECT a FROM t WHERE b = ?[1]", "right behind"),
            ("SELECT a FROM t WHERE b = ?::int", "right behind"),
            ("SELECT 1) q; --", "not opened"),
            ("SELECT (1", "parenthesis that is not closed"),
            ("SELECT 1 -- x\r'", "not closed"),
            ("SELECT type'\\' ?'", "not closed"),
            ("SELECT a FROM t WHERE b = $1", "of its own"),
            ("SELECT 1; DROP TABLE t", "`;`"),
            ("DELETE FROM t", "no query"),
            ("(SELECT 1)", "does not begin"),
            ("SELECT 'a", "not closed"),
            ("SELECT /* a", "not closed"),
            ("SELECT $x$ a $y$", "not closed"),
            ("", "no query"),
            ("?", "joined"),
        ] {
            let error = lex(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
