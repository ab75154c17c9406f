-- Where entries of kind `key` stand: what they say of the log's keys is needed at each start. Put into stores that do not have it, and
-- made anew where a program has written that does not know it.
DROP TABLE IF EXISTS key_entry;
CREATE TABLE key_entry (
    entry_index INTEGER PRIMARY KEY
) STRICT;
CREATE TRIGGER key_entry_no_update BEFORE UPDATE ON key_entry
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER key_entry_stays BEFORE DELETE ON key_entry
    WHEN OLD.entry_index >= coalesce((SELECT minimum FROM pruning ORDER BY entry_index DESC LIMIT 1), 0)
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
