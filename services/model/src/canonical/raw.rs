//! Canonical text looked at where it lies: checked as [`parse`](super::parse) checks it, without a tree of its values.

use super::{DEPTH_MAX, INTEGER_MAX, NotCanonical};
use std::borrow::Cow;
use std::ops::Range;

/// The text of one value, which is canonical.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    text: &'a str,
    /// There is no backslash in it, nor in what it was read with.
    is_plain: bool,
}

impl PartialEq for Raw<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Raw<'_> {}

impl Default for Raw<'_> {
    fn default() -> Self {
        Self { text: "{}", is_plain: true }
    }
}

/// The members of an object, sorted, each key once; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawObject<'a> {
    whole: Raw<'a>,
    members: Vec<Member>,
}

/// Names of members that somebody looks for. They differ in their first eight bytes, and none is escaped when it is written.
#[derive(Clone, Copy, Debug)]
pub struct Keys<const N: usize> {
    /// Ascending, with the length of each.
    heads: [(u64, usize); N],
    names: [&'static str; N],
}

impl<const N: usize> Keys<N> {
    /// In ascending order.
    ///
    /// # Panics
    /// When they are not such names; a constant is not compiled then.
    pub const fn new(names: [&'static str; N]) -> Self {
        let mut heads = [(0, 0); N];
        let (mut at, mut rest): (usize, &[&str]) = (0, &names);
        let mut last = None;
        while let [name, behind @ ..] = rest
            && let (_, [place, ..]) = heads.split_at_mut(at)
        {
            let head = plain_head(name.as_bytes());
            assert!(
                match last {
                    Some(last) => last < head,
                    None => true,
                },
                "not in ascending order"
            );
            *place = (head, name.len());
            (at, rest, last) = (at + 1, behind, Some(head));
        }
        Self { heads, names }
    }
}

/// The [`head`] of a name.
const fn plain_head(name: &[u8]) -> u64 {
    let (mut head, mut rest, mut left) = (0, name, 8_u32);
    while let [byte, behind @ ..] = rest {
        assert!(byte.is_ascii_alphanumeric() || *byte == b'_', "not a plain name");
        if left > 0 {
            left -= 1;
            head |= (*byte as u64) << (8 * left);
        }
        rest = behind;
    }
    head
}

/// The members of an object that were looked for, each where its name stands among the [`Keys`].
pub type Picked<'a, const N: usize> = [Option<Raw<'a>>; N];

/// Finds members as they come, in ascending order.
struct Picker<'k, const N: usize> {
    keys: &'k Keys<N>,
    /// What the members lie in.
    text: &'k [u8],
    found: [Option<Range<usize>>; N],
    /// The first key that can still come.
    next: usize,
}

impl<'k, const N: usize> Picker<'k, N> {
    fn new(keys: &'k Keys<N>, text: &'k [u8]) -> Self {
        Self { keys, text, found: [const { None }; N], next: 0 }
    }

    #[inline]
    fn see(&mut self, member: &Member) {
        while let Some((head, length)) = self.keys.heads.get(self.next)
            && *head <= member.head
        {
            if *head == member.head {
                // Others may begin like this one.
                if *length == member.key.len()
                    && (*length <= 8 || self.is_named(member))
                    && let Some(place) = self.found.get_mut(self.next)
                {
                    *place = Some(member.value.clone());
                }
                return;
            }
            self.next += 1;
        }
    }

    /// Whether it has the name whose turn it is.
    fn is_named(&self, member: &Member) -> bool {
        let name = self.keys.names.get(self.next).map(|name| name.as_bytes());
        self.text.get(member.key.clone()) == name
    }

    /// The values, if no key of the object was spelt otherwise than it reads: then they do not come in this order.
    fn found<'a>(self, whole: Raw<'a>, is_plain: bool) -> Picked<'a, N> {
        if is_plain {
            return self.found.map(|value| value.map(|value| whole.part(value)));
        }
        let object = whole.object();
        self.keys.names.map(|name| object.as_ref()?.get(name))
    }
}

/// Where a member lies in its object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    /// Of its key.
    head: u64,
    key: Range<usize>,
    value: Range<usize>,
}

/// Members that most objects of an entry have room for.
const MEMBERS: usize = 32;

