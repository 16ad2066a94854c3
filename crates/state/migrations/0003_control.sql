-- Who declared a subscription, and how often it has been changed since.
ALTER TABLE subscriptions ADD COLUMN origin TEXT NOT NULL DEFAULT 'configuration' CHECK (origin IN ('configuration', 'api'));
ALTER TABLE subscriptions ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE subscriptions ADD COLUMN updated_at_micros INTEGER NOT NULL DEFAULT 0;
UPDATE subscriptions SET updated_at_micros = created_at_micros;

-- What was sent and what came back, for people; JSON.
ALTER TABLE attempts ADD COLUMN exchange TEXT;
CREATE INDEX attempts_by_event ON attempts (subscription_id, offset, id);
