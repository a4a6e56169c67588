-- What one instance does at a time, and until when it is that one's.
CREATE TABLE turns (
    name TEXT PRIMARY KEY,
    instance TEXT NOT NULL,
    until BIGINT NOT NULL
);
