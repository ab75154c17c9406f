//! The keys of the log, as the configuration names their files.

use anyhow::Context as _;
use audit::keys::KeyFiles;
use audit::{Keys, signer};
use runtime::config::Audit;
use std::sync::Arc;

/// What is wrong with the files. None is made.
pub(crate) fn problem(audit: &Audit) -> Option<String> {
    if audit.key_file.exists() {
        return load(audit).err().map(|error| format!("{error:#}"));
    }
    let next = audit.next_key_file.iter().map(|path| signer::load(path, &audit.origin).map(drop));
    let previous = audit.previous_key_files.iter().map(|path| signer::load_public(path, &audit.origin).map(drop));
    let error = next.chain(previous).find_map(Result::err)?;
    Some(format!("{:#}", anyhow::Error::from(error).context("the keys of the log cannot be used")))
}

/// # Errors
/// When a file cannot be used, or one key is in two places.
pub(crate) fn load(audit: &Audit) -> anyhow::Result<Keys> {
    let files = KeyFiles {
        current: audit.key_file.clone(),
        next: audit.next_key_file.clone(),
        previous: audit.previous_key_files.clone(),
    };
    let random: audit::Random = Arc::new(runtime::random::fill);
    Keys::load(&files, &audit.origin, &random).with_context(|| {
        format!(
            "the keys of the log cannot be used (`{}`, and `next_key_file` and `previous_key_files` of [audit]); \
             `millgate audit keys new` makes one",
            audit.key_file.display()
        )
    })
}
