//! Files of entries that are gone: they go once the entry that says so is under a published checkpoint, and not before.
//!
//! In order: what is carried forward is held against the signed tree and written, then the file that says what is gone, and a while
//! later the entry bundles go, the first ones first: whoever began to read or to copy them by an earlier checkpoint finds them.
//! Whatever of that a crash leaves undone, the next start does, going by the age of the file that says it: starts that follow each
//! other keep nothing for longer. Hash tiles and kept checkpoints stay, all of them.

use super::files::{Tree, has_lingered};
use super::{PublishError, Task, Work, blocking, put, sync};
use crate::prune::{Pruned, check_carried};
use model::Timestamp;
use model::pruning::WIDTH;
use std::io;
use std::path::{Path, PathBuf};

/// Says what is gone, for those who look for it: a hint. The entry that it names is what counts.
pub const PRUNED_FILE: &str = "pruned";
/// Where entries lie that are carried forward.
pub const CARRIED_DIR: &str = "carried";

/// `carried/00000000000000/00000000000000001234`, as kept checkpoints.
pub fn carried_path(index: u64) -> String {
    let name = format!("{index:020}");
    let dir = name.get(..14).unwrap_or_default();
    format!("{CARRIED_DIR}/{dir}/{name}")
}

impl Task {
    /// # Errors
    /// What of it failed, with what is known of the files; only that where not even this is left.
    pub(super) async fn prune_files(&self, mut work: Work) -> Result<(Work, Result<(), PublishError>), PublishError> {
        let said = self.log.pruned();
        let Some(said) = said.filter(|said| said.below > work.pruned && said.under < work.published.size) else {
            return Ok((work, Ok(())));
        };
        let (now, linger_ms) = (self.shared().now(), self.options.linger_ms);
        let announced = work.announced.filter(|(below, _)| *below == said.below).map(|(_, since)| since);
        if announced.is_some_and(|since| !has_lingered(since, now, linger_ms)) {
            return Ok((work, Ok(())));
        }
        // What is carried forward may be what the next pruning says already, whose entry is still to be published.
        let carried = match crate::prune::carried_under(self.reader()).await {
            Ok(carried) => carried.filter(|(pruning, _)| pruning.index == said.under),
            Err(error) => return Ok((work, Err(error.into()))),
        };
        let Some((pruning, carried)) = carried else { return Ok((work, Ok(()))) };
        let dir = self.options.dir.clone();
        blocking(move || {
            let done = (|| {
                check_carried(&dir, &work.published.note, &pruning, &carried)?;
                let since = match announced {
                    Some(since) => since,
                    None => announce(&mut work.tree, said, &carried)?.unwrap_or(now),
                };
                work.announced = Some((said.below, since));
                if !has_lingered(since, now, linger_ms) {
                    return Ok(());
                }
                let kept: Vec<PathBuf> =
                    carried.iter().map(|(index, _)| work.tree.path(&carried_path(*index))).collect();
                let count = discard(&work.tree, said, &kept)
                    .map_err(|source| PublishError::File { path: work.tree.path("tile/entries"), source })?;
                work.pruned = said.below;
                if count > 0 {
                    tracing::info!(
                        below = said.below,
                        under = said.under,
                        bundles = count,
                        "published entries that were pruned are gone"
                    );
                }
                Ok(())
            })();
            Ok((work, done))
        })
        .await
    }
}

/// Says what is gone, behind what is carried forward. Since when it was said before, if it was.
fn announce(tree: &mut Tree, said: Pruned, carried: &[(u64, Vec<u8>)]) -> Result<Option<Timestamp>, PublishError> {
    let bytes = said.to_value().encode();
    let since = tree.read(PRUNED_FILE).ok().flatten().filter(|found| *found == bytes);
    let since = since.and_then(|_| tree.written(PRUNED_FILE));
    for (index, bytes) in carried {
        put(tree, &carried_path(*index), bytes)?;
    }
    sync(tree)?;
    put(tree, PRUNED_FILE, &bytes)?;
    sync(tree)?;
    Ok(since)
}

/// Removes bundles of entries that are gone, and what is carried forward no longer. How many bundles went.
fn discard(tree: &Tree, said: Pruned, kept: &[PathBuf]) -> io::Result<u64> {
    let mut bundles = Vec::new();
    find_bundles(&tree.path("tile/entries"), 0, said.below / WIDTH, &mut bundles)?;
    bundles.sort_unstable();
    for (_, path) in &bundles {
        remove(path)?;
    }
    for folder in names(&tree.path(CARRIED_DIR))? {
        for file in names(&folder)? {
            if !kept.contains(&file) {
                remove(&file)?;
            }
        }
    }
    Ok(bundles.len() as u64)
}

/// Bundles before number `end`, in a folder whose name stands for `prefix`.
fn find_bundles(dir: &Path, prefix: u64, end: u64, found: &mut Vec<(u64, PathBuf)>) -> io::Result<()> {
    for path in names(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let number = |digits: &str| {
            let is_group = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_group
                .then(|| digits.parse::<u64>().ok())
                .flatten()
                .map(|group| prefix.saturating_mul(1000).saturating_add(group))
        };
        match (name.strip_prefix('x').and_then(number), number(name)) {
            (Some(group), _) if group.saturating_mul(1000) < end => {
                find_bundles(&path, group, end, found)?;
            }
            (None, Some(bundle)) if bundle < end => found.push((bundle, path)),
            _ => {}
        }
    }
    Ok(())
}

/// Sorted; none of a folder that is not there.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// The file, and its folder when it was the last one in it.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.ends_with("entries")) {
        // It still has others.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::tile::{Kind, TilePath};

    #[test]
    fn the_bundles_of_what_is_gone_go_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(dir.path()).unwrap();
        let path = |index| TilePath { kind: Kind::Entries, index, width: 256 }.to_path();
        let all = [0, 7, 999, 1_000, 1_066, 1_067, 1_000_000];
        for index in all {
            tree.put(&path(index), b"x").unwrap();
        }
        tree.put("tile/entries/x001/068.p/9", b"x").unwrap();
        tree.put(&carried_path(5), b"kept").unwrap();
        tree.put(&carried_path(6), b"not any longer").unwrap();
        let said = Pruned { below: 1_067 * WIDTH, under: 300_000, before: Timestamp(0) };
        let kept = [tree.path(&carried_path(5))];
        assert_eq!(discard(&tree, said, &kept).unwrap(), 5);
        assert_eq!(discard(&tree, said, &kept).unwrap(), 0, "and once more does nothing");
        let left: Vec<u64> = all.into_iter().filter(|index| tree.path(&path(*index)).exists()).collect();
        assert_eq!(left, [1_067, 1_000_000]);
        assert!(tree.path("tile/entries/x001/068.p/9").exists());
        assert!(kept[0].exists() && !tree.path(&carried_path(6)).exists());
    }
}
