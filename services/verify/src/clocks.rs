//! Entries' times held against the clocks of witnesses, at the checkpoints that a quorum of them has cosigned.
//!
//! What is under such a checkpoint was there when it was cosigned, so no entry under it is later. What is not under it was
//! written after it was made, so no entry behind it is earlier, but for what clocks differ by and a checkpoint waits.
//!
//! Of all entries between two such checkpoints the latest and the earliest are remembered, no more. Where entries are under none, or
//! have none before them that tells how old they can be, the check was not made of all, and is not said to have passed.

use crate::findings::Findings;
use crate::verdict::Point;
use model::Timestamp;
use tlog::TrustPolicy;

/// Clocks of machines that keep time differ by less.
pub const CLOCKS_DIFFER_MS: i64 = 60_000;
/// As long as a broker lets a checkpoint that it has made wait for its witnesses, at the most.
pub const WAITS_MS: i64 = 60_000;

/// When a checkpoint was cosigned, by the first and by the last clock of those who did, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosigned {
    first: i64,
    last: i64,
}

impl Cosigned {
    /// `None` where nobody did.
    pub fn of(cosigned: &[(String, u64)]) -> Option<Self> {
        let times =
            || cosigned.iter().map(|(_, seconds)| i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
        Some(Self { first: times().min()?, last: times().max()? })
    }

    /// By the first of their clocks: it was there by then at the latest, as far as none of them is ahead.
    pub fn earliest(self) -> Timestamp {
        Timestamp(self.first)
    }

    /// What is wrong with an entry under the checkpoint, in words.
    pub fn too_late(self, entry: Timestamp, size: u64) -> Option<String> {
        let late = entry.millis().saturating_sub(self.last);
        (late > CLOCKS_DIFFER_MS).then(|| {
            format!(
                "{} s later than its cosignature, under a checkpoint of {size} entries: one of the clocks is wrong",
                late / 1_000
            )
        })
    }

    /// The same of an entry that is behind it.
    pub fn too_early(self, entry: Timestamp, size: u64) -> Option<String> {
        let early = self.first.saturating_sub(entry.millis());
        (early > CLOCKS_DIFFER_MS + WAITS_MS).then(|| {
            format!(
                "{} s earlier than a checkpoint of {size} entries was cosigned, which does not have it yet: it was dated back, or one \
                 of the clocks is wrong",
                early / 1_000
            )
        })
    }
}

#[derive(Clone, Debug, Default)]
pub struct Clocks<'p> {
    /// Whose cosignatures count; `None` where nobody's do.
    policy: Option<&'p TrustPolicy>,
    /// Of the entries since the last checkpoint that counted.
    latest: Option<(Timestamp, u64)>,
    earliest: Option<(Timestamp, u64)>,
    /// The first of them.
    uncovered: Option<u64>,
    /// The first checkpoint that counted, where it was cosigned much later than an entry under it says to be: its size, and by how
    /// many seconds.
    unbounded: Option<(u64, i64)>,
    /// The checkpoint before them that was cosigned last, by its witnesses' clocks, and its size.
    before: Option<(Cosigned, u64)>,
    /// Size of the last one that entries behind it were found to be too early for: once is enough.
    told: Option<u64>,
    compared: bool,
}

impl<'p> Clocks<'p> {
    pub fn new(policy: &'p TrustPolicy) -> Self {
        Self { policy: Some(policy).filter(|policy| !policy.witnesses.is_empty()), ..Self::default() }
    }

    /// An entry, of which it is known that it was logged.
    pub fn see(&mut self, index: u64, time: Timestamp) {
        if self.policy.is_none() {
            return;
        }
        self.uncovered.get_or_insert(index);
        if self.latest.is_none_or(|(latest, _)| latest < time) {
            self.latest = Some((time, index));
        }
        if self.earliest.is_none_or(|(earliest, _)| time < earliest) {
            self.earliest = Some((time, index));
        }
    }

    /// From this entry on nothing is known, and so not of what checkpoints either.
    pub fn lose(&mut self, from: u64) {
        self.uncovered.get_or_insert(from);
    }

