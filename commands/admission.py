"""May this command be decided at all? What its envelope alone says, before any state is looked at.

Everything that will stand in an event's header is checked here once, so that no event can be made that a reader cannot store.
"""

import re

from domain.identity import RUN, is_run_id, is_slug
from domain.rejection import FieldError, Forbidden, Invalid, Rejection
from schemas.actor import PEOPLE_KINDS, Actor
from schemas.command_envelope import CommandEnvelope
from schemas.command_types import LANE_TOPIC, TABLE, CommandType
from schemas.text import why_unstorable

ACTOR_KINDS = PEOPLE_KINDS | {"system"}
MAX_ACTOR = 100
MAX_FINGERPRINT = 128
_CORRELATION = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)


def admit(command: CommandEnvelope, lane: str) -> CommandType:
    """The command's row in the table of types; `lane` is the topic it came by.

    Raises a `Rejection`: `malformed_command`, `unknown_command`, `wrong_stream`, `malformed_stream` or `lane_refused`.
    """
    _check_fields(command)
    kind = TABLE.get(command.type)
    if kind is None:
        raise Rejection("unknown_command", "there is no command of this type")
    _check_stream(command.stream, kind.aggregate)
    if (command.actor.kind in PEOPLE_KINDS) != (lane == LANE_TOPIC["people"]):
        raise Forbidden("lane_refused", f"an actor of kind {command.actor.kind} may not speak on {lane}")
    if LANE_TOPIC[kind.lane] != lane:
        raise Forbidden("lane_refused", f"{command.type} may not come by {lane}")
    return kind


def _check_stream(stream: str, aggregate: str) -> None:
    kind, _, name = stream.partition("/")
    if kind != aggregate:
        raise Rejection("wrong_stream", f"this command is for streams of type {aggregate}")
    if not (is_run_id(name) if kind == RUN else is_slug(name)):
        raise Rejection("malformed_stream", f"there can be no {aggregate} of this name")


def _check_fields(command: CommandEnvelope) -> None:
    errors = [
        *_actor_errors(command.actor, "actor"),
        *(_actor_errors(command.on_behalf_of, "on_behalf_of") if command.on_behalf_of else ()),
    ]
    if not _CORRELATION.fullmatch(command.correlation_id):
        errors.append(FieldError("correlation_id", "must be 1 to 64 of A-Z a-z 0-9 _ . -"))
    if command.traceparent is not None and not _TRACEPARENT.fullmatch(command.traceparent):
        errors.append(FieldError("traceparent", "is not a W3C trace parent"))
    if len(command.fingerprint) > MAX_FINGERPRINT:
        errors.append(FieldError("fingerprint", f"is longer than {MAX_FINGERPRINT} characters"))
    if command.time.tzinfo is None:
        errors.append(FieldError("time", "has no time zone"))
    if errors:
        raise Invalid(*errors, code="malformed_command")


def _actor_errors(actor: Actor, field: str) -> list[FieldError]:
    if not 1 <= len(actor.name) <= MAX_ACTOR or not actor.name.isprintable() or why_unstorable(actor.name):
        return [FieldError(f"{field}.name", f"must be 1 to {MAX_ACTOR} printable characters")]
    if actor.kind not in ACTOR_KINDS:
        return [FieldError(f"{field}.kind", "is not known")]
    return []
