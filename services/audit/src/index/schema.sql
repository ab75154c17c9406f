-- Format 2 of the index. Nothing here is evidence and nothing here is personal: all of it follows from the log, block by
-- block, and the same log gives the same rows.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: how many entries are indexed, and the leaf hash of the last of them, which tells whether this is the log.
CREATE TABLE standing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    leaf BLOB NOT NULL
) STRICT;

-- What entries are searched for by, in the order in which the log has it.
CREATE TABLE term (
    id INTEGER PRIMARY KEY,
    facet INTEGER NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (facet, value)
) STRICT;

-- Which entries of a block have the term: a list of 16-bit positions, big-endian, or a bitmap.
CREATE TABLE posting (
    term INTEGER NOT NULL,
    block INTEGER NOT NULL,
    positions BLOB NOT NULL,
    PRIMARY KEY (term, block)
) STRICT, WITHOUT ROWID;

-- Per entry of a block 32 bits that follow from its request id; 0 where it has none.
CREATE TABLE request (
    block INTEGER PRIMARY KEY,
    marks BLOB NOT NULL
) STRICT;

-- First and last entry with a time in that hour.
CREATE TABLE hour (
    hour INTEGER PRIMARY KEY,
    low INTEGER NOT NULL,
    high INTEGER NOT NULL
) STRICT;

-- Decisions of one day that are alike, counted, with what came of them. 0: no such member.
CREATE TABLE cell (
    day INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    organisation INTEGER NOT NULL,
    principal INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    product INTEGER NOT NULL,
    agreement INTEGER NOT NULL,
    action INTEGER NOT NULL,
    purpose INTEGER NOT NULL,
    decision INTEGER NOT NULL,
    reasons INTEGER NOT NULL,
    policies INTEGER NOT NULL,
    country INTEGER NOT NULL,
    decisions INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    first_index INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    PRIMARY KEY (day, kind, organisation, principal, resource, product, agreement, action, purpose, decision, reasons, policies, country)
) STRICT, WITHOUT ROWID;

-- Allowed decisions whose outcome is not indexed yet, with their cell.
CREATE TABLE open (
    decision INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    cell TEXT NOT NULL
) STRICT;

-- Exchanges of a second or longer. `scale`: the power of two above their length in milliseconds, so that those that were
-- open at a moment are found among the few that ended soon enough after it.
CREATE TABLE span (
    scale INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    decision INTEGER NOT NULL,
    started INTEGER NOT NULL,
    PRIMARY KEY (scale, ended, decision)
) STRICT, WITHOUT ROWID;
