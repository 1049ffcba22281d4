"""Ends the claims of executors that are silent for a lease time."""
