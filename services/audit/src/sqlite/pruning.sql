-- Entries before a minimum index are gone (C2SP tlog-tiles, Pruning). Put into every store as it is opened.

-- Where entries of kind `pruning` stand, and what each of them says: the minimum index, and the time in milliseconds that all
-- entries are of before which are gone. The last one counts.
CREATE TABLE IF NOT EXISTS pruning (
    entry_index INTEGER PRIMARY KEY,
    minimum INTEGER NOT NULL CHECK (minimum > 0 AND minimum % 256 = 0),
    before INTEGER NOT NULL
) STRICT;

-- Hashes of the entries that are gone, 256 a row: a tile of level 0. So the tree can be built from the store alone.
CREATE TABLE IF NOT EXISTS leaf (
    number INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192)
) STRICT;

-- Entries before the minimum index that later ones depend on. Their hashes are in `leaf`.
CREATE TABLE IF NOT EXISTS carried (
    entry_index INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TRIGGER IF NOT EXISTS pruning_no_update BEFORE UPDATE ON pruning
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS pruning_no_delete BEFORE DELETE ON pruning
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- Forward, by an entry of the latest bundle, and of nothing that no checkpoint was signed over.
CREATE TRIGGER IF NOT EXISTS pruning_is_covered BEFORE INSERT ON pruning
    WHEN NEW.minimum <= coalesce((SELECT minimum FROM pruning ORDER BY entry_index DESC LIMIT 1), 0)
        OR NEW.minimum > coalesce((SELECT max(size) FROM checkpoint), 0)
        OR NEW.entry_index < (SELECT max(first_index) FROM bundle)
        OR NEW.entry_index >= (SELECT size FROM head)
    BEGIN SELECT RAISE(ABORT, 'entries are pruned by an entry behind a checkpoint over them'); END;
CREATE TRIGGER IF NOT EXISTS leaf_no_update BEFORE UPDATE ON leaf
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS leaf_no_delete BEFORE DELETE ON leaf
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

-- A row goes only if all of it is before the minimum index and the time, and its hashes are kept; one that reaches beyond the
-- index is cut there, and what is left of it is its end.
DROP TRIGGER IF EXISTS bundle_no_delete;
CREATE TRIGGER IF NOT EXISTS bundle_stays BEFORE DELETE ON bundle
    WHEN OLD.first_index + OLD.count > coalesce((SELECT minimum FROM pruning ORDER BY entry_index DESC LIMIT 1), 0)
        OR OLD.first_index + OLD.count > coalesce((SELECT (max(number) + 1) * 256 FROM leaf), 0)
        OR OLD.time_last >= (SELECT before FROM pruning ORDER BY entry_index DESC LIMIT 1)
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
DROP TRIGGER IF EXISTS bundle_no_update;
DROP TRIGGER IF EXISTS bundle_is_cut;
CREATE TRIGGER IF NOT EXISTS bundle_keeps_its_end BEFORE UPDATE ON bundle
    WHEN OLD.first_index >= NEW.first_index OR NEW.first_index + NEW.count <> OLD.first_index + OLD.count
        OR length(NEW.bytes) = 0 OR length(NEW.bytes) >= length(OLD.bytes)
        OR substr(OLD.bytes, -length(NEW.bytes)) <> NEW.bytes
        OR NEW.time_first < OLD.time_first OR NEW.time_last > OLD.time_last
        OR NEW.first_index <> coalesce((SELECT minimum FROM pruning ORDER BY entry_index DESC LIMIT 1), 0)
        OR NEW.first_index > coalesce((SELECT (max(number) + 1) * 256 FROM leaf), 0)
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
