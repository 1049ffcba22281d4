"""A target: a machine that runs are done on.

Commands, events, state, fold and decide, in that order. Event names and fields are stored for ever: they may be added to with a
new schema version and an upcaster, never changed in place.
"""

import base64
import binascii
import ipaddress
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from domain.decider import Companion, Decider
from domain.identity import check_slug, is_slug
from domain.rejection import Absent, Conflict, FieldError, Invalid
from domain.selector import check_labels
from domain.title import check_title

HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
MAX_HOST_KEY = 8_000
_HOST = re.compile(r"[A-Za-z0-9._:%][A-Za-z0-9._:%-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SshConnection:
    """How a target is reached over SSH: port, the credential to log in with and the pinned host key (`type base64`).

    Without a pinned host key nothing is ever sent to the target.
    """

    credential: str
    kind: Literal["ssh"] = "ssh"
    port: int = 22
    host_key: str | None = None


# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisterTarget:
    """Make a machine known."""

    name: str
    host: str
    connection: SshConnection
    title: str = ""
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """Which parts of a connection change; None leaves a part as it is, `forget_host_key` removes the pin."""

    port: int | None = None
    credential: str | None = None
    host_key: str | None = None
    forget_host_key: bool = False


@dataclass(frozen=True, slots=True)
class ChangeTarget:
    """Change some of a target; None leaves a part as it is, a label set to None is removed, `clear_labels` removes all first."""

    title: str | None = None
    host: str | None = None
    labels: Mapping[str, str | None] | None = None
    clear_labels: bool = False
    connection: ConnectionChange | None = None


@dataclass(frozen=True, slots=True)
class RetireTarget:
    """Take a target out of service; its name stays taken."""


@dataclass(frozen=True, slots=True)
class RequestTargetCheck:
    """Ask for a connection and log-in to be tried."""

    check: str


@dataclass(frozen=True, slots=True)
class RecordTargetCheck:
    """What a check found."""

    check: str
    reachable: bool
    seconds: float | None = None
    code: str | None = None
    message: str | None = None
    details: Mapping[str, str] | None = None


Command = RegisterTarget | ChangeTarget | RetireTarget | RequestTargetCheck | RecordTargetCheck


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetRegistered:
    """A machine became known."""

    name: str
    title: str
    host: str
    labels: Mapping[str, str]
    connection: SshConnection


@dataclass(frozen=True, slots=True)
class TargetRetitled:
    """The title for people changed."""

    title: str


@dataclass(frozen=True, slots=True)
class TargetRelabelled:
    """The labels are now these: selectors may mean other targets than before."""

    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TargetConnectionChanged:
    """The target is reached elsewhere or otherwise from now on."""

    host: str
    connection: SshConnection


@dataclass(frozen=True, slots=True)
class TargetHostKeyTrusted:
    """Another host key is trusted for this target. None, as older events have it, means what `TargetHostKeyForgotten` does."""

    host_key: str | None


@dataclass(frozen=True, slots=True)
class TargetHostKeyForgotten:
    """No host key is trusted for this target any more: nothing is sent to it until another one is."""


@dataclass(frozen=True, slots=True)
class TargetRetired:
    """The target takes part in no run any more."""


@dataclass(frozen=True, slots=True)
class TargetCheckRequested:
    """Somebody asked whether the target can be reached."""

    check: str


@dataclass(frozen=True, slots=True)
class TargetChecked:
    """What the check found; `seconds` is the time to a log-in, `details` what was negotiated."""

    check: str
    reachable: bool
    seconds: float | None
    code: str | None
    message: str | None
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TargetReachabilityChanged:
    """The target became reachable or unreachable."""

    reachable: bool


Event = (
    TargetRegistered
    | TargetRetitled
    | TargetRelabelled
    | TargetConnectionChanged
    | TargetHostKeyTrusted
    | TargetHostKeyForgotten
    | TargetRetired
    | TargetCheckRequested
    | TargetChecked
    | TargetReachabilityChanged
)


# --- state ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetState:
    """What a target's rules need to remember; `name` is empty before registration."""

    name: str = ""
    title: str = ""
    host: str = ""
    labels: Mapping[str, str] | None = None
    connection: SshConnection | None = None
    retired: bool = False
    reachable: bool | None = None
    open_checks: tuple[str, ...] = ()


def fold(state: TargetState, events: Sequence[Event]) -> TargetState:
    """The state after `events`."""
    for event in events:
        state = _evolve(state, event)
    return state


def _evolve(state: TargetState, event: Event) -> TargetState:
    match event:
        case TargetRegistered(name, title, host, labels, connection):
            return TargetState(name, title, host, dict(labels), connection)
        case TargetRetitled(title):
            return replace(state, title=title)
        case TargetRelabelled(labels):
            return replace(state, labels=dict(labels))
        case TargetConnectionChanged(host, connection):
            return replace(state, host=host, connection=connection)
        case TargetHostKeyTrusted() | TargetHostKeyForgotten():
            assert state.connection is not None
            key = event.host_key if isinstance(event, TargetHostKeyTrusted) else None
            return replace(state, connection=replace(state.connection, host_key=key))
        case TargetRetired():
            return replace(state, retired=True)
        case TargetCheckRequested(check):
            return replace(state, open_checks=(*state.open_checks, check))
        case TargetChecked(check):
            return replace(state, open_checks=tuple(c for c in state.open_checks if c != check))
        case TargetReachabilityChanged(reachable):
            return replace(state, reachable=reachable)


# --- decide ---------------------------------------------------------------------------------------------------------

MAX_OPEN_CHECKS = 100


def decide(command: Command, state: TargetState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection."""
    if isinstance(command, RegisterTarget):
        return _register(command, state)
    if isinstance(command, RecordTargetCheck):
        return _record(command, state)
    _must_be_in_service(state)
    match command:
        case ChangeTarget():
            return _change(command, state)
        case RetireTarget():
            return [TargetRetired()]
        case RequestTargetCheck(check):
            return _request_check(check, state)


def _must_be_in_service(state: TargetState) -> None:
    if not state.name:
        raise Absent("target_not_found", "there is no such target")
    if state.retired:
        raise Conflict("target_retired", f"target {state.name} is retired")


def _register(command: RegisterTarget, state: TargetState) -> Sequence[Event]:
    if state.name:
        raise Conflict("target_exists", f"target {state.name} exists already")
    check_slug(command.name)
    labels = command.labels or {}
    _refuse(check_title(command.title) + check_host(command.host) + check_labels(labels) + _check_ssh(command.connection))
    return [TargetRegistered(command.name, command.title, command.host, labels, command.connection)]


def _change(command: ChangeTarget, state: TargetState) -> Sequence[Event]:
    assert state.connection is not None
    labels = _merged_labels(command, state)
    host = state.host if command.host is None else command.host
    title = state.title if command.title is None else command.title
    connection = _merged_connection(command.connection, state.connection)
    _refuse(check_title(title) + check_host(host) + check_labels(labels) + _check_ssh(connection))
    events: list[Event] = []
    if title != state.title:
        events.append(TargetRetitled(title))
    if labels != state.labels:
        events.append(TargetRelabelled(labels))
    moved = replace(connection, host_key=state.connection.host_key)
    if (host, moved) != (state.host, state.connection):
        events.append(TargetConnectionChanged(host, moved))
    if connection.host_key != state.connection.host_key:
        key = connection.host_key
        events.append(TargetHostKeyForgotten() if key is None else TargetHostKeyTrusted(key))
    return events


def _merged_labels(command: ChangeTarget, state: TargetState) -> dict[str, str]:
    before = {} if command.clear_labels else dict(state.labels or {})
    merged = {**before, **(command.labels or {})}
    return {key: value for key, value in merged.items() if value is not None}


def _merged_connection(change: ConnectionChange | None, now: SshConnection) -> SshConnection:
    if change is None:
        return now
    kept_key = None if change.forget_host_key else now.host_key
    return replace(
        now,
        port=now.port if change.port is None else change.port,
        credential=now.credential if change.credential is None else change.credential,
        host_key=kept_key if change.host_key is None else change.host_key,
    )


def _request_check(check: str, state: TargetState) -> Sequence[Event]:
    if check in state.open_checks:
        return []
    if len(state.open_checks) >= MAX_OPEN_CHECKS:
        raise Conflict("too_many_checks", f"{MAX_OPEN_CHECKS} checks of this target are still open")
    return [TargetCheckRequested(check)]


def _record(command: RecordTargetCheck, state: TargetState) -> Sequence[Event]:
    # also when the target was retired meanwhile: a check that was asked for must come to an end
    if not state.name:
        raise Absent("target_not_found", "there is no such target")
    if command.check not in state.open_checks:
        return []
    checked = TargetChecked(
        command.check, command.reachable, command.seconds, command.code, command.message, command.details or {}
    )
    changed = [] if command.reachable == state.reachable else [TargetReachabilityChanged(command.reachable)]
    return [checked, *changed]


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise Invalid(*errors)


def check_host(host: str, field: str = "host") -> list[FieldError]:
    """What is wrong with a host name or address; empty when nothing is."""
    if not 1 <= len(host) <= 253:
        return [FieldError(field, "must have 1 to 253 characters")]
    if not _HOST.fullmatch(host):
        return [FieldError(field, "must be a host name or an IP address")]
    if ":" in host and not _is_ip_address(host):
        return [FieldError(field, "must be a host name or an IP address; the port has a field of its own")]
    return []


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_ssh(connection: SshConnection) -> list[FieldError]:
    errors = []
    if not 1 <= connection.port <= 65535:
        errors.append(FieldError("connection.port", "must be between 1 and 65535"))
    if not is_slug(connection.credential):
        errors.append(FieldError("connection.credential", "must be the name of a credential"))
    if connection.host_key is not None and (reason := why_no_host_key(connection.host_key)):
        errors.append(FieldError("connection.host_key", reason))
    return errors


def why_no_host_key(text: str) -> str | None:
    """Why `text` is no public host key of the form `type base64`, or None when it is one."""
    if len(text) > MAX_HOST_KEY:
        return f"is longer than {MAX_HOST_KEY} characters"
    kind, _, encoded = text.partition(" ")
    if kind not in HOST_KEY_TYPES:
        return f"must begin with one of {', '.join(HOST_KEY_TYPES)}"
    if " " in encoded:
        return "must end after the key, without the comment that stands behind it in a file"
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "the key is not base64"
    named = blob[4 : 4 + len(kind)]
    if len(blob) <= 4 + len(kind) or struct.unpack(">I", blob[:4])[0] != len(kind) or named != kind.encode():
        return f"the key is not of type {kind}"
    return None


DECIDER: Decider[Command, TargetState, Event] = Decider(TargetState(), decide, fold)
