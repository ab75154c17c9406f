-- Entries before a minimum index are gone (C2SP tlog-tiles, Pruning): what stays of them, and the one way by which they go. Put
-- into every schema that does not have all of it yet.

-- Where entries of kind `pruning` stand, and what each of them says: the minimum index, and the time in milliseconds that all
-- entries are of before which are gone. The last one of a log counts.
CREATE TABLE IF NOT EXISTS millgate_audit.pruning (
    log integer NOT NULL,
    entry_index bigint NOT NULL,
    minimum bigint NOT NULL CHECK (minimum > 0 AND minimum % 256 = 0),
    before bigint NOT NULL,
    PRIMARY KEY (log, entry_index)
);

-- Hashes of the entries that are gone, 256 a row: a tile of level 0. So the tree can be built from the store alone.
CREATE TABLE IF NOT EXISTS millgate_audit.leaf (
    log integer NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (log, number)
);
ALTER TABLE millgate_audit.leaf ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Entries before the minimum index that later ones depend on. Their hashes are in `leaf`.
CREATE TABLE IF NOT EXISTS millgate_audit.carried (
    log integer NOT NULL,
    entry_index bigint NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (log, entry_index)
);

-- For how many days a broker's role keeps entries at least. The owner says that (`millgate audit store init`), and whoever is not
-- here prunes nothing.
CREATE TABLE IF NOT EXISTS millgate_audit.keeping (
    writer name PRIMARY KEY,
    days integer NOT NULL CHECK (days >= 60)
);

-- Where the entry begins that so many others stand before.
CREATE OR REPLACE FUNCTION millgate_audit.place_behind(entries bytea, others bigint) RETURNS integer LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at integer := 0;
BEGIN
    FOR number IN 1 .. others LOOP
        at := at + 2 + get_byte(entries, at) * 256 + get_byte(entries, at + 1);
    END LOOP;
    RETURN at;
END $$;

-- Whether so many entries from the first on are all of before this time, in milliseconds, by what they say themselves.
CREATE OR REPLACE FUNCTION millgate_audit.all_before(entries bytea, others bigint, before bigint) RETURNS boolean LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at integer := 0;
    bytes integer;
    said text;
