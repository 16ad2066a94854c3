-- Who may log in, who has, and what was changed by whom. Times are microseconds since the Unix epoch.

-- A row for every tenant that is named anywhere. What a tenant owns names it.
CREATE TABLE tenants (
    name              TEXT    PRIMARY KEY,
    display_name      TEXT    NOT NULL, -- empty: the name is shown
    metadata          TEXT    NOT NULL, -- a JSON object of strings
    created_at_micros INTEGER NOT NULL,
    updated_at_micros INTEGER NOT NULL,
    revision          INTEGER NOT NULL CHECK (revision > 0)
) STRICT, WITHOUT ROWID;

INSERT INTO tenants (name, display_name, metadata, created_at_micros, updated_at_micros, revision)
SELECT named.tenant, '', '{}', now.micros, now.micros, 1
FROM (SELECT 'default' AS tenant UNION SELECT tenant FROM api_keys UNION SELECT tenant FROM subscriptions) AS named,
     (SELECT unixepoch() * 1000000 AS micros) AS now;

CREATE TABLE users (
    id                   TEXT    PRIMARY KEY,
    tenant               TEXT    NOT NULL REFERENCES tenants (name),
    email                TEXT    NOT NULL, -- in lower case
    name                 TEXT    NOT NULL, -- for people; may be empty
    role                 TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    password_hash        TEXT,             -- a PHC string; none: the user has no password, and logs in through OIDC
    oidc_issuer          TEXT,
    oidc_subject         TEXT,
    disabled             INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    failed_logins        INTEGER NOT NULL, -- since the last one that succeeded
    locked_until_micros  INTEGER,
    last_login_at_micros INTEGER,
    created_at_micros    INTEGER NOT NULL,
    updated_at_micros    INTEGER NOT NULL,
    revision             INTEGER NOT NULL CHECK (revision > 0),
    UNIQUE (tenant, email),
    CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX users_by_oidc_subject ON users (oidc_issuer, oidc_subject) WHERE oidc_issuer IS NOT NULL;

-- Who is logged in. The tokens themselves are nowhere: only their hashes.
CREATE TABLE sessions (
    token_hash          BLOB    PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id             TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at_micros   INTEGER NOT NULL,
    last_seen_at_micros INTEGER NOT NULL,
    expires_at_micros   INTEGER NOT NULL, -- however much it is used
    client_address      TEXT    NOT NULL,
    user_agent          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id, created_at_micros);

-- The newest changes. A change that is in this file has its row in the same transaction.
CREATE TABLE audit_log (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again
    at_micros      INTEGER NOT NULL,
    tenant         TEXT    NOT NULL, -- whose thing was changed
    tenant_number  INTEGER NOT NULL, -- counts the tenant's rows: the newest have the largest
    actor_kind     TEXT    NOT NULL CHECK (actor_kind IN ('api_key', 'user', 'anonymous', 'configuration', 'system')),
    actor_id       TEXT    NOT NULL,
    actor_name     TEXT    NOT NULL,
    action         TEXT    NOT NULL, -- such as subscription.update
    resource_kind  TEXT    NOT NULL,
    resource_name  TEXT    NOT NULL,
    before         TEXT,             -- JSON; none: it was not there
    after          TEXT,             -- JSON; none: it is gone
    request_id     TEXT,
    client_address TEXT
) STRICT;
CREATE UNIQUE INDEX audit_log_by_tenant ON audit_log (tenant, tenant_number);
