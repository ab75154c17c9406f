//! JSON (RFC 8259) rewritten as it comes, in bounded memory: what a view shows is copied, what it masks is replaced, and
//! everything else is left out.
//!
//! What passes is one text, or with [`Many::Lines`] one on each line, that every reader reads in the same way: UTF-8 without
//! a byte order mark, no member of one name twice where one is shown, no half of a surrogate pair, at most 128 levels.
//! Anything else ends the rewriting with an error, and nothing more is written. What is written is JSON whatever comes in.
//!
//! Arrays are transparent: `a.b` is the member `b` of `a`, and of each item of `a`. Only declared names are kept, so where
//! something else stands than was declared (an object in place of a text), there is nothing in it to show.

mod lexical;

use super::mask::{PseudonymKey, Scalar, Treatment, write};
use super::rows::{RowFilter, Told};
use super::view::{NodeId, View};
use lexical::{Utf8, is_number, is_space, plain_bytes};
use model::plant::{Mask, RecordAttribute};
use std::collections::HashSet;
use std::sync::Arc;

/// Deeper nesting is an attack on a recursive reader behind us.
const DEPTH_MAX: usize = 128;
/// Names, numbers, and texts that are to be masked are held as a whole.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// What a row that may have to be left out is held for.
const ROW_BYTES_MAX: usize = 1024 * 1024;
/// Names that the plant does not know beforehand, of all objects that are open at a time.
const NAMES_BYTES_MAX: usize = 1024 * 1024;
/// What each takes beside its bytes, about.
const NAME_BYTES_BESIDE: usize = 48;

/// Why a text is not one that can be shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    pub what: &'static str,
    pub offset: u64,
}

/// Whether there is one text or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    One,
    /// Newline-delimited JSON.
    Lines,
}

/// Rewrites one body. After an error it is not to be used any further.
#[derive(Debug)]
pub struct Rewriter {
    view: Arc<View>,
    key: PseudonymKey,
    many: Many,
    expects: Expects,
    stack: Vec<Frame>,
    /// What happens to the value that comes next, or is under way.
    fate: Fate,
    /// The name that is to be written before the value, with its quotes, if the value is.
    name: Vec<u8>,
    token: Vec<u8>,
    utf8: Utf8,
    offset: u64,
    rows: u64,
    /// Texts that have ended.
    texts: u64,
    filter: Option<Arc<RowFilter>>,
    /// The row under way, where rows are left out.
    row: Option<Row>,
    /// The attribute that the scalar under way tells, and what of it has come.
    telling: Option<RecordAttribute>,
    told: Vec<u8>,
    /// The text as a whole was a row that is not seen.
    left_out: bool,
    /// What [`Seen::others`] of all frames take.
    names_bytes: usize,
    rows_max: u64,
}

/// A row that is not known to be seen yet.
#[derive(Debug, Default)]
struct Row {
    /// What is to be written if it is.
    out: Vec<u8>,
    told: Told,
    /// How many containers are around it.
    depth: usize,
    /// Whether something had been written of what is around it.
    after_others: bool,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    /// The text is over.
    Nothing,
    /// Inside of a text, a name's or a value's.
    Text(Text),
    /// Inside of a number or a word.
    Bare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    is_name: bool,
    escape: Escape,
    /// A surrogate's first half has come, and nothing may come before its second.
    half: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// Digits read, and their value.
    Unicode(u8, u16),
}

/// What happens to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Read, and nothing of it written.
    Hidden,
    Node(NodeId),
    /// Its token is collected, to be masked.
    Masked(NodeId),
    /// Copied as it comes.
    Shown,
}

#[derive(Debug)]
struct Frame {
    is_array: bool,
    /// Of its members or items.
    fate: Fate,
    /// Something of it has been written.
    written: bool,
    /// This or one around it has been counted as a row.
    counted: bool,
    seen: Seen,
    /// The declared member that is likely to come next.
    guess: usize,
}

/// Members that have come, so that none of them comes twice.
#[derive(Debug, Default)]
struct Seen {
    /// By their number among the declared ones, the first 64.
    first: u64,
    later: Vec<usize>,
    /// Names that were not declared and are shown.
    others: Option<HashSet<Box<[u8]>>>,
    /// Bytes of these names.
    others_bytes: usize,
}

