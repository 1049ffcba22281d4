"""What may be said of a user over HTTP?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.rejection import FieldError, Invalid
from schemas.http.closed import read


@dataclass(frozen=True, slots=True, repr=False)
class NewUser:
    """A user to be made; without a password it is a service account, which signs in nowhere and has API tokens only."""

    name: str
    title: str = ""
    roles: tuple[str, ...] = ()
    password: str | None = None


@dataclass(frozen=True, slots=True)
class UserPatch:
    """The parts of a user that a patch names; `roles` are all of them; null removes a title."""

    title: str | None = None
    roles: tuple[str, ...] | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ResetPassword:
    """The password that somebody gets from an administrator."""

    password: str


@dataclass(frozen=True, slots=True, repr=False)
class OwnPassword:
    """The password that is good now, and the one that is to be."""

    current_password: str
    password: str


@dataclass(frozen=True, slots=True)
class NewToken:
    """An API token: what it is for, what it may do as far as its owner may (null: all that), until when (RFC 3339)."""

    expires_at: datetime
    title: str = ""
    permissions: tuple[str, ...] | None = None


def patch(raw: bytes, plain: Mapping[str, Any]) -> UserPatch:
    """What a merge patch changes, a title that is removed as an empty one. Raises `Invalid`, also for null where a user cannot be
    without.
    """
    asked = read(UserPatch, raw, plain)
    if errors := tuple(FieldError(f, "cannot be removed") for f in ("roles", "disabled") if plain.get(f, "") is None):
        raise Invalid(*errors)
    title = "" if "title" in plain and asked.title is None else asked.title
    return UserPatch(title, asked.roles, asked.disabled)
