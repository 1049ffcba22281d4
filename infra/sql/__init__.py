"""Implements ReadStore, and opens the databases of the read models: Postgres through psycopg 3, or SQLite."""
