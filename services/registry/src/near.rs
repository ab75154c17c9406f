//! "Did you mean": the nearest known name.

use std::cell::Cell;

/// More candidates than this are not listed in a message.
const LISTED_MAX: usize = 12;

/// The known name that is a few typing errors away from `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is still a typing error; more is another word.
    let allowed = (name.chars().count() / 3).max(1);
    let wanted = name.to_lowercase();
    known
        .into_iter()
        // As many letters more or fewer are as many errors.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= 4 * allowed)
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Help for an unknown `name`: the nearest known one, else all of them if they are few.
pub(crate) fn help<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    (!known.is_empty() && known.len() <= LISTED_MAX).then(|| format!("known: {}", list(&known)))
}

/// How many comparisons the suggestions for one folder may take: a thousand unknown names are one mistake, and nobody
/// waits for a thousand suggestions out of ten thousand names.
const COMPARISONS_MAX: usize = 200_000;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(COMPARISONS_MAX))
    }
}

impl Budget {
    /// [`help`], as long as the budget lasts. `known` is as long as it says.
    pub(crate) fn help<'a>(&self, name: &str, known: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
        self.0.set(self.0.get().checked_sub(known.len())?);
        help(name, known)
    }
}

/// `a`, `b`, `c`
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_forgiven_and_other_words_are_not() {
        assert_eq!(nearest("urll", ["url", "title"]), Some("url"));
        assert_eq!(nearest("acem", ["acme", "bolt"]), Some("acme"));
        assert_eq!(nearest("Title", ["url", "title"]), Some("title"));
        assert_eq!(nearest("colour", ["url", "title"]), None);
        assert_eq!(help("colour", ["url", "title"]).as_deref(), Some("known: `url`, `title`"));
        assert_eq!(help("colour", []), None);
    }
}
