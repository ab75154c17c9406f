//! What a command says on standard output.

use std::fmt::Display;
use std::io::Write as _;

/// One line. Who reads may have had enough (`… | head`): that is no failure, and the exit status says the rest.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