impl Seen {
    /// Whether it is new.
    fn declared(&mut self, place: usize) -> bool {
        match u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)) {
            Some(bit) => {
                let new = self.first & bit == 0;
                self.first |= bit;
                new
            }
            None => {
                let new = !self.later.contains(&place);
                if new {
                    self.later.push(place);
                }
                new
            }
        }
    }

    /// Whether it is new. `held` is what the names of all objects around it take.
    fn other(&mut self, name: &[u8], held: &mut usize) -> Result<(), &'static str> {
        let bytes = name.len() + NAME_BYTES_BESIDE;
        if *held + bytes > NAMES_BYTES_MAX {
            return Err("an object has too many members");
        }
        if !self.others.get_or_insert_default().insert(name.into()) {
            return Err("a member stands twice");
        }
        *held += bytes;
        self.others_bytes += bytes;
        Ok(())
    }
}

impl Rewriter {
    pub fn new(view: Arc<View>, key: PseudonymKey, many: Many) -> Self {
        Self {
            view,
            key,
            many,
            expects: Expects::Value,
            stack: Vec::new(),
            fate: Fate::Node(NodeId::ROOT),
            name: Vec::new(),
            token: Vec::new(),
            utf8: Utf8::default(),
            offset: 0,
            rows: 0,
            texts: 0,
            filter: None,
            row: None,
            telling: None,
            told: Vec::new(),
            left_out: false,
            names_bytes: 0,
            rows_max: u64::MAX,
        }
    }

    /// With rows left out, and no more than so many of the others.
    pub fn filtered(self, filter: Arc<RowFilter>, rows_max: u64) -> Self {
        Self { filter: Some(filter), rows_max, ..self }
    }

    /// Items so far: objects of the outermost array, or the one object.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the one text was a row that is not seen: for the caller there is no such thing.
    pub fn is_nothing(&self) -> bool {
        self.many == Many::One && self.left_out
    }

