//! The characters a parameter may be made of, written as in a regular expression's brackets: `A-Za-z0-9_.-`.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characters {
    written: String,
    ranges: Vec<(char, char)>,
}

/// What identifiers are usually made of. Nothing in it means anything to a URL, a query language or a shell.
const DEFAULT: &str = "A-Za-z0-9_.-";

impl Default for Characters {
    fn default() -> Self {
        let ranges = vec![('A', 'Z'), ('a', 'z'), ('0', '9'), ('_', '_'), ('.', '.'), ('-', '-')];
        Self { written: DEFAULT.to_owned(), ranges }
    }
}

impl Characters {
    /// A `-` is itself at the beginning or the end. There are no escapes and no control characters.
    pub(crate) fn parse(written: &str) -> Result<Self, String> {
        let chars: Vec<char> = written.chars().collect();
        let mut ranges = Vec::new();
        let mut rest = chars.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            let (last, after) = match after {
                ['-', last, after @ ..] => (*last, after),
                _ => (first, after),
            };
            if last < first {
                return Err(format!("`{first}-{last}` runs backwards"));
            }
            ranges.push((first, last));
            rest = after;
        }
        // C0, DEL and C1 stand together in two blocks; a range that touches one holds one of its ends or spans it.
        let touches = |&(a, b): &(char, char)| a < ' ' || (a <= '\u{9f}' && b >= '\u{7f}');
        if ranges.is_empty() || ranges.iter().any(touches) {
            return Err(String::from("it is empty or has control characters"));
        }
        Ok(Self { written: written.to_owned(), ranges })
    }

    pub fn allows(&self, c: char) -> bool {
        self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&c))
    }

    /// The first character of `of` that is allowed.
    pub(crate) fn first_allowed(&self, of: &str) -> Option<char> {
        of.chars().find(|c| self.allows(*c))
    }

    /// Only ASCII letters, digits and `_`: text that is one word in any language.
    pub(crate) fn is_word(&self) -> bool {
        let word = |&(a, b): &(char, char)| {
            [('A', 'Z'), ('a', 'z'), ('0', '9'), ('_', '_')].iter().any(|(from, to)| *from <= a && b <= *to)
        };
        self.ranges.iter().all(word)
    }
}

impl fmt::Display for Characters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_as_in_brackets() {
        assert_eq!(Characters::parse(DEFAULT), Ok(Characters::default()));
        let hex = Characters::parse("-0-9a-f").unwrap();
        assert!("-09af".chars().all(|c| hex.allows(c)));
        assert!(!hex.allows('g') && !hex.is_word());
        assert!(Characters::parse("A-Z_").unwrap().is_word());
        for bad in ["", "z-a", "\t", " -\u{80}", "\u{1}-z"] {
            assert!(Characters::parse(bad).is_err(), "{bad:?}");
        }
    }
}
