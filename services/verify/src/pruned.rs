//! Entries that are not kept any longer: which entry says so, and what of them is there all the same.
//!
//! The published file `pruned` says where to look, and is believed in nothing. What counts is the entry that it names, once that
//! is found in the tree: it says how far entries are gone, by which policy and from before which time. Their hashes are
//! there, so the tree is checked from its beginning; and entries that are carried forward have to have these hashes.

use crate::bundle::Bundle;
use model::Timestamp;
use model::canonical::{self, Value};
use model::entry::Entry;
use model::pruning::{Pruning, WIDTH};
use serde_json::json;
use std::fmt;
use tlog::bundle::{ENTRY_BYTES_MAX, decode_lossy};
use tlog::tile::TilePath;

const PRUNED_FILE: &str = "pruned";
/// Three numbers and a time.
const PRUNED_BYTES_MAX: usize = 4096;
/// Entries of a log that did not publish for longer than this look younger than they are.
const LAG_MS_MAX: i64 = 86_400_000;
/// A full bundle of the largest entries.
const BUNDLE_BYTES_MAX: usize = 256 * (2 + ENTRY_BYTES_MAX);

/// Reads a published file of at most so many bytes; `None` where there is none.
pub type Read<'r> = dyn FnMut(&str, usize) -> Option<Vec<u8>> + 'r;

/// What the entry says that the published directory names, in a log of `size` entries. Whether it is in the tree is for the
/// caller to see.
pub fn load(size: u64, read: &mut Read<'_>) -> Option<Pruning> {
    let hint = canonical::parse(&read(PRUNED_FILE, PRUNED_BYTES_MAX)?).ok()?;
    let under = hint.get("under").and_then(Value::as_int).and_then(|under| u64::try_from(under).ok())?;
    let path = Bundle::path(under / WIDTH, size).filter(|_| under < size)?;
    let full = TilePath { width: u16::try_from(WIDTH).ok()?, ..path };
    let bytes = read(&path.to_path(), BUNDLE_BYTES_MAX).or_else(|| read(&full.to_path(), BUNDLE_BYTES_MAX))?;
    let (entries, _) = decode_lossy(&bytes);
    let entry = Entry::parse(entries.get(usize::try_from(under % WIDTH).ok()?)?).ok()?;
    Pruning::read(under, &entry)?.ok().filter(|said| said.fault().is_none())
}

/// An entry that is carried forward.
pub fn carried(index: u64, read: &mut Read<'_>) -> Option<Vec<u8>> {
    let name = format!("{index:020}");
    read(&format!("carried/{}/{name}", name.get(..14).unwrap_or_default()), ENTRY_BYTES_MAX)
}

/// What is gone, for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Entries before this one.
    pub below: u64,
    /// The entry that says so.
    pub under: u64,
    /// All of them are of before this time, as it says.
    pub before: Timestamp,
    /// For how many days its policy keeps entries.
    pub days: u32,
    /// SHA-256 of the policy's text.
    pub policy: String,
    /// Entries before `below` that are carried forward.
    pub carried: u64,
    /// The shortest time for which any pruning in the log kept entries, and that one.
    pub shortest: (u32, u64),
}

impl Pruned {
    pub fn of(said: &Pruning) -> Self {
        Self {
            below: said.minimum,
            under: said.index,
            before: said.before,
            days: said.days,
            policy: said.policy.to_hex(),
            carried: said.carried.len() as u64,
            shortest: (said.days, said.index),
        }
    }

    /// What contradicts a reader who was told that entries are kept for `days`.
    pub fn fault(&self, days: u32) -> Option<(u64, String)> {
        let (shortest, under) = self.shortest;
        (shortest < days).then(|| (under, too_short(shortest, days)))
    }

    /// Whether a checkpoint that ends before these entries do was cosigned so late (in seconds since 1970) that the entries
    /// behind it cannot be as old as is said. A log that publishes does so about once a second.
    pub fn is_later(&self, cosigned: u64) -> bool {
        let cosigned = i64::try_from(cosigned).unwrap_or(i64::MAX).saturating_mul(1_000);
        cosigned >= self.before.millis().saturating_add(LAG_MS_MAX)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Self { below, under, before, days, policy, carried, shortest } = self;
        json!({
            "below": below, "under": under, "before": before.to_rfc3339(), "days": days, "policy": policy, "carried": carried,
            "shortest_days": shortest.0,
        })
    }
}

/// Of an entry that prunes by a policy which keeps entries for `days`, where `expected` are expected.
pub fn too_short(days: u32, expected: u32) -> String {
    format!("entries were pruned that are kept for {days} days, and not for {expected}")
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { below, under, before, days, policy, carried, .. } = self;
        writeln!(
            f,
            "  pruned         entries before {below}, by entry {under}: it says that all are of before {before}, and kept for {days} days"
        )?;
        writeln!(f, "                 policy {policy}; {carried} of them are carried forward")?;
        writeln!(f, "                 of the others the hashes are checked, and not what they said")
    }
}
