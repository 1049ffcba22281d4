"""The only appender of events: one owner a shard checks commands against state and appends what they cause."""
