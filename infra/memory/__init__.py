"""Implements CommandSender, Outcomes, OwnedShards, EventReader and RecordSender in memory, for simulation and quick tests."""