impl<'a> Raw<'a> {
    /// # Errors
    /// Exactly where [`parse`](super::parse) has one. The offset can be another.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let mut reader = Reader::new(bytes)?;
        let read = reader.value(0);
        reader.end(read)?;
        Ok(reader.raw)
    }

    /// As it lies there.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        if self.is_plain || !has_backslash(inner.as_bytes()) {
            return Some(Cow::Borrowed(inner));
        }
        match super::tree(self) {
            Ok(super::Value::Text(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    pub fn as_int(self) -> Option<i64> {
        self.text.parse().ok()
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// `None` for what is no object.
    pub fn object(self) -> Option<RawObject<'a>> {
        if !self.text.starts_with('{') {
            return None;
        }
        let mut members = Vec::with_capacity(MEMBERS / 2);
        Reader::again(self).object(0, |member| members.push(member)).ok()?;
        Some(RawObject { whole: self, members })
    }

    /// Checks an object, and finds these members of it, without a list of all. What is no object has none.
    ///
    /// # Errors
    /// As [`Raw::read`].
    pub fn pick<const N: usize, const M: usize>(
        bytes: &'a [u8],
        (one, other): (&Keys<N>, &Keys<M>),
    ) -> Result<(Self, Picked<'a, N>, Picked<'a, M>), NotCanonical> {
        let (mut one, mut other) = (Picker::new(one, bytes), Picker::new(other, bytes));
        let (whole, is_plain) = Reader::members(bytes, |member| {
            one.see(&member);
            other.see(&member);
        })?;
        Ok((whole, one.found(whole, is_plain), other.found(whole, is_plain)))
    }

    /// These members of an object; what is none has none.
    pub fn several<const N: usize>(self, keys: &Keys<N>) -> Picked<'a, N> {
        let mut picker = Picker::new(keys, self.text.as_bytes());
        if self.text.starts_with('{')
            && let Ok(is_plain) = Reader::again(self).object(0, |member| picker.see(&member))
        {
            return picker.found(self, is_plain);
        }
        [None; N]
    }

    /// One member of an object; `None` for what is none, too.
    pub fn get(self, key: &str) -> Option<Raw<'a>> {
        if !self.text.starts_with('{') {
            return None;
        }
        let (mut found, text) = (None, self.text.as_bytes());
        let mut look = |member: Member| {
            if text.get(member.key) == Some(key.as_bytes()) {
                found = Some(member.value);
            }
        };
        Reader::again(self).object(0, &mut look).ok()?;
        found.map(|value| self.part(value))
    }

    /// `None` for what is no array.
    pub fn items(self) -> Option<Vec<Raw<'a>>> {
        if !self.text.starts_with('[') {
            return None;
        }
        let mut items = Vec::new();
        Reader::again(self).array(0, |item| items.push(self.part(item))).ok()?;
        Some(items)
    }

    fn part(self, range: Range<usize>) -> Self {
        Self { text: self.text.get(range).unwrap_or_default(), ..self }
    }
}

/// In one pass without branches.
fn has_backslash(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte == b'\\'))
}

impl<'a> RawObject<'a> {
    /// An object and nothing else.
    ///
    /// # Errors
    /// As [`Raw::read`]; a value that is no object has no members.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        Self::read_with(bytes, &Keys::new([])).map(|(object, [])| object)
    }

    /// The same, with these members of it.
    ///
    /// # Errors
    /// As [`RawObject::read`].
    pub fn read_with<const N: usize>(bytes: &'a [u8], keys: &Keys<N>) -> Result<(Self, Picked<'a, N>), NotCanonical> {
        let (mut members, mut picker) = (Vec::with_capacity(MEMBERS), Picker::new(keys, bytes));
        let (whole, is_plain) = Reader::members(bytes, |member| {
            picker.see(&member);
            members.push(member);
        })?;
        Ok((Self { whole, members }, picker.found(whole, is_plain)))
    }

    pub fn get(&self, key: &str) -> Option<Raw<'a>> {
        // They are sorted by what they read, which is not always how they are spelt.
        let head = head(key.as_bytes(), 0..key.len());
        self.members.iter().find(|member| self.is(member, head, key)).map(|member| self.value(member))
    }

    fn is(&self, member: &Member, head: u64, key: &str) -> bool {
        member.head == head && self.key(member) == key
    }

    fn key(&self, member: &Member) -> &'a str {
        self.whole.part(member.key.clone()).text
    }

    fn value(&self, member: &Member) -> Raw<'a> {
        self.whole.part(member.value.clone())
    }

    /// All of it.
    pub fn whole(&self) -> Raw<'a> {
        self.whole
    }

    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.as_text()
    }
}

