"""Who may do what? One table: permission → roles. Every route names the permission it takes."""

from typing import get_args

from domain.user import Role

_ALL: frozenset[Role] = frozenset(get_args(Role))
_AUTHORS: frozenset[Role] = frozenset({"author", "administrator"})
_OPERATORS: frozenset[Role] = frozenset({"operator", "author", "administrator"})
_ADMINISTRATORS: frozenset[Role] = frozenset({"administrator"})

TABLE: dict[str, frozenset[Role]] = {
    "self.read": _ALL,
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
    "commands.read": _ALL,
    "audit.read": frozenset({"auditor", "administrator"}),
    "projections.read": frozenset({"operator", "auditor", "administrator"}),
    "projections.rebuild": _ADMINISTRATORS,
}


def permissions_of(roles: tuple[str, ...]) -> list[str]:
    """Everything these roles may do, sorted."""
    return sorted(name for name, holders in TABLE.items() if holders.intersection(roles))


def may(roles: tuple[str, ...], permission: str) -> bool:
    """Whether one of these roles may do it."""
    return bool(TABLE[permission].intersection(roles))
