"""Which keys sign access tokens, and how do new ones come in and old ones go? They lie in the vault, numbered from 1.

A new key is published (JWKS) first and signs only after `SIGNS_AFTER_S`: by then every API process has read it, and everybody who
keeps the JWKS for as long as its answer says has asked again. A key that goes leaves a mark in its place; tokens that it signed
are refused from then on. The vault seals the first under an id and lets it stay, so two who make a key at once make the same one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from api.problem_details import Problem
from api.tokens import Randomness, SigningKey, Tokens, new_key, signing_key
from schemas.vault import SIGNING_KEY, SIGNING_KEY_BOUND_TO, SecretUnavailable, Vault, VaultError

log = logging.getLogger(__name__)

READ_EVERY_S = 5.0
"""How soon an API process knows of what another did."""

SIGNS_AFTER_S = 600
MOST_IN_FORCE = 20
"""Everybody reads all of them, and each answer of the JWKS holds them. How many there have been is not limited."""

_TRIES = 20


@dataclass(frozen=True, slots=True, repr=False)
class Numbered:
    """A key in force, under its number."""

    number: int
    key: SigningKey


def _place(number: int) -> tuple[str, str]:
    return (SIGNING_KEY, SIGNING_KEY_BOUND_TO) if number == 1 else (f"{SIGNING_KEY}-{number}", f"{SIGNING_KEY_BOUND_TO}-{number}")


def _mark(number: int) -> tuple[str, str]:
    ident, bound_to = _place(number)
    return f"{ident}-retired", f"{bound_to}-retired"


async def _read(vault: Vault, known_retired: set[int] | None = None) -> tuple[list[Numbered], int]:
    """The keys in force, oldest first, and the first number that is free. What is `known_retired` stays so and is passed over."""
    retired = set() if known_retired is None else known_retired
    found: list[Numbered] = []
    number = 1
    while True:
        if number not in retired:
            raw = await _opened(vault, *_place(number))
            if await _opened(vault, *_mark(number)) is not None:
                retired.add(number)
            elif raw is None:
                return found, number
            else:
                found.append(Numbered(number, _key(raw)))
        number += 1


async def _opened(vault: Vault, ident: str, bound_to: str) -> bytes | None:
    try:
        return await vault.open(ident, bound_to)
    except SecretUnavailable:
        return None


def _key(raw: bytes) -> SigningKey:
    if raw.startswith(b"-----"):
        return signing_key(raw)
    kept = orjson.loads(raw)
    return signing_key(kept["pem"].encode(), kept["signs_from"])


async def load_signing_keys(vault: Vault, randomness: Randomness) -> Sequence[SigningKey]:
    """The installation's signing keys in force, newest first; one is made where there is none. Raises `VaultError`."""
    found, free = await _read(vault)
    if not found:
        await vault.seal(*_place(free), new_key(randomness))
        found, _ = await _read(vault)
    return [each.key for each in reversed(found)]


async def refresh(tokens: Tokens, vault: Vault) -> None:
    """Have `tokens` know the keys as they are now. While the vault cannot be asked they stay as they were."""
    try:
        found, _ = await _read(vault, tokens.retired_numbers)
    except VaultError as error:
        log.warning("the signing keys could not be read", extra={"error": type(error).__name__})
        return
    if found:
        tokens.take([each.key for each in reversed(found)])


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """A key that nobody has seen yet, as the vault is to keep it."""

    key: SigningKey
    kept: bytes


def made(randomness: Randomness, now: datetime, *, at_once: bool) -> NewKey:
    """A key that signs some time after it is published, or `at_once`."""
    signs_from = now if at_once else now + timedelta(seconds=SIGNS_AFTER_S)
    kept = orjson.dumps({"pem": new_key(randomness).decode(), "signs_from": int(signs_from.timestamp())})
    return NewKey(_key(kept), kept)


async def check_room(vault: Vault) -> None:
    """Raise `Problem` where as many keys are in force as there may be; `VaultError`."""
    found, _ = await _read(vault)
    if len(found) >= MOST_IN_FORCE:
        raise Problem("too_many_signing_keys", f"{MOST_IN_FORCE} signing keys are in force: retire one first")


async def publish(vault: Vault, new: NewKey) -> None:
    """Put a key into force: at the first place that nobody else takes at this moment. Raises `VaultError`."""
    for _ in range(_TRIES):
        _, free = await _read(vault)
        await vault.seal(*_place(free), new.kept)
        if await _opened(vault, *_place(free)) == new.kept:
            return
    raise VaultError(f"signing key {free} is there and does not open, or others are made all the time")


async def retirable(vault: Vault, kid: str, now: datetime) -> tuple[Numbered, tuple[str, ...]]:
    """The key, when it may go, and the others that sign; also one that is out of force already and still there. Raises
    `VaultError`; `Problem` when there are no others, or no such key.
    """
    found, free = await _read(vault)
    in_force = next((each for each in found if each.key.kid == kid), None)
    gone = in_force or await _left_behind(vault, kid, free)
    if gone is None:
        raise Problem("signing_key_not_found")
    others = tuple(each.key.kid for each in found if each is not gone and each.key.signs_from <= now.timestamp())
    if in_force and not others:
        raise Problem("only_signing_key")
    return gone, others


async def _left_behind(vault: Vault, kid: str, free: int) -> Numbered | None:
    """A key that has its mark, and that the vault failed to destroy then."""
    for number in range(1, free):
        raw = await _opened(vault, *_place(number))
        if raw is not None and (key := _key(raw)).kid == kid:
            return Numbered(number, key)
    return None


async def retire(vault: Vault, gone: Numbered) -> None:
    """Take a key away: what it signed is refused. Raises `VaultError`."""
    await vault.seal(*_mark(gone.number), b"retired")


async def destroy(vault: Vault, gone: Numbered) -> None:
    """Leave nothing of a key that was taken away. Raises `VaultError`."""
    await vault.shred([_place(gone.number)[0]])
