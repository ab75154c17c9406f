-- Format 1 of the store in PostgreSQL. The tables are those of `sqlite/schema.sql`, each keyed by the log, because several
-- brokers have their logs in one database.
--
-- Everything belongs to a role that nobody logs in as. Whoever writes may call the functions at the end and read, and nothing
-- else: what a broker is tricked into sending cannot change what it has written. Every name is written with its schema, and
-- functions have a search path of their own, so that nobody puts a table of theirs in the way.

CREATE TABLE millgate_audit.format (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    version integer NOT NULL
);

-- One row per log. `writer`: the role that opened it first, and the only one that may go on with it.
CREATE TABLE millgate_audit.log (
    id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    origin text NOT NULL UNIQUE,
    writer name NOT NULL
);

-- One row per batch. `bytes` is kept as it is: compressing it costs the server more than writing it does.
CREATE TABLE millgate_audit.bundle (
    log integer NOT NULL,
    first_index bigint NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    time_first bigint NOT NULL,
    time_last bigint NOT NULL CHECK (time_last >= time_first),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    bytes bytea NOT NULL,
    PRIMARY KEY (log, first_index)
);
ALTER TABLE millgate_audit.bundle ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX bundle_by_time ON millgate_audit.bundle (log, time_first, time_last, first_index);
-- And `bundle_of_keys` (`init.rs`), which stores of before get as well.

