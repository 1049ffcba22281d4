"""What may be said of a custom role over HTTP?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.access import Limits
from domain.rejection import FieldError, Invalid
from domain.role import ChangeRole
from schemas.http.closed import read


@dataclass(frozen=True, slots=True)
class RolePatch:
    """The parts of a role that a patch names; `permissions` are all of them; null removes a title, a limit or all limits."""

    title: str | None = None
    permissions: tuple[str, ...] | None = None
    limits: Limits | None = None


def patch(raw: bytes, plain: Mapping[str, Any], before: Limits) -> ChangeRole:
    """What a merge patch (RFC 7396) makes of a role that had the limits `before`. Raises `Invalid`."""
    asked = read(RolePatch, raw, plain)
    if "permissions" in plain and asked.permissions is None:
        raise Invalid(FieldError("permissions", "cannot be removed"))
    title = "" if "title" in plain and asked.title is None else asked.title
    return ChangeRole(title, asked.permissions, _limits(asked.limits, plain, before))


def _limits(asked: Limits | None, plain: Mapping[str, Any], before: Limits) -> Limits | None:
    if "limits" not in plain:
        return None
    said = plain["limits"]
    if asked is None or said is None:
        return Limits()
    kept = {name: getattr(asked if name in said else before, name) for name in ("targets", "jobs", "credentials")}
    return Limits(**kept)
