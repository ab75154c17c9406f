//! Values inside InfluxQL: how they are quoted, and which templates leave a quoted value a value.
//!
//! The lexer is InfluxDB's (`influxql/scanner.go`): both kinds of quotes take `\\`, `\n` and the quote itself after a
//! backslash; a NUL ends the text, `--` and `/*` begin comments, `/` can begin a regular expression.

use super::template::Piece;

/// `'it\'s'`
pub(crate) fn string(text: &str) -> String {
    quoted(text, '\'')
}

/// `"press line"`
pub(crate) fn identifier(text: &str) -> String {
    quoted(text, '"')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', quote]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Where in the text of a query a placeholder stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Inside(char),
    Escaped(char),
}

/// Refuses a template in which a value that brings its own quotes would not be one literal.
pub(crate) fn check(pieces: &[Piece]) -> Result<(), &'static str> {
    let quotes = |piece: &Piece| matches!(piece, Piece::Value { format, .. } if format.brings_quotes());
    if !pieces.iter().any(quotes) {
        return Ok(());
    }
    let mut state = State::Outside;
    for piece in pieces {
        match piece {
            Piece::Literal(text) => state = literal(text, state)?,
            piece if quotes(piece) && state != State::Outside => {
                return Err("a value that brings its own quotes stands inside quotes");
            }
            Piece::Value { .. } => {}
        }
    }
    if state == State::Outside { Ok(()) } else { Err("a quote is not closed") }
}

/// Follows the quotes of `text`. What could begin a comment, a regular expression or a second statement is not needed
/// in a template and would make this reading differ from InfluxDB's.
fn literal(text: &str, mut state: State) -> Result<State, &'static str> {
    let mut before = None;
    for c in text.chars() {
        state = match (state, c) {
            (State::Outside, '\'' | '"') => State::Inside(c),
            (State::Outside, ';' | '/' | '\\') => {
                return Err("stands a `;`, `/` or backslash outside quotes, beside a value that brings its own quotes");
            }
            (State::Outside, '-') if before == Some('-') => return Err("`--` begins a comment"),
            (State::Outside, _) => State::Outside,
            (State::Inside(quote), '\\') => State::Escaped(quote),
            (State::Inside(quote), c) if c == quote => State::Outside,
            (State::Inside(quote) | State::Escaped(quote), _) => State::Inside(quote),
        };
        before = Some(c);
    }
    Ok(state)
}
