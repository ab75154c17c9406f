-- Format 1 of the store; format 2 once entries were pruned. Everything that matters stands in `bundle`; the rest says where the log stands or can be erased.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per batch. `bytes`: entries as in tlog-tiles entry bundles, each with its length before it (16 bits, big-endian).
-- Small columns first: a scan by time does not touch the pages of `bytes`.
CREATE TABLE bundle (
    first_index INTEGER PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count > 0),
    time_first INTEGER NOT NULL,
    time_last INTEGER NOT NULL CHECK (time_last >= time_first),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    bytes BLOB NOT NULL
) STRICT;
CREATE INDEX bundle_by_time ON bundle (time_first, time_last);

-- One row: the tree over all bundles. `range`: roots of its complete subtrees, 32 bytes each. `open`: indices of allowed
-- decisions without an outcome.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    range BLOB NOT NULL,
    open BLOB NOT NULL
) STRICT;

-- Where each organisation's own sequence stands.
CREATE TABLE organisation (
    id TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    last_index INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every signed checkpoint, with the range that lets a reader go on from it.
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL,
    range BLOB NOT NULL
) STRICT;

-- Erasable: the values behind an entry's commitments, `{"subject":{"salt":…,"values":…},…}`.
CREATE TABLE disclosure (
    entry_index INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- Erasable: what the references to principals stand for.
CREATE TABLE directory (
    principal TEXT NOT NULL PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- Where entries of kind `erasure` stand: they say what was erased from the two tables above.
CREATE TABLE IF NOT EXISTS erasure (
    entry_index INTEGER PRIMARY KEY
) STRICT;

-- Where entries of kind `key` stand: see `keys.sql`.

-- What stays of entries that are not kept any longer: see `pruning.sql`, which is put into older stores too.

-- Bytes that entries name by their digest.
CREATE TABLE content (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    bytes BLOB NOT NULL
) STRICT;

-- Triggers stop accidents, not the owner of the file; that is what checkpoints in other hands are for.
CREATE TRIGGER bundle_at_head BEFORE INSERT ON bundle WHEN NEW.first_index IS NOT (SELECT size FROM head)
    BEGIN SELECT RAISE(ABORT, 'a bundle must begin at the head'); END;
CREATE TRIGGER checkpoint_no_update BEFORE UPDATE ON checkpoint BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER checkpoint_no_delete BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER head_no_delete BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER head_follows_bundles BEFORE UPDATE ON head
    WHEN NEW.size IS NOT (SELECT OLD.size + count FROM bundle WHERE first_index = OLD.size)
    BEGIN SELECT RAISE(ABORT, 'the head must follow the bundles'); END;
