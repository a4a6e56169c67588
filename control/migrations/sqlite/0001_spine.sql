-- Times are seconds since 1970; ids, keys and sealed secrets are text.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed TEXT NOT NULL
);

CREATE TABLE control_keys (
    id BIGINT PRIMARY KEY,
    public TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    v4 TEXT NOT NULL,
    v6 TEXT NOT NULL,
    revision BIGINT NOT NULL,
    next_host BIGINT NOT NULL,
    policy BIGINT NOT NULL,
    created BIGINT NOT NULL
);

-- What is asked for by itself has a column; the rest is in `record`, as JSON.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    network TEXT NOT NULL REFERENCES networks (id),
    name TEXT NOT NULL,
    host BIGINT NOT NULL,
    node_key TEXT NOT NULL,
    wireguard_key TEXT NOT NULL,
    expires BIGINT,
    ephemeral BIGINT NOT NULL,
    lapsed BIGINT NOT NULL,
    instance TEXT,
    seen BIGINT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (network, name),
    UNIQUE (network, host),
    UNIQUE (network, node_key),
    UNIQUE (network, wireguard_key)
);
CREATE INDEX nodes_instance ON nodes (instance);
CREATE INDEX nodes_expires ON nodes (expires);

CREATE TABLE released (
    network TEXT NOT NULL REFERENCES networks (id),
    host BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (network, host)
);

CREATE TABLE enrolment_keys (
    id TEXT PRIMARY KEY,
    network TEXT NOT NULL REFERENCES networks (id),
    hash TEXT NOT NULL,
    uses BIGINT NOT NULL,
    record TEXT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    network TEXT REFERENCES networks (id),
    hash TEXT NOT NULL,
    record TEXT NOT NULL
);

CREATE TABLE policies (
    network TEXT NOT NULL REFERENCES networks (id),
    version BIGINT NOT NULL,
    text TEXT NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (network, version)
);

-- The relays of one network, or of those that have none of their own (an empty name).
CREATE TABLE regions (
    network TEXT PRIMARY KEY,
    record TEXT NOT NULL
);

CREATE TABLE changes (
    network TEXT NOT NULL REFERENCES networks (id),
    revision BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (network, revision, kind, subject)
);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    seen BIGINT NOT NULL
);

CREATE TABLE chains (
    chain TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL
);

CREATE TABLE audit (
    chain TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, number)
);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
