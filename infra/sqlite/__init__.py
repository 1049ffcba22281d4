"""Implements CommandSender, Outcomes, OwnedShards, EventReader and RecordSender in one SQLite file, for one process."""
