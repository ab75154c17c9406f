//! What an archive is read from, watched, so that a file that is none or breaks off is told in other words than those of a reader of
//! tar files.

use super::Unusable;
use std::cell::{Cell, RefCell};
use std::io::{self, Read};

/// A tar file's header: its form stands at 257.
const HEADER_BYTES: usize = 512;
const FORM_AT: usize = 257;
const FORM: &[u8] = b"ustar";

/// What was seen of the bytes so far.
#[derive(Debug, Default)]
pub(super) struct Watched {
    first: RefCell<Vec<u8>>,
    bytes: Cell<u64>,
    ended: Cell<bool>,
}

pub(super) struct Reader<'w, R> {
    pub reader: R,
    pub watched: &'w Watched,
}

impl<R: Read> Read for Reader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        let Watched { first, bytes, ended } = self.watched;
        bytes.set(bytes.get().saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
        ended.set(ended.get() || count == 0 && !into.is_empty());
        let mut first = first.borrow_mut();
        let lacks = HEADER_BYTES.saturating_sub(first.len());
        first.extend(into.iter().take(count.min(lacks)));
        Ok(count)
    }
}

impl Watched {
    /// Why it cannot be read, by how it begins and ends.
    pub(super) fn explain(&self, why: Unusable) -> Unusable {
        let first = self.first.borrow();
        if first.is_empty() && self.ended.get() {
            return Unusable::NoTar("it is empty");
        }
        let packed = [&b"\x1f\x8b"[..], b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK\x03\x04"];
        if packed.iter().any(|magic| first.starts_with(magic)) {
            return Unusable::NoTar("it is compressed: unpack it to the `.tar` in it");
        }
        let is_read = !first.is_empty();
        if is_read && first.get(FORM_AT..FORM_AT + FORM.len()) != Some(FORM) {
            return Unusable::NoTar("it is no tar file, as `millgate audit export` writes them");
        }
        match why {
            Unusable::Read(_) if is_read && self.ended.get() => Unusable::BrokenOff(self.bytes.get()),
            why => why,
        }
    }
}
