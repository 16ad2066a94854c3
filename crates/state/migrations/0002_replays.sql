-- Why a delivery that waits is on its way.
ALTER TABLE retrying ADD COLUMN purpose TEXT NOT NULL DEFAULT 'live' CHECK (purpose IN ('live', 'redrive', 'replay'));

-- Parts of the log that are delivered again (replay), and dead letters that are tried again (redrive), each beside the
-- subscription's cursor. Every offset below next_offset is settled: delivered, filtered out, dead, or in `retrying`.
CREATE TABLE replays (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription_id       INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    kind                  TEXT    NOT NULL CHECK (kind IN ('replay', 'redrive')),
    filter                TEXT    NOT NULL, -- JSON
    max_events_per_second INTEGER,
    start_offset          INTEGER NOT NULL CHECK (start_offset >= 0),
    next_offset           INTEGER NOT NULL CHECK (next_offset >= start_offset),
    end_offset            INTEGER NOT NULL CHECK (end_offset >= start_offset),
    state                 TEXT    NOT NULL CHECK (state IN ('running', 'done', 'cancelled', 'failed')),
    state_reason          TEXT,             -- why it failed
    delivered             INTEGER NOT NULL, -- at the first try
    deferred              INTEGER NOT NULL, -- handed to the subscription's retries
    refused               INTEGER NOT NULL, -- dead letters, of a redrive: again
    lost                  INTEGER NOT NULL, -- no longer in the log
    created_at_micros     INTEGER NOT NULL,
    finished_at_micros    INTEGER
) STRICT;
CREATE INDEX replays_by_subscription ON replays (subscription_id, id);