    /// A checkpoint over all entries that were seen, and no others, which counts.
    pub fn checkpoint(&mut self, size: u64, note: &str, findings: &mut Findings) {
        let Some(policy) = self.policy else { return };
        let cosigned = policy.cosigned(note);
        let Some(times) = Cosigned::of(&cosigned).filter(|_| policy.is_met(&cosigned)) else { return };
        self.uncovered = None;
        if let Some((earliest, _)) = self.earliest.filter(|_| !self.compared) {
            let age = times.first.saturating_sub(earliest.millis());
            self.unbounded = (age > CLOCKS_DIFFER_MS + WAITS_MS).then_some((size, age / 1_000));
        }
        self.compared = true;
        if let Some((latest, index)) = self.latest.take()
            && let Some(what) = times.too_late(latest, size)
        {
            findings.of(Point::Clocks).add(index..index + 1, what);
        }
        self.settle(findings);
        if self.before.is_none_or(|(before, _)| before.first <= times.first) {
            self.before = Some((times, size));
        }
    }

    /// No more entries come before the next checkpoint.
    fn settle(&mut self, findings: &mut Findings) {
        let (Some((earliest, index)), Some((before, size))) = (self.earliest.take(), self.before) else { return };
        let Some(what) = before.too_early(earliest, size).filter(|_| self.told != Some(size)) else { return };
        self.told = Some(size);
        findings.of(Point::Clocks).add(index..index + 1, what);
    }

    /// Why entries were not held against any witness's clock, or not all of them, or not from both sides, if so.
    pub fn finish(mut self, findings: &mut Findings) -> Option<String> {
        self.settle(findings);
        let Some(_) = self.policy else { return Some(NO_WITNESSES.to_owned()) };
        if !self.compared {
            return Some(String::from("no checkpoint was cosigned by a quorum of the trust policy"));
        }
        if let Some(first) = self.uncovered {
            return Some(format!(
                "entry {first} and those behind it are under no checkpoint that a quorum of the trust policy cosigned"
            ));
        }
        self.unbounded.map(|(size, seconds)| {
            format!(
                "the first checkpoint that a quorum of the trust policy cosigned, of {size} entries, is {seconds} s younger than an entry \
                 under it: nothing tells whether that is as old as it says"
            )
        })
    }
}