-- One row per log, replaced with every batch: room on its page lets that happen in place.
CREATE TABLE millgate_audit.head (
    log integer PRIMARY KEY,
    size bigint NOT NULL CHECK (size >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    range bytea NOT NULL,
    open bytea NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE millgate_audit.organisation (
    log integer NOT NULL,
    id text NOT NULL,
    sequence bigint NOT NULL,
    last_index bigint NOT NULL,
    PRIMARY KEY (log, id)
) WITH (fillfactor = 50);

CREATE TABLE millgate_audit.checkpoint (
    log integer NOT NULL,
    size bigint NOT NULL,
    note text NOT NULL,
    range bytea NOT NULL,
    PRIMARY KEY (log, size)
);

-- Erasable.
CREATE TABLE millgate_audit.disclosure (
    log integer NOT NULL,
    entry_index bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (log, entry_index)
);

-- Erasable.
CREATE TABLE millgate_audit.directory (
    log integer NOT NULL,
    principal text NOT NULL,
    reference text NOT NULL,
    PRIMARY KEY (log, principal),
    UNIQUE (log, reference)
);

-- Where entries of kind `erasure` stand: they say what was erased from the two tables above.
CREATE TABLE millgate_audit.erasure (
    log integer NOT NULL,
    entry_index bigint NOT NULL,
    PRIMARY KEY (log, entry_index)
);

CREATE TABLE millgate_audit.content (
    log integer NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    bytes bytea NOT NULL,
    PRIMARY KEY (log, digest)
);

-- Triggers stop accidents and everybody but a superuser who takes them away; that one is found by checkpoints in other hands.
-- `ENABLE ALWAYS`: `session_replication_role` does not turn them off.

CREATE FUNCTION millgate_audit.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END $$;

CREATE FUNCTION millgate_audit.bundle_at_head() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.first_index IS DISTINCT FROM (SELECT size FROM millgate_audit.head WHERE log = NEW.log) THEN
        RAISE EXCEPTION 'a bundle must begin at the head';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION millgate_audit.head_follows_bundles() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.log IS DISTINCT FROM OLD.log OR NEW.size IS DISTINCT FROM (
        SELECT OLD.size + count FROM millgate_audit.bundle WHERE log = OLD.log AND first_index = OLD.size
    ) THEN
        RAISE EXCEPTION 'the head must follow the bundles';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION millgate_audit.head_begins_empty() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.size <> 0 OR EXISTS (SELECT FROM millgate_audit.bundle WHERE log = NEW.log) THEN
        RAISE EXCEPTION 'the head of a log begins at its beginning';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION millgate_audit.origin_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.id IS DISTINCT FROM OLD.id OR NEW.origin IS DISTINCT FROM OLD.origin THEN
        RAISE EXCEPTION 'a log keeps its origin for life';
    END IF;
    RETURN NEW;
END $$;

-- What keeps bundles from being changed or deleted is in `pruning.sql` (`bundle_stays`), which stores of before get as well.
CREATE TRIGGER bundle_at_head BEFORE INSERT ON millgate_audit.bundle
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.bundle_at_head();
CREATE TRIGGER bundle_is_kept BEFORE TRUNCATE ON millgate_audit.bundle
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER checkpoint_stays BEFORE UPDATE OR DELETE ON millgate_audit.checkpoint
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER checkpoint_is_kept BEFORE TRUNCATE ON millgate_audit.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER head_begins_empty BEFORE INSERT ON millgate_audit.head
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.head_begins_empty();
CREATE TRIGGER head_follows_bundles BEFORE UPDATE ON millgate_audit.head
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.head_follows_bundles();
CREATE TRIGGER head_stays BEFORE DELETE ON millgate_audit.head
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER head_is_kept BEFORE TRUNCATE ON millgate_audit.head
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER log_keeps_its_origin BEFORE UPDATE ON millgate_audit.log
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.origin_stays();
CREATE TRIGGER log_stays BEFORE DELETE ON millgate_audit.log
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
CREATE TRIGGER log_is_kept BEFORE TRUNCATE ON millgate_audit.log
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
ALTER TABLE millgate_audit.bundle ENABLE ALWAYS TRIGGER bundle_at_head;
ALTER TABLE millgate_audit.bundle ENABLE ALWAYS TRIGGER bundle_is_kept;
ALTER TABLE millgate_audit.checkpoint ENABLE ALWAYS TRIGGER checkpoint_stays;
ALTER TABLE millgate_audit.checkpoint ENABLE ALWAYS TRIGGER checkpoint_is_kept;
ALTER TABLE millgate_audit.head ENABLE ALWAYS TRIGGER head_begins_empty;
ALTER TABLE millgate_audit.head ENABLE ALWAYS TRIGGER head_follows_bundles;
ALTER TABLE millgate_audit.head ENABLE ALWAYS TRIGGER head_stays;
ALTER TABLE millgate_audit.head ENABLE ALWAYS TRIGGER head_is_kept;
ALTER TABLE millgate_audit.log ENABLE ALWAYS TRIGGER log_keeps_its_origin;
ALTER TABLE millgate_audit.log ENABLE ALWAYS TRIGGER log_stays;
ALTER TABLE millgate_audit.log ENABLE ALWAYS TRIGGER log_is_kept;

-- Whoever calls a function below is `session_user`; within it `current_user` is the owner.

-- May this session write to that log? 1297107532 is "MPGL", the first half of the advisory lock; the log is the second. A
-- session that holds the lock gets it again at once; whoever has not asked for it is stopped by whoever has.
CREATE FUNCTION millgate_audit.authorise(the_log integer) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner_of_log name := (SELECT writer FROM millgate_audit.log WHERE id = the_log);
BEGIN
    IF owner_of_log IS DISTINCT FROM session_user THEN
        RAISE EXCEPTION 'this log is not written by the role `%`', session_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT pg_try_advisory_xact_lock(1297107532, the_log) THEN
        RAISE EXCEPTION 'another session writes this log';
    END IF;
    -- Settings can change under a running server, and a commit that is not flushed is no commit.
    IF current_setting('fsync') <> 'on' OR current_setting('full_page_writes') <> 'on'
        OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        RAISE EXCEPTION 'the server would not flush this commit';
    END IF;
END $$;

-- The number of the log with this origin, which is made when there is none.
CREATE FUNCTION millgate_audit.open(the_origin text, empty_root bytea) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found millgate_audit.log;
BEGIN
    SELECT * INTO found FROM millgate_audit.log WHERE origin = the_origin;
    IF found.id IS NULL THEN
        INSERT INTO millgate_audit.log (origin, writer) VALUES (the_origin, session_user)
            ON CONFLICT (origin) DO NOTHING;
        SELECT * INTO found FROM millgate_audit.log WHERE origin = the_origin;
        INSERT INTO millgate_audit.head (log, size, root, range, open) VALUES (found.id, 0, empty_root, '', '')
            ON CONFLICT (log) DO NOTHING;
    END IF;
    IF found.writer <> session_user THEN
        RAISE EXCEPTION 'the log `%` is written by the role `%`, not by `%`', the_origin, found.writer, session_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found.id;
END $$;

-- A whole batch: nothing of it is there unless the head is at `expected`.
CREATE FUNCTION millgate_audit.append(
    the_log integer, expected bigint, added bigint, first_time bigint, last_time bigint, digest_of_bytes bytea,
    entries bytea, new_root bytea, new_range bytea, new_open bytea,
    organisations text[], sequences bigint[], last_indices bigint[],
    disclosed bigint[], bodies text[],
    principals text[], refs text[],
    digests bytea[], contents bytea[],
    erasures bigint[], erased bigint[], lessened bigint[], lesser text[], forgotten text[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM millgate_audit.authorise(the_log);
    PERFORM FROM millgate_audit.head WHERE log = the_log AND size = expected FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the head of the log is not at size %', expected;
    END IF;
    INSERT INTO millgate_audit.bundle (log, first_index, count, time_first, time_last, sha256, bytes)
        VALUES (the_log, expected, added, first_time, last_time, digest_of_bytes, entries);
    UPDATE millgate_audit.head SET size = expected + added, root = new_root, range = new_range, open = new_open
        WHERE log = the_log;
    INSERT INTO millgate_audit.organisation (log, id, sequence, last_index)
        SELECT the_log, given.* FROM unnest(organisations, sequences, last_indices) AS given
        ON CONFLICT (log, id) DO UPDATE SET sequence = excluded.sequence, last_index = excluded.last_index;
    IF cardinality(disclosed) > 0 THEN
        INSERT INTO millgate_audit.disclosure (log, entry_index, body)
            SELECT the_log, given.* FROM unnest(disclosed, bodies) AS given;
    END IF;
    IF cardinality(principals) > 0 THEN
        INSERT INTO millgate_audit.directory (log, principal, reference)
            SELECT the_log, given.* FROM unnest(principals, refs) AS given
            ON CONFLICT (log, principal) DO NOTHING;
    END IF;
    IF cardinality(digests) > 0 THEN
        INSERT INTO millgate_audit.content (log, digest, bytes)
            SELECT the_log, given.* FROM unnest(digests, contents) AS given
            ON CONFLICT (log, digest) DO NOTHING;
    END IF;
    IF cardinality(erasures) > 0 THEN
        INSERT INTO millgate_audit.erasure (log, entry_index) SELECT the_log, given FROM unnest(erasures) AS given;
    END IF;
    -- Values go only together with an entry that says so, and as many as it says.
    IF cardinality(erased) + cardinality(lessened) + cardinality(forgotten) > 0 THEN
        IF cardinality(erasures) = 0 THEN
            RAISE EXCEPTION 'nothing is erased without an entry';
        END IF;
        DELETE FROM millgate_audit.disclosure WHERE log = the_log AND entry_index = ANY (erased);
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone <> cardinality(erased) THEN
            RAISE EXCEPTION 'of % disclosures to be erased % are there', cardinality(erased), gone;
        END IF;
        UPDATE millgate_audit.disclosure SET body = given.body FROM unnest(lessened, lesser) AS given (entry_index, body)
            WHERE log = the_log AND disclosure.entry_index = given.entry_index;
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone <> cardinality(lessened) THEN
            RAISE EXCEPTION 'of % disclosures to be lessened % are there', cardinality(lessened), gone;
        END IF;
        DELETE FROM millgate_audit.directory WHERE log = the_log AND reference = ANY (forgotten);
    END IF;
END $$;

-- Signing the same tree twice keeps the first note.
CREATE FUNCTION millgate_audit.put_checkpoint(the_log integer, at_size bigint, signed text, at_range bytea)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millgate_audit.authorise(the_log);
    IF at_size > (SELECT size FROM millgate_audit.head WHERE log = the_log) THEN
        RAISE EXCEPTION 'the log has less than % entries', at_size;
    END IF;
    INSERT INTO millgate_audit.checkpoint (log, size, note, range) VALUES (the_log, at_size, signed, at_range)
        ON CONFLICT (log, size) DO NOTHING;
END $$;

-- Whether every synchronous standby, or one of a quorum, has flushed everything up to there. Who may ask that is not a
-- broker's role; who owns this function may (`pg_read_all_stats`).
CREATE FUNCTION millgate_audit.standby_has(place pg_lsn) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT min(flush_lsn) >= place FROM pg_stat_replication WHERE sync_state = 'sync'),
        (SELECT max(flush_lsn) >= place FROM pg_stat_replication WHERE sync_state = 'quorum'),
        false
    )
$$;
