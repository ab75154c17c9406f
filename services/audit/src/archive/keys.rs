//! The keys that an archive names. They are a courtesy: whoever makes an archive can put any there.

use crate::error::ReadError;
use crate::frames;
use crate::published::Publication;
use crate::reader::Reader;
use model::entry::{Entry, Kind};
use tlog::policy::Log;
use tlog::{TrustPolicy, VerifierKey};

/// Those of the log that are given, then those that entries under its checkpoint name.
pub(super) async fn known(
    reader: &Reader,
    publication: &Publication,
    given: &[VerifierKey],
) -> Result<Vec<VerifierKey>, ReadError> {
    let origin = &publication.checkpoint().origin;
    let mut keys: Vec<VerifierKey> = Vec::new();
    let mut add = |key: VerifierKey| {
        if key.name() == origin && !keys.contains(&key) {
            keys.push(key);
        }
    };
    given.iter().cloned().for_each(&mut add);
    let mut of_entry = |bytes: &[u8]| {
        let entry = Entry::parse(bytes).ok().filter(|entry| entry.kind == Kind::Key);
        let texts = ["signer", "key"].into_iter().filter_map(|member| entry.as_ref()?.text(member));
        texts.filter_map(|text| VerifierKey::parse(text).ok()).for_each(&mut add);
    };
    for (_, bytes) in crate::prune::carried(reader).await? {
        of_entry(&bytes);
    }
    for first in reader.bundles_of_keys().await? {
        let bundle = reader.bundle_from(first).await?;
        if let Some(bundle) = bundle.filter(|bundle| bundle.first_index < publication.size()) {
            frames::iter(&bundle.bytes).flatten().for_each(&mut of_entry);
        }
    }
    Ok(keys)
}

/// One a line.
pub(super) fn lines(keys: &[VerifierKey]) -> String {
    keys.iter().map(|key| key.to_text() + "\n").collect()
}

/// The policy of whoever has these keys in mind: of this log, and without the addresses that the broker asks at.
pub(super) fn policy(policy: &TrustPolicy, keys: &[VerifierKey]) -> TrustPolicy {
    let logs = keys.iter().map(|key| Log { key: key.clone(), url: None });
    let mut named = policy.clone();
    named.logs = logs.collect();
    named
}
