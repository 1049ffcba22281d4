"""How does a write become a command, and what is the caller told of its outcome?

envelope → send → wait for the outcome, bounded → 200 or 201; without an outcome in time, or when the caller does not want to
wait, 202 and where to ask. What is not known is never told as rejected.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from starlette.responses import Response

from api import conditions
from api.address import PREFIX
from api.call import Call, json_answer
from api.problem_details import Problem
from api.strict_json import Body
from domain.rejection import Invalid
from schemas.command_envelope import CommandEnvelope, people_command_id
from schemas.log import LogUnavailable, RecordTooLarge, ResultUnknown
from schemas.outcome import REUSED, Accepted, Outcome, Rejected, result_for
from schemas.payload import to_json
from schemas.topics import MAX_PAYLOAD_BYTES


@dataclass(frozen=True, slots=True)
class Write:
    """One write as the caller meant it: whose key it goes under, which version it expects, and its keyed fingerprint.

    The fingerprint is taken over method, path and the body before anything in it is sealed, so a secret sent again is the same
    command; it is keyed, so it tells nothing about the secret.
    """

    call: Call
    stream: str
    key: str
    key_given: bool
    fingerprint: str
    expected_version: int | None
    waits: bool = True
    """Whether the outcome is waited for."""

    def command_id(self, attempt: int = 1) -> UUID:
        """The command's id; a further attempt, for a newer revision, has its own."""
        key = self.key if attempt == 1 else f"{self.key}#{attempt}"
        return people_command_id(self.call.signed_in.actor, self.stream, key)


@dataclass(frozen=True, slots=True)
class Said:
    """What an accepted write answers beside stream, version and command id."""

    location: str
    key: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


class Rejection(Problem):
    """The outcome is a rejection: nothing was appended, definitely."""


class Pending(Exception):
    """No outcome in time, or the caller does not want to wait."""

    def __init__(self, command_id: UUID) -> None:
        super().__init__(str(command_id))
        self.command_id = command_id


def write_of(call: Call, stream: str | Callable[[str], str], body: Body, *, creates: bool = False) -> Write:
    """The write that the request makes on `stream`, which may depend on the caller's key. Raises `Problem`."""
    given = conditions.idempotency_key(call.request.headers)
    key = given or str(call.given.ids.new_id())
    expected = conditions.expected_version(call.request.headers)
    if creates and expected == conditions.ANY_VERSION:
        raise Problem("version_conflict", "If-Match: * asks for something that exists")
    said = b"\0".join((call.request.method.encode(), call.request.url.path.encode(), body.canonical))
    fingerprint = hmac.new(call.given.keys.fingerprints, said, hashlib.sha256).hexdigest()
    named = stream if isinstance(stream, str) else stream(key)
    version = None if expected == conditions.ANY_VERSION else expected
    return Write(call, named, key, given is not None, fingerprint, version, not conditions.wants_async(call.request.headers))


async def submit(write: Write, command: Any, said: Said, attempt: int = 1) -> Response:
    """Send the command and answer. Raises `Problem`, as `Rejection` when the outcome is one."""
    try:
        accepted = await outcome_of(write, command, attempt)
    except Pending as pending:
        return _pending(write, said, pending.command_id)
    return accepted_answer(write, said, accepted, write.command_id(attempt))


def accepted_answer(write: Write, said: Said, accepted: Accepted, command_id: UUID) -> Response:
    """What an accepted write answers."""
    body = {"stream": write.stream, "version": accepted.version, "command_id": str(command_id), **said.key}
    headers = {"ETag": f'"{accepted.version}"', "Location": f"{PREFIX}{said.location}"}
    return json_answer(body, said.status, headers)


async def outcome_of(write: Write, command: Any, attempt: int = 1) -> Accepted:
    """Send the command and wait. Raises `Rejection`, `Pending` or another `Problem`."""
    call, envelope = write.call, _envelope(write, command, attempt)
    name, counted, shards = envelope.type, call.services.metrics.commands, call.services.waiting_shards
    began = call.given.clock.monotonic()
    try:
        await call.given.sender.send(envelope)
    except RecordTooLarge:
        raise Rejection("event_too_large") from None
    except ResultUnknown:
        call.services.awaited.add(envelope.command_id, envelope.actor.name)
        counted.labels(name, "unknown").inc()
        headers = {"Location": f"{PREFIX}/commands/{envelope.command_id}"}
        raise Problem(
            "result_unknown", "ask at Location, or send it again with the same Idempotency-Key", headers=headers
        ) from None
    if not write.waits:
        counted.labels(name, "not awaited").inc()
        call.services.awaited.add(envelope.command_id, envelope.actor.name)
        shards.not_heard(envelope)
        raise Pending(envelope.command_id)
    outcome = await _heard(write, envelope.command_id)
    if outcome is None:
        counted.labels(name, "pending").inc()
        call.services.awaited.add(envelope.command_id, envelope.actor.name)
        shards.not_heard(envelope)
        raise Pending(envelope.command_id)
    shards.heard(envelope, outcome, began)
    result = result_for(envelope, outcome)
    counted.labels(name, "accepted" if isinstance(result, Accepted) else "rejected").inc()
    if isinstance(result, Rejected):
        raise Rejection(result.code, result.message, result.errors)
    return result


async def _heard(write: Write, command_id: UUID) -> Outcome | None:
    """The outcome, if it is known in time. That the log cannot be asked says nothing of the command, which it has."""
    given = write.call.given
    try:
        return await given.outcomes.wait(command_id, given.settings.outcome_wait_s)
    except LogUnavailable:
        return None


async def remembered(write: Write, kind: type[Any], again: str = "") -> tuple[Accepted, UUID] | None:
    """What became of this write when it was sent before, with the command's id; None when it was not, or nobody remembers.

    Asked before anything is checked against the read models, which have moved on since. A rejection with the code `again`
    stands for a further attempt. Raises `Rejection`.
    """
    attempt = 1
    while write.key_given and (outcome := await write.call.given.outcomes.find(write.command_id(attempt))) is not None:
        said = (outcome.fingerprint, outcome.actor, outcome.stream, outcome.type)
        if said != (write.fingerprint, write.call.signed_in.actor, write.stream, kind.__name__):
            raise Rejection(REUSED.code, REUSED.message)
        if isinstance(outcome.result, Accepted):
            return outcome.result, outcome.command_id
        if outcome.result.code != again:
            raise Rejection(outcome.result.code, outcome.result.message, outcome.result.errors)
        attempt += 1
    return None


def _envelope(write: Write, command: Any, attempt: int) -> CommandEnvelope:
    call = write.call
    try:
        payload = to_json(command)
    except Invalid as invalid:
        raise Problem(invalid.code, invalid.message, invalid.errors) from None
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Problem("event_too_large", f"at most {MAX_PAYLOAD_BYTES} bytes fit")
    return CommandEnvelope(
        command_id=write.command_id(attempt),
        type=type(command).__name__,
        stream=write.stream,
        payload=payload,
        actor=call.signed_in.actor,
        on_behalf_of=call.signed_in.on_behalf_of,
        expected_version=write.expected_version,
        correlation_id=call.correlation_id,
        time=call.given.clock.now(),
        fingerprint=write.fingerprint,
    )


def _pending(write: Write, said: Said, command_id: UUID) -> Response:
    where = f"{PREFIX}/commands/{command_id}"
    body = {"stream": write.stream, "command_id": str(command_id), "state": "unknown", **said.key}
    headers = {"Location": where, "Retry-After": "1", "Preference-Applied": "respond-async"}
    if write.waits:
        del headers["Preference-Applied"]
    return json_answer(body, 202, headers)
