//! Audit entries and summaries in the formats of other programs: CSV, Parquet, OCSF, CEF, syslog, a chart.
//!
//! Functions from bytes to bytes. Whoever asks the broker gets JSON; what is made of it here is for reading elsewhere and
//! proves nothing. Each form of an entry therefore carries the log's origin, the index and the leaf hash, by which the
//! record itself is found and proven.
//!
//! What this crate does **not** do: it asks nobody, opens no file and no connection, and knows neither clock nor policy.
//! What stands in an entry is data of strangers (names in tokens, paths), so every format has its own escaping and tests of
//! what happens to text that would end a cell, a line or a tag.

mod cef;
mod chart;
mod columns;
mod delimited;
mod ocsf;
mod record;
mod stored;
mod syslog;
mod writer;

pub use cef::cef;
pub use chart::{Measure, chart};
pub use ocsf::Ocsf;
pub use record::{NotARecord, Page, Pruned, Record};
pub use syslog::{SdId, Syslog, octet_counted};
pub use writer::{Counts, Entries, Format, WriteError, is_for_entries, is_for_summaries, summary};

/// A character that ends or hides a line in some program: replaced, because no line-based format can carry it.
fn visible(c: char) -> char {
    let breaks = c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}');
    if breaks { '\u{fffd}' } else { c }
}

/// At most `bytes` of it, cut between characters.
fn at_most(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
