-- Times are microseconds since the Unix epoch; offsets are positions in the log, dense from 0.

-- One row: which log this state belongs to.
CREATE TABLE log_identity (
    only_row          INTEGER PRIMARY KEY CHECK (only_row = 1),
    log_id            BLOB    NOT NULL CHECK (length(log_id) = 16),
    created_at_micros INTEGER NOT NULL
) STRICT;

CREATE TABLE subscriptions (
    id                INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again
    tenant            TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    spec              TEXT    NOT NULL, -- the subscription as declared, JSON
    lifecycle         TEXT    NOT NULL CHECK (lifecycle IN ('enabled', 'paused', 'disabled', 'orphaned')),
    lifecycle_reason  TEXT,             -- why it is disabled
    start_offset      INTEGER NOT NULL CHECK (start_offset >= 0), -- nothing below it was ever for this subscription
    created_at_micros INTEGER NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

-- Every offset below next_offset, and every one in the settled ranges beyond it, needs nothing more:
-- it is delivered, filtered out, dead, or has a row in `retrying`.
CREATE TABLE cursors (
    subscription_id INTEGER PRIMARY KEY REFERENCES subscriptions (id) ON DELETE CASCADE,
    next_offset     INTEGER NOT NULL CHECK (next_offset >= 0),
    settled_beyond  BLOB    NOT NULL, -- see progress.rs for the encoding
    saved_at_micros INTEGER NOT NULL
) STRICT;

-- Deliveries that failed and are to be tried again. The event itself stays in the log.
CREATE TABLE retrying (
    subscription_id        INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    offset                 INTEGER NOT NULL CHECK (offset >= 0),
    attempts               INTEGER NOT NULL, -- made so far
    panics                 INTEGER NOT NULL, -- attempts that ended in a panic of the sink
    due_at_micros          INTEGER NOT NULL,
    first_failed_at_micros INTEGER NOT NULL,
    last_error             TEXT    NOT NULL,
    event_key              TEXT,             -- the event's key, so that `by_key` order survives a restart
    PRIMARY KEY (subscription_id, offset)
) STRICT, WITHOUT ROWID;

-- Deliveries that will not be tried again by themselves, each with its own copy of the event.
CREATE TABLE dead_letters (
    id                     INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription_id        INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    offset                 INTEGER NOT NULL CHECK (offset >= 0),
    append_time_micros     INTEGER,          -- unknown when the log no longer had the event
    event                  BLOB,             -- the encoded event; none when the log no longer had it
    reason                 TEXT    NOT NULL,
    attempts               INTEGER NOT NULL,
    first_failed_at_micros INTEGER NOT NULL,
    dead_at_micros         INTEGER NOT NULL,
    UNIQUE (subscription_id, offset)
) STRICT;

-- The newest attempts that were not a success at the first try.
CREATE TABLE attempts (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription_id    INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    offset             INTEGER NOT NULL CHECK (offset >= 0),
    attempt            INTEGER NOT NULL, -- 1 for the first try
    outcome            TEXT    NOT NULL CHECK (outcome IN ('delivered', 'retry', 'reject', 'gone')),
    reason             TEXT    NOT NULL, -- empty when delivered
    started_at_micros  INTEGER NOT NULL,
    took_micros        INTEGER NOT NULL,
    response_status    INTEGER,
    response_body      BLOB,
    response_truncated INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_by_subscription ON attempts (subscription_id, id);

-- Who may use the front doors. The keys themselves are nowhere: only their hashes.
CREATE TABLE api_keys (
    id                  TEXT    PRIMARY KEY,
    secret_hash         BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    tenant              TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    scopes              TEXT    NOT NULL, -- names with spaces between
    created_at_micros   INTEGER NOT NULL,
    expires_at_micros   INTEGER,
    last_used_at_micros INTEGER,
    revoked_at_micros   INTEGER
) STRICT, WITHOUT ROWID;
