-- From when a key signs: relays have to know it before.
ALTER TABLE control_keys ADD COLUMN signs_from BIGINT NOT NULL DEFAULT 0;
