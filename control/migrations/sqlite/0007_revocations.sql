-- Whom relays are not to serve, until the last ticket has ended: a node by its node key, or all of a
-- network (no identity). A network that is gone has its row still.
CREATE TABLE revocations (
    network TEXT NOT NULL,
    identity TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (network, identity)
);
