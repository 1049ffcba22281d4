"""Who may do what, and why? One table: permission → built-in roles; and one decision for commands and queries alike.

A user holds roles. A role grants permissions, a custom one perhaps within limits: a selector of targets, a pattern of job or
credential names. What one of the roles allows is allowed; a run must be allowed by one role as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from domain.name_pattern import check_pattern, matches_pattern
from domain.rejection import FieldError, Invalid
from domain.selector import Selector, matches, parse_selector

Role = Literal["viewer", "operator", "author", "approver", "auditor", "administrator"]

ROLES: tuple[Role, ...] = get_args(Role)
"""The built-in roles."""

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
    "credentials.use": _AUTHORS,
    "jobs.read": _ALL,
    "jobs.write": _AUTHORS,
    "runs.read": _ALL,
    "runs.start": _OPERATORS,
    "runs.cancel": _OPERATORS,
    "users.read": _ADMINISTRATORS,
    "users.write": _ADMINISTRATORS,
    "roles.read": _ADMINISTRATORS,
    "roles.write": _ADMINISTRATORS,
    "commands.read": _ALL,
    "signing_keys.read": frozenset({"auditor", "administrator"}),
    "signing_keys.write": _ADMINISTRATORS,
    "audit.read": frozenset({"auditor", "administrator"}),
    "projections.read": frozenset({"operator", "auditor", "administrator"}),
    "projections.rebuild": _ADMINISTRATORS,
}
"""Every permission there is, and the built-in roles that carry it. `self.*` concerns one's own account alone."""

WHOLE_ONLY: frozenset[str] = frozenset(
    {"users.read", "users.write", "roles.read", "roles.write", "signing_keys.write", "projections.rebuild"}
)
"""What only an administrator has and no limit could apply to: a role that is limited cannot carry it."""

MAX_LIMIT_SELECTOR = 500

Limit = Literal["targets", "jobs", "credentials"]

_LIMITED_BY: Mapping[str, tuple[Limit, ...]] = {
    "targets": ("targets",),
    "jobs": ("jobs",),
    "runs": ("jobs", "targets"),
    "credentials": ("credentials",),
    "audit": ("targets", "jobs", "credentials"),
}
"""Which limits bear on the permissions of each kind of thing; on all others none does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a role is limited to: targets by a selector, jobs and credentials by a pattern of their names; None: to nothing."""

    targets: str | None = None
    jobs: str | None = None
    credentials: str | None = None

    def on(self, permission: str) -> dict[Limit, str]:
        """The limits that bear on a permission."""
        bearing = _LIMITED_BY.get(permission.partition(".")[0], ())
        return {name: limit for name in bearing if (limit := getattr(self, name)) is not None}


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Grant:
    """What one of a user's roles grants."""

    role: str
    permissions: frozenset[str]
    limits: Limits = NO_LIMITS

    def carries(self, permission: str) -> bool:
        """Whether the role has the permission, for some thing at least."""
        return permission in self.permissions


@dataclass(frozen=True, slots=True)
class TargetObject:
    """A target with the labels it has."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobObject:
    """A job."""

    name: str


@dataclass(frozen=True, slots=True)
class CredentialObject:
    """A credential."""

    name: str


@dataclass(frozen=True, slots=True)
class RunObject:
    """A run: its job and the targets it touches or would touch."""

    job: str
    targets: Sequence[TargetObject] = ()


Object = TargetObject | JobObject | CredentialObject | RunObject


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, by which role, and if not what each role lacks; `at_fault` is the limit that all else rests on."""

    allowed: bool
    role: str | None = None
    lacks: tuple[tuple[str, str], ...] = ()
    at_fault: Limit | None = None


def built_in(role: str) -> Grant:
    """What a built-in role grants."""
    return Grant(role, frozenset(name for name, holders in PERMISSIONS.items() if role in holders))


def grants_of(roles: Iterable[str], custom: Mapping[str, Grant]) -> tuple[Grant, ...]:
    """What somebody with these roles is granted; `custom` are the custom roles in force. Any other role grants nothing."""
    return tuple(built_in(role) if role in ROLES else custom[role] for role in roles if role in ROLES or role in custom)


