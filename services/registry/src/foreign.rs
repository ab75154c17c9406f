//! Names that one folder uses and the other defines.

use crate::document::Spot;
use crate::near::Budget;
use crate::problem::{Place, Problem, Problems};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is defined in the other folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Organisation,
    Role,
    Purpose,
    Product,
    FieldClass,
    ExportClass,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Role => "role",
            Self::Purpose => "purpose",
            Self::Product => "product",
            Self::FieldClass => "field class",
            Self::ExportClass => "export class",
        }
    }
}

#[derive(Clone, Debug)]
struct Use {
    by: String,
    place: Option<Place>,
    more: usize,
}

/// Each name with the first place that uses it: a plant names one supplier on thousands of signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign(BTreeMap<(Kind, String), Use>);

impl Foreign {
    pub(crate) fn note(&mut self, kind: Kind, id: impl AsRef<str>, by: &str, at: Option<(&Problems, Spot)>) {
        self.0.entry((kind, id.as_ref().to_owned())).and_modify(|used| used.more += 1).or_insert_with(|| Use {
            by: by.to_owned(),
            place: at.and_then(|(p, spot)| p.place(spot)),
            more: 0,
        });
    }

    /// Problems for the names of `kind` that are not among `known`. `folder` stands for the file where no place is kept.
    pub(crate) fn unknown(&self, kind: Kind, known: &BTreeSet<String>, folder: &Path) -> Vec<Problem> {
        let budget = Budget::default();
        let unknown = self.0.iter().filter(|((k, id), _)| *k == kind && !known.contains(id));
        unknown
            .map(|((_, id), used)| {
                let more = if used.more > 0 { format!(" (and {} more)", used.more) } else { String::new() };
                let what = format!("{}{more} names the unknown {} `{id}`", used.by, kind.word());
                let help = budget.help(id, known.iter().map(String::as_str));
                match &used.place {
                    Some(place) => place.problem(what, help),
                    None => Problem { file: folder.to_owned(), line: None, column: None, what, help },
                }
            })
            .collect()
    }
}
