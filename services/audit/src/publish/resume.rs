//! Taking up a published directory: what is there must agree with the store, and what is missing is built again.

use super::files::Tree;
use super::tiles::TileBuilder;
use super::{
    CHECKPOINT_FILE, PublishError, Published, Task, Work, blocking, checkpoint_path, partials, put, put_checkpoint,
    put_tiles, sync,
};
use crate::store::CheckpointRow;
use std::path::Path;
use tlog::tile::{Kind, TilePath, WIDTH, tiles_for_size};
use tlog::{Checkpoint, CompactRange, HASH_BYTES, hashes_from_bytes};

/// Bundles of which the hashes are read at a time.
const TILES_AT_ONCE: u32 = 64;

impl Task {
    /// Begins where the last signed checkpoint in the store ends.
    pub(super) async fn resume(&mut self) -> Result<(), PublishError> {
        let dir = self.options.dir.clone();
        let tree = blocking(move || open_tree(&dir)).await?;
        let last = self.reader().last_checkpoint().await?;
        if let Some(last) = &last {
            let signed = self.keys.check_last(&last.note)?;
            let (size, written) = (last.range.size(), self.log.size());
            if (signed.size, signed.root) != (size, last.range.root()) {
                let what =
                    format!("the tree that is kept with the checkpoint of {size} entries is not the one it is of");
                return Err(PublishError::Mismatch(what));
            }
            if size > written {
                let what =
                    format!("a checkpoint of {size} entries is kept, and this log's writer has written {written}");
                return Err(PublishError::Mismatch(what));
            }
        }
        let named = self.named_checkpoint(&tree)?;
        if let Some(named) = &named {
            self.check_named(&tree, named, last.as_ref().map_or(0, |last| last.range.size())).await?;
        }
        let Some(last) = last else {
            let tree = blocking(move || cleared(tree)).await?;
            let published = Published { size: 0, note: String::new() };
            self.work = Some(Work::new(TileBuilder::default(), tree, published));
            return Ok(());
        };
        let range = last.range.clone();
        let minimum = self.reader().minimum().await?;
        let (tree, builder) = blocking(move || Ok(take_up(tree, &range, minimum))).await?;
        let (mut tree, builder) = match builder {
            Some(builder) => (blocking(move || cleared(tree)).await?, builder),
            None => self.rebuild(tree, &last.range).await?,
        };
        let published = Published { size: last.range.size(), note: last.note };
        if named.is_none_or(|named| named.size != published.size) {
            // The process ended between keeping the note and naming it, or the directory is new.
            tree = self.keep_missing_checkpoints(tree).await?;
            let latest = published.clone();
            tree = blocking(move || put_checkpoint(&mut tree, &latest).map(|()| tree)).await?;
            self.tell(&published);
        }
        self.work = Some(Work::new(builder, tree, published));
        Ok(())
    }

    /// What the file `checkpoint` says, if there is one.
    fn named_checkpoint(&self, tree: &Tree) -> Result<Option<Checkpoint>, PublishError> {
        let path = tree.path(CHECKPOINT_FILE);
        let fault = |source| PublishError::File { path: path.clone(), source };
        let Some(bytes) = tree.read(CHECKPOINT_FILE).map_err(fault)? else { return Ok(None) };
        let foreign = |what: String| PublishError::Foreign { path: path.clone(), what };
        let note = String::from_utf8(bytes).map_err(|e| foreign(e.to_string()))?;
        let checkpoint = parse_note(&note).map_err(foreign)?;
        if checkpoint.origin != self.log.origin() {
            return Err(foreign(format!("it is of the log `{}`", checkpoint.origin)));
        }
        Ok(Some(checkpoint))
    }

    /// A published tree must be one that the store has signed, and not a later one.
    async fn check_named(&self, tree: &Tree, named: &Checkpoint, stored: u64) -> Result<(), PublishError> {
        let path = tree.path(CHECKPOINT_FILE);
        if named.size > stored {
            return Err(PublishError::Ahead { path, published: named.size, stored });
        }
        let what = match self.reader().checkpoint(named.size).await? {
            Some(row) if row.range.root() == named.root => return Ok(()),
            Some(_) => "its root is not the one in the store",
            None => "the store has none of that size",
        };
        Err(PublishError::Foreign { path, what: what.to_owned() })
    }