def may(grants: Iterable[Grant], permission: str) -> bool:
    """Whether one of the roles has the permission at all; one's own account is everybody's, without any role, too."""
    return permission.startswith("self.") or any(grant.carries(permission) for grant in grants)


def is_unlimited(grants: Iterable[Grant], permission: str) -> bool:
    """Whether one of the roles has the permission for every thing there is."""
    return any(grant.carries(permission) and not grant.limits.on(permission) for grant in grants)


def permissions_of(grants: Sequence[Grant]) -> list[str]:
    """Everything that these roles permit, for some thing at least, sorted."""
    return sorted(permission for permission in PERMISSIONS if may(grants, permission))


def decide(grants: Sequence[Grant], permission: str, thing: Object | None = None) -> Decision:
    """Whether `permission` is had on `thing`; None stands for there being any thing at all to have it on."""
    if permission.startswith("self."):
        return Decision(True)
    lacks = []
    faults: set[Limit | None] = set()
    for grant in grants:
        limit, why = _lack(grant, permission, thing)
        if why is None:
            return Decision(True, grant.role)
        lacks.append((grant.role, why))
        if grant.carries(permission):
            faults.add(limit)
    return Decision(False, None, tuple(lacks), faults.pop() if len(faults) == 1 else None)


def _lack(grant: Grant, permission: str, thing: Object | None) -> tuple[Limit | None, str | None]:
    """The limit that the thing is beyond, and what the role lacks in words; no words when it lacks nothing."""
    if not grant.carries(permission):
        return None, f"does not have {permission}"
    limits = grant.limits.on(permission)
    match thing:
        case TargetObject() if "targets" in limits:
            return _beyond_selector(limits["targets"], (thing,), f"{thing.name} is not one of")
        case JobObject(name) if "jobs" in limits:
            return _beyond_pattern("jobs", limits["jobs"], name)
        case CredentialObject(name) if "credentials" in limits:
            return _beyond_pattern("credentials", limits["credentials"], name)
        case RunObject(job, targets):
            found = _beyond_pattern("jobs", limits["jobs"], job) if "jobs" in limits else (None, None)
            if found[1] is None and "targets" in limits:  # whoever is told may not be somebody who may read all of them
                return _beyond_selector(limits["targets"], targets, "not all of its targets are among")
            return found
    return None, None


def _beyond_pattern(limit: Limit, pattern: str, name: str) -> tuple[Limit | None, str | None]:
    if matches_pattern(pattern, name):
        return None, None
    return limit, f"is limited to {limit} {pattern}, which {name} is not one of"


def _beyond_selector(text: str, targets: Sequence[TargetObject], why: str) -> tuple[Limit | None, str | None]:
    selector = selector_of(text)
    if all(matches(selector, target.name, target.labels) for target in targets):
        return None, None
    return "targets", f"is limited to targets {text}, which {why}"


@lru_cache(maxsize=4_096)
def selector_of(text: str) -> Selector:
    """A limit on targets, read once."""
    return parse_selector(text, "targets")


def first_beyond(grants: Sequence[Grant], wanted: Grant) -> str | None:
    """The first permission of `wanted` that whoever has `grants` does not have as widely; None when they have it all.

    Nobody may give what they do not have themselves: as widely means without limits, or within the very same.
    """
    for permission in sorted(wanted.permissions):
        if permission.startswith("self."):
            continue  # everybody's
        limits = wanted.limits.on(permission)
        if not any(grant.carries(permission) and grant.limits.on(permission).items() <= limits.items() for grant in grants):
            return permission
    return None


def check_limits(limits: Limits, field: str = "limits") -> list[FieldError]:
    """What is wrong with a role's limits; empty when nothing is."""
    errors = []
    for name in ("jobs", "credentials"):
        if (pattern := getattr(limits, name)) is not None:
            errors += check_pattern(pattern, f"{field}.{name}")
    if limits.targets is not None:
        if len(limits.targets) > MAX_LIMIT_SELECTOR:
            return [FieldError(f"{field}.targets", f"is longer than {MAX_LIMIT_SELECTOR} characters"), *errors]
        try:
            parse_selector(limits.targets, f"{field}.targets")
        except Invalid as invalid:
            errors += invalid.errors
    return errors
