"""Is this API token good, and whose is it? `ops.<user>.<token id>.<secret>`; the vault keeps the secret's hash only.

A token may do what it was issued for as far as its owner may do it now.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api.call import Caller
from projections.tables import stored_time
from schemas.actor import Actor
from schemas.vault import SecretUnavailable, Vault, bound_to_token

PREFIX = "ops."
CONFIRMED_S = 30 * 86_400
"""How long a sign-in with the identity provider is enough for the API tokens of whoever signed in."""
MAX_LENGTH = 300


@dataclass(frozen=True, slots=True, repr=False)
class Presented:
    """The parts of a token that somebody shows."""

    user: str
    token: str
    secret: str


def written(user: str, token: str, secret: str) -> str:
    """The token as its owner sees it, once."""
    return f"{PREFIX}{user}.{token}.{secret}"


def presented(text: str) -> Presented | None:
    """The parts; None for what is no token of ours."""
    parts = text.removeprefix(PREFIX).split(".")
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH or len(parts) != 3 or not all(parts):
        return None
    return Presented(*parts)


def hashed(secret: str) -> bytes:
    """What the vault keeps: the secret is random and long, so a plain hash will do."""
    return hashlib.sha256(secret.encode()).hexdigest().encode()


def token_in(user: Mapping[str, Any], token: str, now: datetime) -> dict[str, Any] | None:
    """The token of `user` with this id, unless it has expired; that of an identity provider's user rests, too, while the provider
    has not said for `CONFIRMED_S` who its owner is and in which groups.
    """
    if user["linked"] and (user["last_sign_in_at"] or "") <= stored_time(now - timedelta(seconds=CONFIRMED_S)):
        return None
    return next((each for each in user["tokens"] if each["token"] == token and each["expires_at"] > stored_time(now)), None)


async def caller_with(shown: Presented, user: Mapping[str, Any], vault: Vault, now: datetime) -> Caller | None:
    """Who asks with this token of `user`; None when it is not good. Raises `VaultError`."""
    issued = token_in(user, shown.token, now)
    if issued is None:
        return None
    try:
        kept = await vault.open(issued["secret"], bound_to_token(shown.user, shown.token))
    except SecretUnavailable:
        return None
    if not hmac.compare_digest(kept, hashed(shown.secret)):
        return None
    scope = frozenset(issued["permissions"]) if issued["permissions"] is not None else None
    actor = Actor("token", f"{shown.user}/{shown.token}")
    return Caller(actor, shown.user, tuple(user["roles"]), scope=scope, granted=user["granted"])
