"""Implements Vault: secrets sealed with AES-256-GCM in a table beside the read models."""