/// The first eight bytes of a key as one number, the first of them highest and zeros where it is shorter: keys whose heads differ
/// sort as these do, because no byte of a key is zero.
fn head(bytes: &[u8], key: Range<usize>) -> u64 {
    let rest = bytes.get(key.start..).unwrap_or_default();
    let word = match rest.first_chunk() {
        Some(word) => u64::from_be_bytes(*word),
        None => rest.iter().rev().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56),
    };
    let bits = u32::try_from(8 * key.len().min(8)).unwrap_or(64);
    word & !u64::MAX.checked_shr(bits).unwrap_or(0)
}

/// In words. It is where the reader stands, and small, because every string may have one.
type Problem = &'static str;

struct Reader<'a> {
    raw: Raw<'a>,
    at: usize,
    /// Keys need not be looked at for what is not ASCII.
    is_ascii: bool,
    /// The block that was looked at last for bytes that end or escape a string, and which of its bytes do.
    block: usize,
    specials: u64,
}

/// Bytes looked at together: one bit of a word each.
const BLOCK: usize = 64;

/// Which bytes do not stand for themselves in a string. Written so that it is compiled to a few vector instructions: an entry
/// has a hundred strings, and a call for each costs more than their bytes.
fn specials(block: &[u8; BLOCK]) -> u64 {
    let flags = block.map(|byte| u8::from(byte == b'"') | u8::from(byte == b'\\'));
    let (words, _) = flags.as_chunks::<8>();
    // The factor moves the lowest bit of each of eight bytes to its place in the highest byte; no two of its products meet.
    let bits = words.iter().map(|word| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    (0..).step_by(8).zip(bits).fold(0, |all, (at, bits)| all | bits << at)
}

impl<'a> Reader<'a> {
    /// What holds of the whole text is looked for many bytes at a time.
    fn new(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| NotCanonical { problem: "not UTF-8", offset: e.valid_up_to() })?;
        // In strings they are escaped, and between values there is nothing.
        if bytes.iter().fold(false, |found, b| found | (*b < 0x20)) {
            let offset = bytes.iter().position(|b| *b < 0x20).unwrap_or(0);
            return Err(NotCanonical { problem: "not in canonical spelling", offset });
        }
        let raw = Raw { text, is_plain: !has_backslash(bytes) };
        Ok(Self { is_ascii: text.is_ascii(), ..Self::again(raw) })
    }

    /// All of a text, with its members if it is an object, and whether all their keys are spelt as they read.
    fn members(bytes: &'a [u8], member: impl FnMut(Member)) -> Result<(Raw<'a>, bool), NotCanonical> {
        let mut reader = Self::new(bytes)?;
        let read = match reader.peek() {
            Some(b'{') => reader.object(0, member),
            _ => reader.value(0).map(|()| true),
        };
        let is_plain = reader.end(read)?;
        Ok((reader.raw, is_plain))
    }

    /// Of a part of what was read.
    fn again(raw: Raw<'a>) -> Self {
        Self { raw, at: 0, is_ascii: true, block: usize::MAX, specials: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.raw.text.as_bytes()
    }

    /// What was read, if that was all.
    fn end<T>(&self, read: Result<T, Problem>) -> Result<T, NotCanonical> {
        let read =
            read.and_then(|read| if self.at == self.raw.text.len() { Ok(read) } else { Err("text after the value") });
        read.map_err(|problem| NotCanonical { problem, offset: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Where the next byte is that does not stand for itself in a string.
    fn special(&mut self) -> Option<usize> {
        let mut at = self.at;
        loop {
            let block = at / BLOCK;
            if self.block != block {
                self.look_at(block)?;
            }
            let ahead = self.specials >> (at % BLOCK);
            if ahead != 0 {
                return Some(at + ahead.trailing_zeros() as usize);
            }
            at = (block + 1) * BLOCK;
        }
    }

    /// `None` behind the end.
    fn look_at(&mut self, block: usize) -> Option<()> {
        let rest = self.bytes().get(block * BLOCK..).filter(|rest| !rest.is_empty())?;
        self.specials = match rest.first_chunk() {
            Some(whole) => specials(whole),
            None => {
                let mut padded = [0; BLOCK];
                padded.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
                specials(&padded)
            }
        };
        self.block = block;
        Some(())
    }

    fn word(&mut self, word: &str) -> Result<(), Problem> {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err("unknown word");
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply");
        }
        match self.peek() {
            Some(b'{') => self.object(depth, |_| ()).map(drop),
            Some(b'[') => self.array(depth, |_| ()),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => Err("null is not used"),
            _ => Err("expected a value"),
        }
    }

    /// Whether every key is spelt as it reads.
    fn object(&mut self, depth: usize, mut member: impl FnMut(Member)) -> Result<bool, Problem> {
        self.at += 1;
        if self.take(b'}') {
            return Ok(true);
        }
        let (mut last, mut is_plain): (Option<(u64, Range<usize>)>, _) = (None, true);
        loop {
            let from = self.at + 1;
            is_plain &= self.string()?;
            let key = from..self.at - 1;
            if !self.is_ascii && !self.bytes().get(key.clone()).is_some_and(<[u8]>::is_ascii) {
                return Err("key is not ASCII");
            }
            let head = head(self.bytes(), key.clone());
            if let Some((before, last)) = last
                && !(is_plain && before < head)
                && !self.follows(last, key.clone(), is_plain)
            {
                return Err("keys not sorted or not unique");
            }
            last = Some((head, key.clone()));
            if !self.take(b':') {
                return Err("expected `:`");
            }
            let from = self.at;
            match self.peek() {
                Some(b'"') if depth < DEPTH_MAX => drop(self.string()?),
                _ => self.value(depth + 1)?,
            }
            member(Member { head, key, value: from..self.at });
            if self.take(b'}') {
                return Ok(is_plain);
            }
            if !self.take(b',') {
                return Err("expected `,` or `}`");
            }
        }
    }

    /// Whether a key sorts behind the one before it.
    fn follows(&self, last: Range<usize>, key: Range<usize>, is_plain: bool) -> bool {
        let [last, key] = [last, key].map(|key| self.raw.part(key).text);
        if is_plain { is_before(last, key) } else { unescaped(last) < unescaped(key) }
    }

    fn array(&mut self, depth: usize, mut item: impl FnMut(Range<usize>)) -> Result<(), Problem> {
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let from = self.at;
            self.value(depth + 1)?;
            item(from..self.at);
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err("expected `,` or `]`");
            }
        }
    }

    fn integer(&mut self) -> Result<(), Problem> {
        let rest = self.raw.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().take_while(|b| matches!(b, b'-' | b'0'..=b'9')).count();
        let text = rest.get(..length).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let n: i64 = text.parse().map_err(|_| "not an integer")?;
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&n) {
            return Err("integer beyond 2^53");
        }
        // One spelling only: neither `-0` nor `01`.
        if digits.starts_with('0') && text != "0" {
            return Err("not in canonical spelling");
        }
        self.at += length;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err("floats are not used");
        }
        Ok(())
    }

    /// Only the escapes that are written. Whether there are none.
    #[inline]
    fn string(&mut self) -> Result<bool, Problem> {
        if !self.take(b'"') {
            return Err("expected a string");
        }
        // Most end in the block in which they begin.
        let ahead = self.specials >> (self.at % BLOCK);
        let end = self.at + ahead.trailing_zeros() as usize;
        if self.at / BLOCK == self.block && ahead != 0 && self.bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(true);
        }
        self.string_behind()
    }

    /// Behind its quote.
    #[inline(never)]
    fn string_behind(&mut self) -> Result<bool, Problem> {
        let mut is_plain = true;
        loop {
            self.at = self.special().ok_or("string without end")?;
            if self.take(b'"') {
                return Ok(is_plain);
            }
            // A backslash.
            self.at += 1;
            is_plain = false;
            match self.peek() {
                Some(b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r') => self.at += 1,
                Some(b'u') => {
                    let digits = self.raw.text.get(self.at + 1..self.at + 5).ok_or("bad escape")?;
                    let code = digits.strip_prefix("00").and_then(|hex| super::unhex(hex)?.first().copied());
                    let has_its_own = |b: u8| matches!(b, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
                    if !code.is_some_and(|b| b < 0x20 && !has_its_own(b)) {
                        return Err("not in canonical spelling");
                    }
                    self.at += 5;
                }
                _ => return Err("bad escape"),
            }
        }
    }
}

/// Whether one key sorts before another; both are spelt as they read.
fn is_before(one: &str, other: &str) -> bool {
    one.as_bytes() < other.as_bytes()
}

/// What stands between the quotes of a canonical string.
fn unescaped(inner: &str) -> String {
    match super::tree(Raw { text: &format!("\"{inner}\""), is_plain: false }) {
        Ok(super::Value::Text(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
