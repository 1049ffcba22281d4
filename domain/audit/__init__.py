"""Tamper evidence: bytes in, hashes out."""
