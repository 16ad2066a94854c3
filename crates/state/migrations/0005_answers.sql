-- What requests with an `Idempotency-Key` were answered, so that a repeat gets the same. Some answers hold a secret, such as a
-- new API key.
CREATE TABLE answers (
    tenant             TEXT    NOT NULL,
    idempotency_key    TEXT    NOT NULL,
    method             TEXT    NOT NULL,
    path               TEXT    NOT NULL,
    fingerprint        BLOB    NOT NULL CHECK (length(fingerprint) = 32), -- of the rest of the request
    status             INTEGER NOT NULL,
    headers            TEXT    NOT NULL, -- JSON: [[name, value], ...]
    body               BLOB    NOT NULL,
    answered_at_micros INTEGER NOT NULL,
    PRIMARY KEY (tenant, idempotency_key, method, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_tenant ON answers (tenant, answered_at_micros);
CREATE INDEX answers_by_time ON answers (answered_at_micros);
