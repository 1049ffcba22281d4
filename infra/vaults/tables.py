"""In which tables does the vault live? They cannot be rebuilt like read models: they are backed up."""

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, func, select, text

metadata = MetaData()

secrets = Table(
    "vault_secrets",
    metadata,
    Column("secret_id", String(80), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

master_keys = Table(
    "vault_master_keys",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("proof", LargeBinary, nullable=False),
)
"""Every master key that was ever in force, and what tells it from another of its version. Secrets are sealed under the newest."""

notes = MetaData()

unnamed = Table(
    "vault_unnamed_secrets",
    notes,
    Column("secret_id", String(80), primary_key=True),
    Column("since", String(40), nullable=False),
)
"""Since when a secret has been seen to be named by no event, and has not been sealed again. Not backed up: it is noted anew.

Whoever takes a note away holds its row until the end of the transaction: sealing again and destroying never both see it.
"""

SEALING_LOCK = 7_100_004
"""The Postgres advisory lock that who seals shares, and who brings a new master key into force has alone: a number of ours."""


def in_force(connection: Connection) -> int | None:
    """The version of the master key that secrets are sealed under; None before the first."""
    version: int | None = connection.execute(select(func.max(master_keys.c.version))).scalar_one()
    return version


def hold_in_force(connection: Connection) -> int | None:
    """The same, and it stays so until the transaction ends. (On SQLite there is one writer: whoever writes holds it.)"""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": SEALING_LOCK})
    return in_force(connection)
