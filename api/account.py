"""How is a password proved and replaced? And who may change passwords and tokens: people who signed in, never an API token."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from api import passwords
from api.call import Call
from api.caller_address import counted_as
from api.problem_details import Problem, wrong
from api.sign_in_limit import TooSoon
from schemas.vault import SecretUnavailable, bound_to_user

NO_NAME = "-"
"""What no user and no secret is called."""


def address_of(call: Call) -> str:
    """What is counted as the place the request came from."""
    return counted_as(call.request.client.host if call.request.client else "unknown")


async def attempted(call: Call, name: str, proof: Callable[[], Awaitable[str | None]]) -> str | None:
    """What `proof` finds; nothing is a failure that slows down further attempts.

    Raises `Problem` (429) while a password of this account may not be tried from this address.
    """
    try:
        async with call.given.sign_in_limit.attempt(name, address_of(call)) as attempt:
            found = await proof()
            attempt.came_to = "failure" if found is None else "success"
            return found
    except TooSoon as refused:
        call.services.metrics.sign_ins.labels("limited").inc()
        wait = str(refused.wait_s)
        raise Problem("rate_limited", f"try again in {wait} s", headers={"Retry-After": wait}) from None


async def is_password_of(call: Call, user: Mapping[str, Any] | None, name: str, password: str) -> bool:
    """Whether it is. For nobody, or a user without one, the vault is asked and a hash computed all the same: it takes as long."""
    try:
        kept = await call.given.vault.open((user and user["password"]) or NO_NAME, bound_to_user(name))
    except SecretUnavailable:
        kept = None
    async with call.services.hashing:
        return await asyncio.get_running_loop().run_in_executor(call.given.threads, passwords.matches, kept, password)


def new_secret(call: Call) -> str:
    """256 random bits, as text."""
    return base64.urlsafe_b64encode(call.given.ids.random_bytes(32)).rstrip(b"=").decode()


def signed_in_person(call: Call) -> str:
    """The session of who asks. Raises `Problem` for an API token: it could make itself last for ever, or more than it is."""
    if call.signed_in.session_id is None:
        raise Problem("permission_denied", "this takes a sign-in; an API token cannot do it")
    return call.signed_in.session_id


async def hashed_password(call: Call, password: str) -> bytes:
    """What the vault keeps of a password."""
    salt = call.given.ids.random_bytes(16)
    async with call.services.hashing:
        return await asyncio.get_running_loop().run_in_executor(call.given.threads, passwords.hashed, password, salt)


def check_new(password: str, name: str) -> None:
    """Raise `Problem` naming `password` unless it may be somebody's."""
    if len(password) < passwords.MIN_LENGTH:
        raise wrong("password", f"must have at least {passwords.MIN_LENGTH} characters")
    if len(password) > passwords.MAX_LENGTH:
        raise wrong("password", f"must have at most {passwords.MAX_LENGTH} characters")
    if password.lower() == name:
        raise wrong("password", "must not be the name")