/// Why nothing of witnesses was checked.
pub const NO_WITNESSES: &str = "no trust policy with witnesses was given (`--policy`)";

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{Checkpoint, CosigningKey, Hash, SigningKey};

    const START: i64 = 1_795_375_200_000;

    fn at(second: i64) -> Timestamp {
        Timestamp(START + second * 1_000)
    }

    /// Entries with their times in seconds, and checkpoints over those so far, cosigned by so many witnesses then.
    enum Told {
        Entry(i64),
        Cosigned(&'static [i64]),
    }

    fn found(quorum: &str, story: &[Told]) -> (Vec<String>, Option<String>) {
        let log = SigningKey::generate("plant.example/log", [1; 32]).unwrap();
        let witnesses = [2, 3].map(|seed| CosigningKey::generate(&format!("w.example/{seed}"), [seed; 32]).unwrap());
        let mut text = format!("log {}\n", log.verifier().to_text());
        for (name, witness) in ["a", "b"].iter().zip(&witnesses) {
            text.push_str(&format!("witness {name} {}\n", witness.verifier().to_text()));
        }
        let policy = TrustPolicy::parse(&format!("{text}{quorum}\n")).unwrap();
        let (mut clocks, mut findings, mut size) = (Clocks::new(&policy), Findings::default(), 0);
        for told in story {
            match told {
                Entry(second) => {
                    clocks.see(size, at(*second));
                    size += 1;
                }
                By(seconds) => {
                    let checkpoint = Checkpoint::new("plant.example/log", size, Hash([7; 32]));
                    let mut note = checkpoint.sign(&log).unwrap();
                    for (witness, second) in witnesses.iter().zip(*seconds) {
                        let seconds = u64::try_from(START / 1_000 + second).unwrap();
                        note.push_str(&witness.cosign(&checkpoint.to_text(), seconds));
                    }
                    clocks.checkpoint(size, &note, &mut findings);
                }
            }
        }
        let why = clocks.finish(&mut findings);
        let (list, _) = findings.finish();
        assert!(list.iter().all(|finding| finding.check == Point::Clocks));
        (list.iter().map(ToString::to_string).collect(), why)
    }

    use Told::{Cosigned as By, Entry};

    fn why(story: &[Told]) -> String {
        let (findings, why) = found("quorum a", story);
        assert_eq!(findings, Vec::<String>::new());
        why.unwrap_or_default()
    }

    #[test]
    fn clocks_have_not_passed_where_entries_are_under_no_cosigned_checkpoint() {
        let behind = "entry 2 and those behind it are under no checkpoint that a quorum of the trust policy cosigned";
        assert_eq!(why(&[Entry(0), Entry(1), By(&[2]), Entry(3), Entry(4)]), behind);
        // Checkpoints that nobody cosigned are none.
        assert_eq!(why(&[Entry(0), Entry(1), By(&[2]), Entry(3), By(&[]), Entry(4), By(&[])]), behind);
        // One over them all is enough, however many before it were not cosigned.
        assert_eq!(why(&[Entry(0), By(&[]), Entry(1), By(&[2]), Entry(3), By(&[]), Entry(4), By(&[5])]), "");
        // What is lost was not looked at.
        let policy = TrustPolicy::parse(&format!(
            "log {}\nwitness a {}\nquorum a\n",
            SigningKey::generate("plant.example/log", [1; 32]).unwrap().verifier().to_text(),
            CosigningKey::generate("w.example/2", [2; 32]).unwrap().verifier().to_text()
        ));
        let policy = policy.unwrap();
        let mut clocks = Clocks { compared: true, ..Clocks::new(&policy) };
        clocks.lose(256);
        assert!(clocks.finish(&mut Findings::default()).unwrap().starts_with("entry 256 and those behind it"));
    }

    #[test]
    fn clocks_have_not_passed_where_nothing_tells_how_old_the_first_entries_are() {
        assert_eq!(why(&[Entry(0), Entry(60), By(&[120]), Entry(121), By(&[9_000])]), "");
        assert_eq!(
            why(&[Entry(0), Entry(60), By(&[121]), Entry(122), By(&[123])]),
            "the first checkpoint that a quorum of the trust policy cosigned, of 2 entries, is 121 s younger than an entry under it: \
             nothing tells whether that is as old as it says"
        );
    }

    #[test]
    fn entries_lie_between_the_cosignatures_before_and_over_them() {
        let fine = found("quorum a", &[Entry(0), By(&[1]), Entry(-100), Entry(60), By(&[2]), Entry(-117), By(&[62])]);
        assert_eq!(fine, (vec![], None));
        let (late, _) = found("quorum a", &[Entry(0), Entry(90), Entry(80), By(&[29]), Entry(90), By(&[90])]);
        assert_eq!(
            late,
            ["entry 1: 61 s later than its cosignature, under a checkpoint of 3 entries: one of the clocks is wrong"]
        );
        let early = "earlier than a checkpoint of 1 entries was cosigned, which does not have it yet: it was dated back, or one of \
                     the clocks is wrong";
        let (back, _) = found("quorum a", &[Entry(0), By(&[1]), Entry(3), Entry(-121), By(&[5]), Entry(6), By(&[6])]);
        assert_eq!(back, [format!("entry 2: 122 s {early}")]);
        // Behind the last checkpoint too; and a later one that was cosigned by a slower clock takes nothing back.
        let (back, _) = found("quorum a", &[Entry(0), By(&[1]), Entry(1), By(&[-30]), Entry(-121)]);
        assert_eq!(back, [format!("entry 2: 122 s {early}")]);
        // Once, however many there are of it.
        let (back, _) = found("quorum a", &[Entry(0), By(&[900]), Entry(1), By(&[2]), Entry(3), By(&[4]), Entry(5)]);
        assert_eq!(back.len(), 1, "{back:?}");
    }

    #[test]
    fn one_witness_with_a_wrong_clock_accuses_nobody() {
        let both = "group both 2 a b\nquorum both";
        let wrong = [Entry(0), By(&[1, -9_000]), Entry(2), By(&[3, 9_000]), Entry(4), By(&[5, 9_000])];
        assert_eq!(found(both, &wrong), (vec![], None));
        // What is no quorum does not count.
        let (none, why) = found(both, &[Entry(0), By(&[-9_000]), Entry(2)]);
        let said = "no checkpoint was cosigned by a quorum of the trust policy";
        assert_eq!((none, why.as_deref()), (vec![], Some(said)));
        assert_eq!(found("quorum none", &[Entry(9_000), By(&[0])]).0.len(), 1);
    }
}
