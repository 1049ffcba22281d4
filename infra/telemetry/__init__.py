"""Logs for people and machines: one JSON object a line, with the fields that join a request to its commands and events."""