BEGIN
    FOR number IN 1 .. others LOOP
        bytes := get_byte(entries, at) * 256 + get_byte(entries, at + 1);
        -- JSON here knows no text with the character NUL, which an entry may hold.
        said := replace(convert_from(substring(entries FROM at + 3 FOR bytes), 'UTF8'), '\u0000', '\u0001')::json ->> 'time';
        IF NOT coalesce(said ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', false)
            OR extract(epoch FROM said::timestamptz) * 1000 >= before THEN
            RETURN false;
        END IF;
        at := at + 2 + bytes;
    END LOOP;
    RETURN true;
END $$;

-- Forward, by an entry of the latest bundle, and of nothing that no checkpoint was signed over.
CREATE OR REPLACE FUNCTION millgate_audit.pruning_is_covered() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.minimum <= coalesce((SELECT max(minimum) FROM millgate_audit.pruning WHERE log = NEW.log), 0)
        OR NEW.minimum > coalesce((SELECT max(size) FROM millgate_audit.checkpoint WHERE log = NEW.log), 0)
        OR NEW.entry_index < (SELECT max(first_index) FROM millgate_audit.bundle WHERE log = NEW.log)
        OR NEW.entry_index >= (SELECT size FROM millgate_audit.head WHERE log = NEW.log) THEN
        RAISE EXCEPTION 'entries are pruned by an entry behind a checkpoint over them';
    END IF;
    RETURN NEW;
END $$;

-- A row goes only if all of it is before the minimum index and the time, and its hashes are kept; one that reaches beyond the
-- index is cut there, what is left of it is its end, and what goes of it is of before the time, too.
CREATE OR REPLACE FUNCTION millgate_audit.bundle_goes() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said millgate_audit.pruning;
    hashed bigint;
    whole bytea;
BEGIN
    SELECT * INTO said FROM millgate_audit.pruning WHERE log = OLD.log ORDER BY entry_index DESC LIMIT 1;
    SELECT (max(number) + 1) * 256 INTO hashed FROM millgate_audit.leaf WHERE log = OLD.log;
    IF said.minimum IS NOT NULL AND hashed >= said.minimum THEN
        IF TG_OP = 'DELETE' THEN
            IF OLD.first_index + OLD.count <= said.minimum AND OLD.time_last < said.before THEN
                RETURN OLD;
            END IF;
        ELSIF NEW.log = OLD.log AND OLD.first_index < NEW.first_index AND NEW.first_index = said.minimum
            AND NEW.first_index + NEW.count = OLD.first_index + OLD.count
            AND NEW.time_first >= OLD.time_first AND NEW.time_last <= OLD.time_last THEN
            -- A copy in memory: each look at a byte would fetch all of them anew.
            whole := OLD.bytes || ''::bytea;
            IF NEW.bytes = substring(whole FROM millgate_audit.place_behind(whole, NEW.first_index - OLD.first_index) + 1)
                AND NEW.sha256 = sha256(NEW.bytes) THEN
                IF NOT millgate_audit.all_before(whole, NEW.first_index - OLD.first_index, said.before) THEN
                    RAISE EXCEPTION 'not all entries from % to % are of before the time that the pruning says', OLD.first_index, NEW.first_index - 1;
                END IF;
                RETURN NEW;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION 'the log is append-only';
END $$;

DROP TRIGGER IF EXISTS bundle_stays ON millgate_audit.bundle;
CREATE TRIGGER bundle_stays BEFORE UPDATE OR DELETE ON millgate_audit.bundle
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.bundle_goes();
ALTER TABLE millgate_audit.bundle ENABLE ALWAYS TRIGGER bundle_stays;
DROP TRIGGER IF EXISTS pruning_is_covered ON millgate_audit.pruning;
CREATE TRIGGER pruning_is_covered BEFORE INSERT ON millgate_audit.pruning
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.pruning_is_covered();
DROP TRIGGER IF EXISTS pruning_stays ON millgate_audit.pruning;
CREATE TRIGGER pruning_stays BEFORE UPDATE OR DELETE ON millgate_audit.pruning
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
DROP TRIGGER IF EXISTS pruning_is_kept ON millgate_audit.pruning;
CREATE TRIGGER pruning_is_kept BEFORE TRUNCATE ON millgate_audit.pruning
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
DROP TRIGGER IF EXISTS leaf_stays ON millgate_audit.leaf;
CREATE TRIGGER leaf_stays BEFORE UPDATE OR DELETE ON millgate_audit.leaf
    FOR EACH ROW EXECUTE FUNCTION millgate_audit.refuse();
DROP TRIGGER IF EXISTS leaf_is_kept ON millgate_audit.leaf;
CREATE TRIGGER leaf_is_kept BEFORE TRUNCATE ON millgate_audit.leaf
    FOR EACH STATEMENT EXECUTE FUNCTION millgate_audit.refuse();
ALTER TABLE millgate_audit.pruning ENABLE ALWAYS TRIGGER pruning_is_covered;
ALTER TABLE millgate_audit.pruning ENABLE ALWAYS TRIGGER pruning_stays;
ALTER TABLE millgate_audit.pruning ENABLE ALWAYS TRIGGER pruning_is_kept;
ALTER TABLE millgate_audit.leaf ENABLE ALWAYS TRIGGER leaf_stays;
ALTER TABLE millgate_audit.leaf ENABLE ALWAYS TRIGGER leaf_is_kept;

-- The entry number `wanted` of a batch that begins at `first`, as JSON.
CREATE OR REPLACE FUNCTION millgate_audit.entry_of(entries bytea, first bigint, wanted bigint) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at integer := 0;
    bytes integer;
BEGIN
    FOR number IN first .. wanted LOOP
        bytes := get_byte(entries, at) * 256 + get_byte(entries, at + 1);
        IF number = wanted THEN
            RETURN convert_from(substring(entries FROM at + 3 FOR bytes), 'UTF8')::jsonb;
        END IF;
        at := at + 2 + bytes;
    END LOOP;
    RAISE EXCEPTION 'there is no entry %', wanted;
END $$;

-- Whether an entry of kind `pruning` goes further than it may at this time of the server's clock. By whole days in UTC: all entries
-- before a midnight go, from the midnight on that is `days` days later. Times are spelt in the one way in which brokers spell them, so
-- that nobody reads another time in them than this does. A broker's clock may be an hour ahead (`retention.rs` has it too).
CREATE OR REPLACE FUNCTION millgate_audit.goes_too_far(said jsonb, moment timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT coalesce(said ->> 'time' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$'
        AND said ->> 'before' ~ '^\d{4}-\d\d-\d\dT00:00:00\.000Z$' AND said ->> 'days' ~ '^\d{1,6}$', false) THEN
        RETURN true;
    END IF;
    RETURN (said ->> 'time')::timestamptz > moment + interval '1 hour'
        OR (said ->> 'before')::timestamptz > date_trunc('day', moment, 'UTC') - ((said ->> 'days')::integer * interval '24 hours');
END $$;

-- A whole batch, of which one entry says that entries before a minimum index are gone, and these go: all of it, or nothing.
CREATE OR REPLACE FUNCTION millgate_audit.append_pruning(
    the_log integer, expected bigint, added bigint, first_time bigint, last_time bigint, digest_of_bytes bytea,
    entries bytea, new_root bytea, new_range bytea, new_open bytea,
    organisations text[], sequences bigint[], last_indices bigint[],
    disclosed bigint[], bodies text[],
    principals text[], refs text[],
    digests bytea[], contents bytea[],
    erasures bigint[], erased bigint[], lessened bigint[], lesser text[], forgotten text[],
    said_by bigint, the_minimum bigint, numbers bigint[], hashes bytea[], kept bigint[], kept_entries bytea[],
    rest_of bigint, rest_count bigint, rest_first_time bigint, rest_last_time bigint, rest_digest bytea, rest_bytes bytea,
    nobody text[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb;
    cut_off bigint;
    gone bigint;
BEGIN
    PERFORM millgate_audit.append(
        the_log, expected, added, first_time, last_time, digest_of_bytes, entries, new_root, new_range, new_open,
        organisations, sequences, last_indices, disclosed, bodies, principals, refs, digests, contents,
        erasures, erased, lessened, lesser, forgotten
    );
    -- Entries go only together with one that says so, by its own policy, and not before their time.
    said := millgate_audit.entry_of(entries, expected, said_by);
    IF said ->> 'kind' IS DISTINCT FROM 'pruning' OR (said ->> 'minimum')::bigint IS DISTINCT FROM the_minimum
        OR coalesce((said ->> 'days')::bigint, 0) < 60
        OR (said ->> 'before')::timestamptz > (said ->> 'time')::timestamptz - ((said ->> 'days')::integer * interval '24 hours') THEN
        RAISE EXCEPTION 'entry % does not say that entries before % are gone', said_by, the_minimum;
    END IF;
    -- How long the owner has entries kept, and what day it is, is not the broker's to say.
    IF NOT EXISTS (SELECT FROM millgate_audit.keeping WHERE writer = session_user AND days <= (said ->> 'days')::bigint) THEN
        RAISE EXCEPTION 'the role `%` keeps entries longer than % days', session_user, said ->> 'days';
    END IF;
    IF millgate_audit.goes_too_far(said, now()) THEN
        RAISE EXCEPTION 'entry % goes further than its policy does at %', said_by, now();
    END IF;
    IF coalesce((said ->> 'directory')::bigint, 0) <> cardinality(nobody) THEN
        RAISE EXCEPTION 'entry % does not say that % persons go from the directory', said_by, cardinality(nobody);
    END IF;
    -- A midnight, which is a whole number.
    cut_off := extract(epoch FROM (said ->> 'before')::timestamptz)::bigint * 1000;
    INSERT INTO millgate_audit.pruning (log, entry_index, minimum, before)
        VALUES (the_log, said_by, the_minimum, cut_off);
    INSERT INTO millgate_audit.leaf (log, number, hashes)
        SELECT the_log, given.* FROM unnest(numbers, hashes) AS given;
    IF (SELECT count(*) * 256 FROM millgate_audit.leaf WHERE log = the_log) <> the_minimum THEN
        RAISE EXCEPTION 'there are not the hashes of all entries before %', the_minimum;
    END IF;
    -- What is carried forward is what the entry says, and what was logged.
    IF ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(said -> 'carried') ORDER BY 1)
        IS DISTINCT FROM ARRAY(SELECT given FROM unnest(kept) AS given ORDER BY 1) THEN
        RAISE EXCEPTION 'entry % does not say that these entries are carried forward: %', said_by, kept;
    END IF;
    IF EXISTS (SELECT FROM unnest(kept, kept_entries) AS given (entry_index, bytes)
        LEFT JOIN millgate_audit.leaf ON leaf.log = the_log AND leaf.number = given.entry_index / 256
        WHERE substring(leaf.hashes FROM (given.entry_index % 256)::integer * 32 + 1 FOR 32)
            IS DISTINCT FROM sha256('\x00'::bytea || given.bytes)) THEN
        RAISE EXCEPTION 'entry % carries entries forward that are not what was logged', said_by;
    END IF;
    -- All anew: what somebody else has put there must not stand in their place.
    DELETE FROM millgate_audit.carried WHERE log = the_log;
    INSERT INTO millgate_audit.carried (log, entry_index, bytes)
        SELECT the_log, given.* FROM unnest(kept, kept_entries) AS given;
    IF rest_of IS NOT NULL THEN
        UPDATE millgate_audit.bundle SET first_index = the_minimum, count = rest_count, time_first = rest_first_time,
            time_last = rest_last_time, sha256 = rest_digest, bytes = rest_bytes
            WHERE log = the_log AND first_index = rest_of;
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone <> 1 THEN
            RAISE EXCEPTION 'no row begins at %', rest_of;
        END IF;
    END IF;
    DELETE FROM millgate_audit.bundle WHERE log = the_log AND first_index < the_minimum;
    DELETE FROM millgate_audit.disclosure WHERE log = the_log AND entry_index < the_minimum;
    DELETE FROM millgate_audit.erasure WHERE log = the_log AND entry_index < the_minimum AND entry_index <> ALL (kept);
    DELETE FROM millgate_audit.directory WHERE log = the_log AND reference = ANY (nobody);
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone <> cardinality(nobody) THEN
        RAISE EXCEPTION 'of % persons that go from the directory % are there', cardinality(nobody), gone;
    END IF;
END $$;

REVOKE ALL ON FUNCTION millgate_audit.pruning_is_covered, millgate_audit.bundle_goes, millgate_audit.entry_of,
    millgate_audit.place_behind, millgate_audit.all_before, millgate_audit.goes_too_far, millgate_audit.append_pruning FROM PUBLIC;

-- Whoever may read or append already, may read these too and call that.
DO $$
DECLARE
    who name;
BEGIN
    FOR who IN SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = 'millgate_audit' AND table_name = 'bundle' AND privilege_type = 'SELECT'
        AND grantee <> 'PUBLIC' LOOP
        EXECUTE format('GRANT SELECT ON millgate_audit.pruning, millgate_audit.leaf, millgate_audit.carried, millgate_audit.keeping TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT grantee FROM information_schema.role_routine_grants
        WHERE routine_schema = 'millgate_audit' AND routine_name = 'append' AND grantee <> 'PUBLIC' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION millgate_audit.append_pruning TO %I', who);
    END LOOP;
END $$;
