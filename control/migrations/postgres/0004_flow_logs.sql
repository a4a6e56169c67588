-- One of so many flows is told of by the nodes that see it; none at 0.
ALTER TABLE networks ADD COLUMN flow_logs BIGINT NOT NULL DEFAULT 0;
