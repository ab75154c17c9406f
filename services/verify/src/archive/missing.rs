//! Values that an archive should show and does not, until it is known which of them were erased: the entries that say so stand
//! behind them. Of a log in which a class went by age that is every entry, so they are kept small: 32 bytes each, and who takes
//! part once for all entries in which the same take part.

use model::Timestamp;
use model::entry::CommitmentClass;
use model::erasure::People;
use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Default)]
pub(super) struct Missing {
    rows: Vec<Row>,
    groups: HashMap<Group, u32>,
}

/// References and organisations.
type Group = (BTreeSet<String>, BTreeSet<String>);

#[derive(Debug)]
struct Row {
    index: u64,
    time: Timestamp,
    group: u32,
    /// One bit for each class, in the order of all of them.
    classes: u8,
}

impl Missing {
    pub(super) fn add(&mut self, index: u64, lacks: &[CommitmentClass], people: impl FnOnce() -> People) {
        if lacks.is_empty() {
            return;
        }
        let bits = (0..).zip(CommitmentClass::ALL).filter(|(_, class)| lacks.contains(class));
        let classes = bits.fold(0, |bits, (n, _)| bits | 1_u8 << n);
        let People { time, references, organisations } = people();
        let next = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let group = *self.groups.entry((references, organisations)).or_insert(next);
        self.rows.push(Row { index, time, group, classes });
    }

    /// In the order of the entries.
    pub(super) fn for_each(mut self, mut take: impl FnMut(u64, CommitmentClass, &People)) {
        self.rows.sort_unstable_by_key(|row| row.index);
        let mut groups: Vec<(u32, Group)> = self.groups.into_iter().map(|(group, number)| (number, group)).collect();
        groups.sort_unstable_by_key(|(number, _)| *number);
        let mut groups: Vec<People> = groups
            .into_iter()
            .map(|(_, (references, organisations))| People { time: Timestamp(0), references, organisations })
            .collect();
        for row in self.rows {
            let group = usize::try_from(row.group).ok().and_then(|group| groups.get_mut(group));
            let Some(people) = group else { continue };
            people.time = row.time;
            let lacks = (0..).zip(CommitmentClass::ALL).filter(|(n, _)| row.classes & 1_u8 << n != 0);
            lacks.for_each(|(_, class)| take(row.index, class, people));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_of_a_few_persons_take_no_more_than_their_places_in_memory() {
        let mut missing = Missing::default();
        let people = |n: u64| People {
            time: Timestamp(i64::try_from(n).unwrap()),
            references: BTreeSet::from([format!("reference {}", n % 3)]),
            organisations: BTreeSet::from([String::from("acme")]),
        };
        for n in (0..1_000_u64).rev() {
            missing.add(n, &[CommitmentClass::Payload, CommitmentClass::Network], || people(n));
            missing.add(n, &[], || panic!("nobody is asked about nothing"));
        }
        assert!(size_of::<Row>() <= 32);
        assert_eq!((missing.groups.len(), missing.rows.len()), (3, 1_000));
        let mut seen = Vec::new();
        missing.for_each(|index, class, who| {
            assert_eq!(*who, people(index));
            seen.push((index, class));
        });
        assert_eq!(seen.len(), 2_000);
        assert!(seen.is_sorted());
    }
}
