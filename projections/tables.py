"""What do the read models look like? The same SQLAlchemy tables on Postgres and SQLite; all of them can be dropped and rebuilt.

Times are RFC 3339 UTC text (`stored_time`), so both databases keep and order them alike. `version` is the stream's version that
a row shows; `position` columns hold the offset of the last event that made it (its topic and shard follow from the stream).
"""

from datetime import UTC, datetime

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

metadata = MetaData()

_ID = String(255)
_TIME = String(40)
_JSON = JSON(none_as_null=True)


def stored_time(moment: datetime) -> str:
    """A moment as every time column holds it: UTC, always 27 characters, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


targets = Table(
    "targets",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("title", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("labels", _JSON, nullable=False),
    Column("connection", _JSON, nullable=False),
    Column("credential", _ID, nullable=False, index=True),
    Column("retired", Boolean, nullable=False),
    Column("reachable", Boolean),
    Column("last_check", _JSON),
    Column("open_checks", _JSON, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

target_labels = Table(
    "target_labels",
    metadata,
    Column("target", _ID, nullable=False),
    Column("key", _ID, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("target", "key"),
    Index("target_labels_by_value", "key", "value", "target"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("title", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("secret", String(80), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("title", String(200), nullable=False),
    Column("sealed_title", String(80)),
    Column("password", String(80)),
    Column("roles", _JSON, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("erased", Boolean, nullable=False),
    Column("sessions", _JSON, nullable=False),
    Column("tokens", _JSON, nullable=False),
    Column("linked", _JSON),
    Column("last_sign_in_at", _TIME),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)
"""`title` is one in clear, of an event from before; others lie in the vault under `sealed_title`. `linked` is a keyed digest
(`identity`) and the vault's id of whom it stands for (`secret`); or, from before, `issuer` and `subject` in clear.
"""

roles = Table(
    "roles",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("title", String(200), nullable=False),
    Column("permissions", _JSON, nullable=False),
    Column("limits", _JSON, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)
"""Custom roles; the built-in ones are in the code."""

jobs = Table(
    "jobs",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("definition", _JSON, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

job_revisions = Table(
    "job_revisions",
    metadata,
    Column("job", _ID, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("definition", _JSON, nullable=False),
    Column("author", Text, nullable=False),
    Column("time", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("job", "revision"),
)

job_results = Table(
    "job_results",
    metadata,
    Column("job", _ID, nullable=False),
    Column("state", String(20), nullable=False),
    Column("runs", BigInteger, nullable=False),
    PrimaryKeyConstraint("job", "state"),
)
"""A tally: how many runs of each job ended in each state."""

runs = Table(
    "runs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job", _ID, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("ending", String(20)),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cancelled_by", Text),
    Column("cancel_reason", Text),
    Column("parameters", _JSON, nullable=False),
    Column("selector", Text, nullable=False),
    Column("waits_for", _JSON, nullable=False),
    Column("replaces", Boolean, nullable=False),
    Column("total", Integer, nullable=False),
    Column("counts", _JSON, nullable=False),
    Column("error", _JSON),
    Column("executor", Text),
    Column("epoch", Integer, nullable=False),
    Column("correlation_id", String(64), nullable=False),
    Column("requested_at", _TIME, nullable=False),
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    Column("output_end", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Index("runs_by_time", "requested_at", "id"),
    Index("runs_by_job", "job", "requested_at", "id"),
    Index("runs_by_state", "state", "requested_at", "id"),
)
"""`counts` are finished targets by state; `output_end` is the run-output offset after the run's last chunk (0: none)."""

run_steps = Table(
    "run_steps",
    metadata,
    Column("run", _ID, nullable=False),
    Column("target", _ID, nullable=False),
    Column("step_index", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", String(63), nullable=False),
    Column("state", String(20), nullable=False),
    Column("exit_code", Integer),
    Column("error", _JSON),
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    PrimaryKeyConstraint("run", "target", "step_index", "attempt"),
    Index("run_steps_by_target", "target", "run"),
)

run_output = Table(
    "run_output",
    metadata,
    Column("run", _ID, nullable=False),
    Column("target", _ID, nullable=False),
    Column("step_index", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("step", String(63), nullable=False),
    Column("stream", String(6), nullable=False),
    Column("time", _TIME, nullable=False),
    Column("text", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("run", "target", "step_index", "attempt", "sequence"),
    Index("run_output_by_offset", "run", "offset"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", String(36), primary_key=True),
    Column("stream", String(300), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("type", String(63), nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("actor_kind", String(10), nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("behalf_kind", String(10)),
    Column("behalf_name", Text),
    Column("time", _TIME, nullable=False),
    Column("command_id", String(36), nullable=False, index=True),
    Column("correlation_id", String(64), nullable=False),
    Column("causation_id", String(36)),
    Column("traceparent", Text),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("topic", String(40), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Index("events_by_stream", "stream", "version", unique=True),
    Index("events_by_position", "topic", "shard", "offset", unique=True),
    Index("events_by_correlation", "correlation_id", "time", "event_id"),
    Index("events_by_time", "time", "event_id"),
    Index("events_by_type", "type", "time", "event_id"),
    Index("events_by_actor", "actor_name", "time", "event_id"),
)
"""The audit index: every event, row per event. The log stays the truth; this makes it searchable."""

bookkeeping = MetaData()
"""What the projections remember of themselves; not rebuilt with them."""

projection_positions = Table(
    "projection_positions",
    bookkeeping,
    Column("projection", String(63), nullable=False),
    Column("topic", String(40), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("projection", "topic", "shard"),
)
"""The next offset each projection has to read; written in the same transaction as its rows."""

projection_status = Table(
    "projection_status",
    bookkeeping,
    Column("projection", String(63), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("schema", String(64), nullable=False),
    Column("state", String(20), nullable=False),
    Column("stopped_at", Text),
    Column("error", Text),
    Column("last_event_at", _TIME),
    Column("rebuild_requested", Boolean, nullable=False),
    Column("rebuild_done", BigInteger),
    Column("rebuild_total", BigInteger),
)
"""One row a projection: `live`, `stopped` (with the poison event's position) or `rebuilding`, and how far a rebuild is."""
