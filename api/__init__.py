"""Thin: who, may, parse, send, wait for the outcome; and queries over the read models."""