    /// # Errors
    /// Where the text is not what this module takes. What was written to `out` up to there may be sent on.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.utf8.check(bytes).map_err(|what| self.malformed(what))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.row.as_mut().map(|row| std::mem::take(&mut row.out)) {
                None => self.step(rest, out),
                Some(held) => self.step_of_row(rest, held, out),
            };
            let used = used.map_err(|what| self.malformed(what))?;
            self.offset += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// # Errors
    /// When the text has not ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.expects == Expects::Bare {
            self.end_of_bare(out).map_err(|what| self.malformed(what))?;
        }
        let over = match self.many {
            Many::One => self.expects == Expects::Nothing,
            Many::Lines => self.stack.is_empty() && matches!(self.expects, Expects::Nothing | Expects::Value),
        };
        if over && self.utf8.is_whole() { Ok(()) } else { Err(self.malformed("it ends too early")) }
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.offset }
    }

    /// A step within a row, whose text goes to `held` until it is known whether the row is seen.
    fn step_of_row(&mut self, bytes: &[u8], mut held: Vec<u8>, out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let used = self.step(bytes, &mut held)?;
        let Some(row) = &mut self.row else { return Ok(used) };
        if self.stack.len() > row.depth {
            if held.len() > ROW_BYTES_MAX {
                return Err("a row is longer than 1 MiB");
            }
            row.out = held;
            return Ok(used);
        }
        // It has ended.
        let shown = self.rows < self.rows_max && self.filter.as_ref().is_none_or(|filter| filter.shows(&row.told));
        if shown {
            out.extend_from_slice(&held);
            self.rows += 1;
        } else {
            match self.stack.last_mut() {
                Some(around) => around.written = row.after_others,
                None => self.left_out = true,
            }
        }
        self.row = None;
        Ok(used)
    }

    /// Takes some of `bytes`.
    // A third of the work is a call for each token otherwise.
    #[inline(always)]
    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        match self.expects {
            Expects::Text(text) => return self.text(text, bytes, out),
            Expects::Bare => return self.bare(bytes, out),
            _ => {}
        }
        let Some(byte) = bytes.first().copied() else { return Ok(0) };
        if byte == b'\n' && self.many == Many::Lines {
            self.end_of_line()?;
            return Ok(1);
        }
        if is_space(byte) {
            let ends = |b: &u8| !is_space(*b) || (*b == b'\n' && self.many == Many::Lines);
            return Ok(bytes.iter().position(ends).unwrap_or(bytes.len()));
        }
        match (self.expects, byte) {
            (Expects::Value | Expects::ValueOrEnd, b'{') => self.open(false, out)?,
            (Expects::Value | Expects::ValueOrEnd, b'[') => self.open(true, out)?,
            (Expects::ValueOrEnd | Expects::CommaOrEnd, b']') => self.close(true, out)?,
            (Expects::NameOrEnd | Expects::CommaOrEnd, b'}') => self.close(false, out)?,
            (Expects::Value | Expects::ValueOrEnd, b'"') => {
                self.begin_scalar(out)?;
                self.token.clear();
                self.text_byte(b'"', out)?;
                self.expects = Expects::Text(Text { is_name: false, escape: Escape::None, half: false });
            }
            (Expects::Value | Expects::ValueOrEnd, b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                self.begin_scalar(out)?;
                self.token.clear();
                self.expects = Expects::Bare;
                return self.bare(bytes, out);
            }
            (Expects::Name | Expects::NameOrEnd, b'"') => {
                self.name.clear();
                self.name.push(b'"');
                self.expects = Expects::Text(Text { is_name: true, escape: Escape::None, half: false });
            }
            (Expects::Colon, b':') => self.expects = Expects::Value,
            (Expects::CommaOrEnd, b',') => self.next()?,
            _ => return Err("it is not JSON"),
        }
        Ok(1)
    }

    /// A comma has come.
    fn next(&mut self) -> Result<(), &'static str> {
        let frame = self.stack.last().ok_or("it is not JSON")?;
        if let (true, Fate::Node(node), Some(row)) = (frame.is_array, frame.fate, &mut self.row)
            && self.view.leads_to_telling(node)
        {
            // A second item may be somebody else's, whatever it says.
            row.told.is_unclear();
        }
        self.expects = if frame.is_array { Expects::Value } else { Expects::Name };
        if frame.is_array {
            self.fate = frame.fate;
            self.name.clear();
        }
        Ok(())
    }

    // --- objects and arrays

    fn open(&mut self, is_array: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if self.stack.len() >= DEPTH_MAX {
            return Err("it is nested too deeply");
        }
        let (from, after_others) = (out.len(), self.stack.last().is_some_and(|frame| frame.written));
        let tells = self.tells();
        let mask = self.treatment().and_then(|treatment| match treatment {
            Treatment::Mask(mask) => Some(mask.clone()),
            Treatment::Show | Treatment::Drop => None,
        });
        let dropped = self.treatment() == Some(&Treatment::Drop);
        let bare = matches!(self.fate, Fate::Node(node) if node != NodeId::ROOT && self.view.is_bare(node));
        self.placed_well(is_array)?;
        let elementwise =
            matches!(mask, Some(Mask::Pseudonym | Mask::Partial { .. } | Mask::Round { .. } | Mask::Bucket { .. }));
        let fate = match (self.fate, &mask) {
            _ if dropped || bare => Fate::Hidden,
            // How many there are, or what is in it, is not to be seen either.
            (Fate::Node(_), Some(mask)) if !(is_array && elementwise) => {
                self.begin_value(out);
                write(mask, Scalar::Null, &self.key, out);
                Fate::Hidden
            }
            (Fate::Node(node), _) => {
                self.begin_value(out);
                out.push(if is_array { b'[' } else { b'{' });
                Fate::Node(node)
            }
            _ => Fate::Hidden,
        };
        let in_row = self.stack.last().is_some_and(|frame| frame.counted);
        let is_row = !is_array && !in_row && fate == Fate::Node(self.view.rows);
        self.rows += u64::from(is_row && self.filter.is_none());
        self.stack.push(Frame {
            is_array,
            fate,
            written: false,
            counted: in_row || is_row,
            seen: Seen::default(),
            guess: 0,
        });
        if tells.is_some()
            && (!is_array || fate == Fate::Hidden)
            && let Some(row) = &mut self.row
        {
            row.told.is_unclear();
        }
        if is_row && self.filter.is_some() {
            let depth = self.stack.len() - 1;
            self.row = Some(Row { out: out.split_off(from), told: Told::default(), depth, after_others });
        }
        self.fate = fate;
        self.name.clear();
        self.expects = if is_array { Expects::ValueOrEnd } else { Expects::NameOrEnd };
        Ok(())
    }

    fn close(&mut self, is_array: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let frame = self.stack.pop().filter(|frame| frame.is_array == is_array).ok_or("it is not JSON")?;
        self.names_bytes -= frame.seen.others_bytes;
        if matches!(frame.fate, Fate::Node(_)) {
            out.push(if is_array { b']' } else { b'}' });
            if self.stack.is_empty() && self.many == Many::Lines {
                // Here, and not where the source ends its line: one that is left out leaves nothing.
                out.push(b'\n');
            }
        }
        self.end_of_value();
        Ok(())
    }

    /// Where rows are left out, nothing around them may tell how many: one list of them, or one on each line.
    fn placed_well(&self, is_array: bool) -> Result<(), &'static str> {
        let above_rows = self.filter.is_some() && self.row.is_none() && self.fate != Fate::Hidden;
        match self.stack.last() {
            Some(around) if above_rows && is_array && around.is_array => Err("records lie in a list of lists"),
            None if above_rows && is_array && self.many == Many::Lines => Err("a line is a list and no record"),
            _ => Ok(()),
        }
    }

    /// What the value to come tells of its row.
    fn tells(&self) -> Option<RecordAttribute> {
        let Fate::Node(node) = self.fate else { return None };
        self.view.node(node)?.tells.filter(|_| self.row.is_some())
    }

    /// What the view says of the value to come.
    fn treatment(&self) -> Option<&Treatment> {
        let Fate::Node(node) = self.fate else { return None };
        self.view.node(node)?.treatment.as_ref()
    }

    /// Writes what stands before a value: a comma where one is due, and its name.
    fn begin_value(&mut self, out: &mut Vec<u8>) {
        if let Some(frame) = self.stack.last_mut() {
            if std::mem::replace(&mut frame.written, true) {
                out.push(b',');
            }
            if !frame.is_array {
                out.extend_from_slice(&self.name);
                out.push(b':');
            }
        }
    }

    fn end_of_value(&mut self) {
        match self.stack.last() {
            Some(_) => self.expects = Expects::CommaOrEnd,
            None => {
                self.expects = Expects::Nothing;
                self.texts += 1;
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), &'static str> {
        match self.expects {
            Expects::Nothing => {
                self.expects = Expects::Value;
                self.fate = Fate::Node(NodeId::ROOT);
                Ok(())
            }
            Expects::Value if self.stack.is_empty() => Ok(()),
            _ => Err("a line ends within an item"),
        }
    }

    // --- scalars

    /// Decides what happens to the scalar that begins.
    fn begin_scalar(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if self.stack.is_empty() {
            return Err("it is neither an object nor an array");
        }
        self.telling = self.tells();
        self.told.clear();
        let Fate::Node(node) = self.fate else { return Ok(()) };
        self.fate = match self.treatment() {
            Some(Treatment::Show) => {
                self.begin_value(out);
                Fate::Shown
            }
            Some(Treatment::Mask(_)) => Fate::Masked(node),
            // Nothing was declared to stand here but further fields.
            Some(Treatment::Drop) | None => Fate::Hidden,
        };
        Ok(())
    }

    fn text(&mut self, mut text: Text, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut used = 0;
        // Most texts are short and plain.
        if text.escape == Escape::None && !text.half {
            let plain = plain_bytes(bytes);
            if bytes.get(plain) == Some(&b'"') {
                self.take(text.is_name, bytes.get(..=plain).unwrap_or_default(), out)?;
                self.end_of_text(text.is_name, out)?;
                return Ok(plain + 1);
            }
        }
        while let Some(byte) = bytes.get(used).copied() {
            match text.escape {
                Escape::None => {
                    let plain = plain_bytes(bytes.get(used..).unwrap_or_default());
                    if plain > 0 {
                        if text.half {
                            return Err("half of a surrogate pair stands alone");
                        }
                        self.take(text.is_name, bytes.get(used..used + plain).unwrap_or_default(), out)?;
                        used += plain;
                        continue;
                    }
                    match byte {
                        b'"' if text.half => return Err("half of a surrogate pair stands alone"),
                        b'"' => {
                            self.take(text.is_name, b"\"", out)?;
                            self.end_of_text(text.is_name, out)?;
                            return Ok(used + 1);
                        }
                        b'\\' => text.escape = Escape::Begun,
                        _ => return Err("a control character stands in a text"),
                    }
                }
                Escape::Begun => match byte {
                    b'u' => text.escape = Escape::Unicode(0, 0),
                    _ if text.half => return Err("half of a surrogate pair stands alone"),
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => text.escape = Escape::None,
                    _ => return Err("an escape is not JSON's"),
                },
                Escape::Unicode(digits, value) => {
                    let digit = char::from(byte).to_digit(16).and_then(|d| u16::try_from(d).ok());
                    let value = value << 4 | digit.ok_or("an escape is not JSON's")?;
                    if digits < 3 {
                        text.escape = Escape::Unicode(digits + 1, value);
                    } else {
                        let (first, second) = ((0xd800..0xdc00).contains(&value), (0xdc00..0xe000).contains(&value));
                        if second != text.half {
                            return Err("half of a surrogate pair stands alone");
                        }
                        (text.half, text.escape) = (first, Escape::None);
                    }
                }
            }
            self.take(text.is_name, &[byte], out)?;
            used += 1;
        }
        self.expects = Expects::Text(text);
        Ok(used)
    }

    /// Some bytes of a text, quotes and escapes as they came.
    fn take(&mut self, is_name: bool, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let held = if is_name {
            // Of a hidden object no name matters.
            if self.stack.last().is_none_or(|frame| frame.fate == Fate::Hidden) {
                return Ok(());
            }
            &mut self.name
        } else {
            if self.telling.is_some() {
                self.told.extend_from_slice(bytes);
                if self.told.len() > TOKEN_BYTES_MAX {
                    return Err("what a row says of itself is longer than 64 KiB");
                }
            }
            match self.fate {
                Fate::Shown => {
                    out.extend_from_slice(bytes);
                    return Ok(());
                }
                Fate::Masked(_) => &mut self.token,
                Fate::Hidden | Fate::Node(_) => return Ok(()),
            }
        };
        held.extend_from_slice(bytes);
        if held.len() > TOKEN_BYTES_MAX {
            Err("a name, or a text that is masked, is longer than 64 KiB")
        } else {
            Ok(())
        }
    }

    fn text_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.take(false, &[byte], out)
    }

    fn end_of_text(&mut self, is_name: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if is_name {
            self.fate = self.member()?;
            self.expects = Expects::Colon;
            return Ok(());
        }
        if let Some((attribute, row)) = self.telling.take().zip(self.row.as_mut()) {
            let text: String = serde_json::from_slice(&self.told).map_err(|_| "a text is not JSON's")?;
            row.told.says(attribute, Some(&text));
        }
        if let Fate::Masked(node) = self.fate {
            let text: String = serde_json::from_slice(&self.token).map_err(|_| "a text is not JSON's")?;
            self.write_masked(node, Scalar::Text(&text), out);
        }
        self.end_of_value();
        Ok(())
    }

    /// What happens to the member whose name has come.
    fn member(&mut self) -> Result<Fate, &'static str> {
        let Some(frame) = self.stack.last_mut() else { return Ok(Fate::Hidden) };
        let Fate::Node(node) = frame.fate else { return Ok(Fate::Hidden) };
        let raw = self.name.get(1..self.name.len().saturating_sub(1)).unwrap_or_default();
        let decoded;
        let name = if raw.contains(&b'\\') {
            decoded = serde_json::from_slice::<String>(&self.name).map_err(|_| "a name is not JSON's")?;
            decoded.as_bytes()
        } else {
            raw
        };
        match self.view.child(node, name, frame.guess) {
            None => Ok(Fate::Hidden),
            Some((child, Some(place))) => {
                if !frame.seen.declared(place) {
                    return Err("a member stands twice");
                }
                frame.guess = place + 1;
                Ok(Fate::Node(child))
            }
            Some((child, None)) => frame.seen.other(name, &mut self.names_bytes).map(|()| Fate::Node(child)),
        }
    }

    fn bare(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
        let used = bytes.iter().position(|b| !is_part(b)).unwrap_or(bytes.len());
        self.token.extend_from_slice(bytes.get(..used).unwrap_or_default());
        if self.token.len() > TOKEN_BYTES_MAX {
            return Err("a number is longer than 64 KiB");
        }
        if used < bytes.len() {
            self.end_of_bare(out)?;
        }
        Ok(used)
    }

    fn end_of_bare(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let scalar = match self.token.as_slice() {
            b"true" => Scalar::Bool(true),
            b"false" => Scalar::Bool(false),
            b"null" => Scalar::Null,
            number if is_number(number) => Scalar::Number(std::str::from_utf8(number).unwrap_or_default()),
            _ => return Err("a value is not JSON"),
        };
        if let Some((attribute, row)) = self.telling.take().zip(self.row.as_mut()) {
            let text = std::str::from_utf8(&self.token).unwrap_or_default();
            row.told.says(attribute, (scalar != Scalar::Null).then_some(text));
        }
        match self.fate {
            Fate::Shown => out.extend_from_slice(&self.token),
            Fate::Masked(node) => {
                let mut masked = Vec::new();
                if let Some(Treatment::Mask(mask)) = self.view.node(node).and_then(|node| node.treatment.as_ref()) {
                    write(mask, scalar, &self.key, &mut masked);
                }
                self.begin_value(out);
                out.extend_from_slice(&masked);
            }
            Fate::Hidden | Fate::Node(_) => {}
        }
        self.end_of_value();
        Ok(())
    }

    fn write_masked(&mut self, node: NodeId, scalar: Scalar<'_>, out: &mut Vec<u8>) {
        self.begin_value(out);
        if let Some(Treatment::Mask(mask)) = self.view.node(node).and_then(|node| node.treatment.as_ref()) {
            write(mask, scalar, &self.key, out);
        }
    }
}

#[cfg(test)]
mod tests;
