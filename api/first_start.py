"""Who is the first to sign in? The administrator that a new installation makes once; an existing one is never reset."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from api.passwords import MIN_LENGTH, hashed
from api.tokens import Randomness
from domain.identity import USER, kind_of, stream_of
from domain.user.messages import CreateFirstAdministrator
from schemas.actor import system
from schemas.command_envelope import CommandEnvelope, system_command_id
from schemas.event_envelope import EventEnvelope
from schemas.log import CommandSender, EventReader, Outcomes
from schemas.outcome import Accepted, result_for
from schemas.payload import to_json
from schemas.position import Partition
from schemas.topics import EVENT_TOPIC
from schemas.vault import Vault, bound_to_user

ROLE = "setup"
_SECRETS = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c04")
_READ_AT_ONCE = 100
_WAIT_S = 1.0


class NotSetUp(Exception):
    """The first administrator could not be made now; the same call may be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStart:
    """What setting up needs; `key` is the fingerprint key, `within_s` how long the outcome is waited for."""

    sender: CommandSender
    outcomes: Outcomes
    reader: EventReader
    vault: Vault
    randomness: Randomness
    now: Callable[[], datetime]
    key: bytes
    within_s: float = 30.0


def generated_password(randomness: Randomness) -> str:
    """A password of 140 bits that is easy to copy."""
    return base64.b32encode(randomness.random_bytes(20)).decode().lower()[:28]


async def has_users(reader: EventReader) -> bool:
    """Whether the log holds any user."""
    topic = EVENT_TOPIC[USER]
    ends = await reader.ends([Partition(topic, shard) for shard in range(reader.shards)])
    feed = await reader.feed(dict.fromkeys(ends, 0))
    try:
        while any(feed.positions[partition] < end for partition, end in ends.items()):
            if any(_is_of_a_user(found.body) for found in await feed.read(_READ_AT_ONCE, _WAIT_S)):
                return True
    finally:
        await feed.close()
    return False


def _is_of_a_user(body: object) -> bool:
    """Not all events of the users' topic are: what is told of keys may come before anybody is there."""
    return isinstance(body, EventEnvelope) and kind_of(body.stream) == USER


async def make_first_administrator(setup: FirstStart, name: str, password: str) -> bool:
    """Make the first administrator unless there is a user already; whether one was made.

    Password hash → vault → command on the system lane. The password must be kept by the caller *before* this is called: after a
    crash the same name and password give the same command. Raises `NotSetUp` and `ValueError` for a password that is too short.
    """
    if len(password) < MIN_LENGTH:
        raise ValueError(f"the password must have at least {MIN_LENGTH} characters")
    try:
        async with asyncio.timeout(setup.within_s):
            if await has_users(setup.reader):
                return False
    except TimeoutError:
        raise NotSetUp("the log's users could not be read to their end") from None
    said = hmac.new(setup.key, f"{name}\0{password}".encode(), hashlib.sha256).hexdigest()
    secret = str(uuid5(_SECRETS, said))
    kept = hashed(password, setup.randomness.random_bytes(16))
    await setup.vault.seal(secret, bound_to_user(name), kept)
    command = CommandEnvelope(
        command_id=system_command_id(ROLE, "first start", 1),
        type=CreateFirstAdministrator.__name__,
        stream=stream_of(USER, name),
        payload=to_json(CreateFirstAdministrator(name, secret)),
        actor=system(ROLE),
        correlation_id=str(setup.randomness.new_id()),
        time=setup.now(),
        fingerprint=said,
    )
    return await _made(setup, command, secret)


async def _made(setup: FirstStart, command: CommandEnvelope, secret: str) -> bool:
    await setup.sender.send(command)
    outcome = await setup.outcomes.wait(command.command_id, setup.within_s)
    if outcome is None:
        raise NotSetUp("the command side has not answered; is it running?")
    if isinstance(result_for(command, outcome), Accepted):
        return True
    await setup.vault.destroy(secret)  # another process was first
    return False
