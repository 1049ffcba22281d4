"""What may be said of a target over HTTP? Registering takes the command itself; changing is a JSON merge patch (RFC 7396)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domain.rejection import FieldError, Invalid
from domain.target import ChangeTarget, ConnectionChange, RegisterTarget, SshConnection
from schemas.http.closed import read

LATER_KINDS = ("winrm", "http", "local")


@dataclass(frozen=True, slots=True)
class PatchedConnection:
    """The parts of a connection that a patch names; null sets a part back to its default or removes it."""

    kind: str | None = None
    port: int | None = None
    credential: str | None = None
    host_key: str | None = None


@dataclass(frozen=True, slots=True)
class TargetPatch:
    """The parts of a target that a patch names; null removes a title, all labels or one label."""

    title: str | None = None
    host: str | None = None
    labels: dict[str, str | None] | None = None
    connection: PatchedConnection | None = None


def register(raw: bytes, plain: Mapping[str, Any]) -> RegisterTarget:
    """The target to register. Raises `Invalid`."""
    _refuse_kind(plain.get("connection"))
    return read(RegisterTarget, raw, plain)


def patch(raw: bytes, plain: Mapping[str, Any]) -> ChangeTarget:
    """What a merge patch changes. Raises `Invalid`, also for null where a target cannot be without."""
    _refuse_kind(plain.get("connection"))
    asked = read(TargetPatch, raw, plain)
    if errors := tuple(_not_removable(plain)):
        raise Invalid(*errors)
    connection = plain.get("connection")
    return ChangeTarget(
        title="" if "title" in plain and asked.title is None else asked.title,
        host=asked.host,
        labels=asked.labels,
        clear_labels="labels" in plain and asked.labels is None,
        connection=_change(asked.connection, connection) if asked.connection and connection is not None else None,
    )


def _change(asked: PatchedConnection, plain: Mapping[str, Any]) -> ConnectionChange:
    return ConnectionChange(
        port=SshConnection(credential="").port if "port" in plain and asked.port is None else asked.port,
        credential=asked.credential,
        host_key=asked.host_key,
        forget_host_key="host_key" in plain and asked.host_key is None,
    )


def _not_removable(plain: Mapping[str, Any]) -> Iterator[FieldError]:
    for field in ("host", "connection"):
        if field in plain and plain[field] is None:
            yield FieldError(field, "cannot be removed")
    connection = plain.get("connection")
    if isinstance(connection, dict) and "credential" in connection and connection["credential"] is None:
        yield FieldError("connection.credential", "cannot be removed")


def _refuse_kind(connection: Any) -> None:
    kind = connection.get("kind", "ssh") if isinstance(connection, dict) else "ssh"
    if kind in LATER_KINDS:
        raise Invalid(FieldError("connection.kind", f"{kind} is not supported yet; use ssh"))
    if kind not in ("ssh", None):
        raise Invalid(FieldError("connection.kind", "must be ssh"))
