-- What the Svix-compatible API knows beside tenants, events and subscriptions.

CREATE TABLE svix_applications (
    id                  TEXT    PRIMARY KEY,
    uid                 TEXT    UNIQUE,
    tenant              TEXT    NOT NULL UNIQUE, -- whose events its messages are
    name                TEXT    NOT NULL,
    throttle_rate       INTEGER,
    metadata            TEXT    NOT NULL, -- a JSON object of strings
    start_offset        INTEGER NOT NULL CHECK (start_offset >= 0), -- no event below it is a message of the application
    tokens_after_micros INTEGER NOT NULL, -- tokens that were signed before are worth nothing
    created_at_micros   INTEGER NOT NULL,
    updated_at_micros   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Else its tokens would be good for a tenant that is made by this name later.
CREATE TRIGGER svix_application_goes_with_its_tenant AFTER DELETE ON tenants BEGIN
    DELETE FROM svix_applications WHERE tenant = OLD.name;
END;

-- The rest of an endpoint is the subscription. It is made after the row here, so that no subscription is without one.
CREATE TABLE svix_endpoints (
    id             TEXT NOT NULL PRIMARY KEY,
    application_id TEXT NOT NULL REFERENCES svix_applications (id) ON DELETE CASCADE,
    uid            TEXT,
    tenant         TEXT NOT NULL,
    subscription   TEXT NOT NULL,
    UNIQUE (application_id, uid),
    UNIQUE (tenant, subscription)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER svix_endpoint_goes_with_its_subscription AFTER DELETE ON subscriptions BEGIN
    DELETE FROM svix_endpoints WHERE tenant = OLD.tenant AND subscription = OLD.name;
END;

CREATE TABLE svix_event_types (
    name              TEXT    PRIMARY KEY,
    description       TEXT    NOT NULL,
    archived          INTEGER NOT NULL CHECK (archived IN (0, 1)),
    deprecated        INTEGER NOT NULL CHECK (deprecated IN (0, 1)),
    schemas           TEXT,             -- a JSON object: a schema for each version
    group_name        TEXT,
    feature_flags     TEXT,             -- a JSON list of strings
    created_at_micros INTEGER NOT NULL,
    updated_at_micros INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Why an event was on its way.
ALTER TABLE attempts ADD COLUMN purpose TEXT NOT NULL DEFAULT 'live';
