"""Which roles does a user hold, and what may they do? One table: permission → roles."""

from typing import Literal, get_args

Role = Literal["viewer", "operator", "author", "approver", "auditor", "administrator"]

ROLES: tuple[Role, ...] = get_args(Role)
ADMINISTRATOR: Role = "administrator"

_ALL: frozenset[Role] = frozenset(ROLES)
_AUTHORS: frozenset[Role] = frozenset({"author", "administrator"})
_OPERATORS: frozenset[Role] = frozenset({"operator", "author", "administrator"})
_ADMINISTRATORS: frozenset[Role] = frozenset({"administrator"})

PERMISSIONS: dict[str, frozenset[Role]] = {
    "self.read": _ALL,
    "self.write": _ALL,
    "targets.read": _ALL,
    "targets.write": _AUTHORS,
    "targets.check": _OPERATORS,
    "credentials.read": _OPERATORS,
    "credentials.write": _ADMINISTRATORS,
    "jobs.read": _ALL,
    "jobs.write": _AUTHORS,
    "runs.read": _ALL,
    "runs.start": _OPERATORS,
    "runs.cancel": _OPERATORS,
    "users.read": _ADMINISTRATORS,
    "users.write": _ADMINISTRATORS,
    "commands.read": _ALL,
    "audit.read": frozenset({"auditor", "administrator"}),
    "projections.read": frozenset({"operator", "auditor", "administrator"}),
    "projections.rebuild": _ADMINISTRATORS,
}
"""Every permission there is, and the roles that carry it. `self.*` concerns one's own account alone."""


def permissions_of(roles: tuple[str, ...]) -> list[str]:
    """Everything that somebody with these roles may do, sorted."""
    return sorted(permission for permission in PERMISSIONS if may(roles, permission))


def may(roles: tuple[str, ...], permission: str) -> bool:
    """Whether one of these roles may do it; one's own account is everybody's, without any role, too."""
    return permission.startswith("self.") or bool(PERMISSIONS[permission].intersection(roles))
