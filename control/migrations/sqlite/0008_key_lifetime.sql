-- For how many seconds a node uses a WireGuard key.
ALTER TABLE networks ADD COLUMN key_lifetime BIGINT NOT NULL DEFAULT 2592000;
