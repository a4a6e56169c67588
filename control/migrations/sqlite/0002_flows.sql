CREATE TABLE flows (
    network TEXT NOT NULL REFERENCES networks (id),
    number BIGINT NOT NULL,
    node TEXT NOT NULL,
    at BIGINT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    event TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (network, number)
);
CREATE INDEX flows_at ON flows (network, at);
ALTER TABLE networks ADD COLUMN next_flow BIGINT NOT NULL DEFAULT 1;