    /// Writes every file of the tree again that is not there or not as it must be; beside those that are there, until the store has
    /// shown that it has the entries that were signed: of one that somebody has doctored nothing may take their place.
    async fn rebuild(&self, mut tree: Tree, range: &CompactRange) -> Result<(Tree, TileBuilder), PublishError> {
        let size = range.size();
        tracing::warn!(dir = %self.options.dir.display(), size, "published files are missing; building them again from the store");
        tree.build_beside();
        let published = Published { size: 0, note: String::new() };
        let work = Work::new(TileBuilder::default(), tree, published);
        let work = self.absorb_pruned(work).await?;
        let work = self.absorb(work, size).await?;
        if work.builder.range() != range {
            let what = format!(
                "the first {size} entries as stored do not hash to their checkpoint; nothing that is published was changed"
            );
            return Err(PublishError::Mismatch(what));
        }
        let Work { builder, mut tree, .. } = work;
        let partial = builder.partial(0);
        blocking(move || {
            put_tiles(&mut tree, &partial)?;
            tree.adopt().map_err(|source| PublishError::File { path: tree.path(""), source })?;
            sync(&mut tree)?;
            Ok((tree, builder))
        })
        .await
    }

    /// Of entries that are gone the tiles are made of their hashes.
    async fn absorb_pruned(&self, mut work: Work) -> Result<Work, PublishError> {
        let minimum = self.reader().minimum().await?;
        while work.builder.size() < minimum {
            let number = work.builder.size() / u64::from(WIDTH);
            let mut rows = self.reader().leaves(number, TILES_AT_ONCE).await?;
            rows.retain(|(number, _)| number.saturating_mul(u64::from(WIDTH)) < minimum);
            if rows.is_empty() {
                let missing =
                    format!("the hashes of pruned entries from {} on are not in the store", work.builder.size());
                return Err(PublishError::Mismatch(missing));
            }
            work = blocking(move || {
                for (number, hashes) in rows {
                    let hashes = hashes_from_bytes(&hashes);
                    if !hashes.is_some_and(|hashes| work.builder.push_pruned(number, &hashes)) {
                        let what = format!("the hashes of pruned entries in bundle {number} are not what was written");
                        return Err(PublishError::Mismatch(what));
                    }
                }
                let full = work.builder.take_full();
                put_tiles(&mut work.tree, &full)?;
                Ok(work)
            })
            .await?;
        }
        Ok(work)
    }

    async fn keep_missing_checkpoints(&self, mut tree: Tree) -> Result<Tree, PublishError> {
        let mut after = None;
        loop {
            let rows = self.reader().checkpoints_after(after).await?;
            let Some(last) = rows.last() else { return Ok(tree) };
            after = Some(last.range.size());
            tree = blocking(move || put_missing_checkpoints(&mut tree, &rows).map(|()| tree)).await?;
        }
    }
}

fn put_missing_checkpoints(tree: &mut Tree, rows: &[CheckpointRow]) -> Result<(), PublishError> {
    for row in rows {
        let name = checkpoint_path(row.range.size());
        if !tree.path(&name).is_file() {
            put(tree, &name, row.note.as_bytes())?;
        }
    }
    Ok(())
}

/// Without what a run has left beside it that built it again.
fn cleared(tree: Tree) -> Result<Tree, PublishError> {
    tree.clear_beside().map_err(|source| PublishError::File { path: tree.path(""), source })?;
    Ok(tree)
}

fn open_tree(dir: &Path) -> Result<Tree, PublishError> {
    Tree::open(dir).map_err(|source| PublishError::File { path: dir.into(), source })
}

/// `None` in place of a builder when a file of the tree is missing or its unfinished tiles are not of this tree.
///
/// Full tiles are measured, not read: comparing all of them is what `millgate audit fsck` does. Of entries before `minimum` there
/// need be no bundles.
fn take_up(mut tree: Tree, range: &CompactRange, minimum: u64) -> (Tree, Option<TileBuilder>) {
    let complete = tiles_for_size(range.size()).all(|path| match (path.kind, tree.length(&path.to_path())) {
        (Kind::Tile(_), length) => length == Some(HASH_BYTES as u64 * u64::from(path.width)),
        (Kind::Entries, None) => path.entries().end <= minimum,
        (Kind::Entries, length) => length.is_some_and(|bytes| bytes > 0),
    });
    let read = |path: &TilePath| tree.read(&path.to_path()).ok().flatten();
    let builder = complete.then(|| TileBuilder::resume(range, read)).flatten();
    // What an earlier run has left beside full tiles.
    let full = tiles_for_size(range.size()).filter(TilePath::is_full);
    tree.retire_earlier(full.map(|path| (partials(&path), path.to_path())));
    (tree, builder)
}

/// The checkpoint in a note, whoever signed it.
pub(crate) fn parse_note(note: &str) -> Result<Checkpoint, String> {
    let note = tlog::note::Note::parse(note).map_err(|e| e.to_string())?;
    Checkpoint::parse(note.text).map_err(|e| e.to_string())
}
