"""Which rows may the caller see? Conditions in SQL, so that lists are filtered before they are paged.

A row is seen when one of the caller's roles allows it: what `domain.access` decides of one thing, said of many.

Where it depends on the targets of a run there are two ways to ask (`api.paging.Seen`): of a run, whether one of its targets is
within the limit; of the targets within the limit, which runs they were in.

Conditions are made once for each limit and remembered: for somebody with twenty roles that took longer than to ask the database.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, not_, or_, select, true

from api.call import Caller
from api.paging import Seen
from api.queries.targets import label_condition
from domain.access import NO_LIMITS, Limits, selector_of
from domain.identity import CREDENTIAL, JOB, ROLE, RUN, TARGET, USER, job_of
from domain.name_pattern import matches_pattern
from domain.user.messages import CommandsDenied
from projections.tables import events, run_output, run_steps, runs, targets

Column = ColumnElement[Any]
Whole = Callable[[Limits, str, Column], ColumnElement[bool]]
"""Whether within these limits a permission is given on a run and on each of its targets."""

_REMEMBERED = 1_024

# A query that is asked of runs or steps keeps its own.
_run, _those, _other_steps = runs.alias(), runs.alias(), run_steps.alias()


_NAMES = {kind: func.substr(events.c.stream, len(kind) + 2) for kind in (TARGET, JOB, RUN, CREDENTIAL, USER, ROLE)}
"""What an event's stream is called, by the type of thing that it is of."""


_NAMES_NOTHING_ELSE = events.c.type != CommandsDenied.__name__
"""Whether an event of a user is about nothing but users and roles."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What of a row a limit bears on: the columns that name its job (or the job itself), a run of it, a target, a credential."""

    job: Column | str | None = None
    run: Column | None = None
    target: Column | None = None
    credential: Column | None = None


def seen(caller: Caller, permission: str, of: Columns) -> ColumnElement[bool]:
    """Whether the caller has `permission` on what the row speaks of."""
    return _any(_within(limits, permission, of) for limits in _limits(caller, permission))


def steps_seen(caller: Caller, run: str) -> ColumnElement[bool]:
    """Which of a run's steps the caller may see."""
    return seen(caller, "runs.read", Columns(job=job_of(run), target=run_steps.c.target))


def output_seen(caller: Caller, run: str) -> ColumnElement[bool]:
    """Which pieces of a run's output the caller may see."""
    return seen(caller, "runs.read", Columns(job=job_of(run), target=run_output.c.target))


def events_seen(caller: Caller) -> list[ColumnElement[bool]]:
    """Which events the caller may see: all with an unlimited `audit.read`, else those of streams that may be read, too."""
    return [] if caller.is_unlimited("audit.read") else [_events_seen(caller, _whole_run)]


def history_seen(caller: Caller, kind: str) -> list[ColumnElement[bool]]:
    """Which events of a thing whose history the caller may read: `CommandsDenied` names what others tried to do something to,
    which may be beyond the caller's own limits. It is for who may read the whole audit trail.
    """
    return [] if kind != USER or caller.is_unlimited("audit.read") else [_NAMES_NOTHING_ELSE]


def list_of_events_seen(caller: Caller) -> Seen:
    """The same for a list."""
    if caller.is_unlimited("audit.read"):
        return Seen(true())
    at_once = _events_seen(caller, _whole_at_once) if limits_targets(caller, "audit.read", "runs.read") else None
    return Seen(_events_seen(caller, _whole_run), at_once)


def list_of_runs_seen(caller: Caller) -> Seen:
    """What `run_seen` says, for the list of runs."""
    permission, run = "runs.read", runs.c.id
    if not limits_targets(caller, permission):
        return Seen(run_seen(caller, permission, run))
    at_once = _any(_part_at_once(caller, *each, permission, run) for each in _by_targets(caller, permission))
    return Seen(run_seen(caller, permission, run), at_once)


def run_seen(caller: Caller, permission: str, run: Column) -> ColumnElement[bool]:
    """Whether the caller has `permission` on a part of a run: on one of its targets at least, or the caller asked for the run.

    Under a limit on targets nobody else's run is seen before it is planned.
    """
    return _any(_part_of_run(caller, *each, permission, run) for each in _by_targets(caller, permission))


def run_seen_whole(caller: Caller, permission: str, run: Column) -> ColumnElement[bool]:
    """Whether the caller has `permission` on a run and on each of its targets: what is told of a run names them.

    Under a limit on targets that is not known, and so not the case, before its plan is there to the last target.
    """
    return _any(_whole_run(limits, permission, run) for limits in _limits(caller, permission))


def limits_targets(caller: Caller, *permissions: str) -> bool:
    """Whether the caller has one of the permissions on some targets only."""
    return any("targets" in limits.on(permission) for permission in permissions for limits in _limits(caller, permission))


def _limits(caller: Caller, permission: str) -> Iterable[Limits]:
    """Within which limits the caller has the permission, each once; without any when one role gives it so."""
    return (NO_LIMITS,) if caller.is_unlimited(permission) else dict.fromkeys(g.limits for g in caller.grants(permission))


def _by_targets(caller: Caller, permission: str) -> Iterable[tuple[str | None, tuple[Limits, ...]]]:
    """The same, put together where they select the same targets: which those are is asked once."""
    found: dict[str | None, tuple[Limits, ...]] = {}
    for limits in _limits(caller, permission):
        selector = limits.on(permission).get("targets")
        found[selector] = (*found.get(selector, ()), limits)
    return found.items()


def _events_seen(caller: Caller, whole: Whole) -> ColumnElement[bool]:
    return or_(*(_events_of(caller, kind, whole) for kind in _NAMES))


def _events_of(caller: Caller, kind: str, whole: Whole) -> ColumnElement[bool]:
    is_one, both = events.c.stream.startswith(f"{kind}/", autoescape=True), ("audit.read", f"{kind}s.read")
    name = _NAMES[kind]
    if kind == RUN:
        return and_(is_one, *(_any(whole(limits, each, name) for limits in _limits(caller, each)) for each in both))
    of = Columns(**{kind: name}) if kind in (TARGET, JOB, CREDENTIAL) else Columns()
    return and_(is_one, *history_seen(caller, kind), *(seen(caller, each, of) for each in both))


@lru_cache(_REMEMBERED)
def _whole_run(limits: Limits, permission: str, run: Column) -> ColumnElement[bool]:
    within, selector = _within(limits, permission, Columns(run=run)), limits.on(permission).get("targets")
    if selector is None:
        return within
    beyond = exists().where(_other_steps.c.run == run, not_(_selected(selector, _other_steps.c.target)))
    return and_(within, not_(beyond), _has_its_plan(run))


@lru_cache(_REMEMBERED)
def _whole_at_once(limits: Limits, permission: str, run: Column) -> ColumnElement[bool]:
    whole, selector = _whole_run(limits, permission, run), limits.on(permission).get("targets")
    if selector is None:
        return whole
    those = select(_those.c.id).where(_those.c.id.in_(_touching(selector)), _whole_run(limits, permission, _those.c.id))
    return run.in_(those)


def _part_of_run(
    caller: Caller, selector: str | None, limits: tuple[Limits, ...], permission: str, run: Column
) -> ColumnElement[bool]:
    within = _any(_within(each, permission, Columns(run=run)) for each in limits)
    if selector is None:
        return within
    own = exists().where(_run.c.id == run, _run.c.requested_by == caller.user)
    return and_(within, or_(own, _touched(selector, run)))


def _part_at_once(
    caller: Caller, selector: str | None, limits: tuple[Limits, ...], permission: str, run: Column
) -> ColumnElement[bool]:
    within = _any(_within(each, permission, Columns(run=run)) for each in limits)
    if selector is None:
        return within
    own = select(_run.c.id).where(_run.c.requested_by == caller.user)
    return and_(within, or_(run.in_(own), run.in_(_touching(selector))))


@lru_cache(_REMEMBERED)
def _touched(selector: str, run: Column) -> ColumnElement[bool]:
    """Whether the run touched one of the targets at least."""
    return exists().where(_other_steps.c.run == run, _selected(selector, _other_steps.c.target))


@lru_cache(_REMEMBERED)
def _touching(selector: str) -> Select[Any]:
    """The runs that touched one of the targets at least."""
    selected = select(targets.c.name).where(_selected(selector, targets.c.name))
    return select(_other_steps.c.run).where(_other_steps.c.target.in_(selected))


def _has_its_plan(run: Column) -> ColumnElement[bool]:
    """Whether the steps on all its targets are in the read model, which may be behind the one that shows the run, or ahead."""
    there = select(func.count(_other_steps.c.target.distinct())).where(_other_steps.c.run == _run.c.id).scalar_subquery()
    return exists().where(_run.c.id == run, _run.c.state != "requested", _run.c.total > 0, _run.c.total == there)


@lru_cache(_REMEMBERED)
def _within(limits: Limits, permission: str, of: Columns) -> ColumnElement[bool]:
    bearing, parts = limits.on(permission), list[ColumnElement[bool]]()
    if (jobs := bearing.get("jobs")) is not None:
        if isinstance(of.job, str):
            parts.append(true() if matches_pattern(jobs, of.job) else false())
        elif of.job is not None:
            parts.append(of.job.like(_like(jobs)))
        elif of.run is not None:
            parts.append(of.run.like(f"{_like(jobs)}.%"))  # neither a job's name nor what follows has another dot
    if of.target is not None and (targets := bearing.get("targets")) is not None:
        parts.append(_selected(targets, of.target))
    if of.credential is not None and (credentials := bearing.get("credentials")) is not None:
        parts.append(of.credential.like(_like(credentials)))
    return and_(true(), *parts)


def _like(pattern: str) -> str:
    """A pattern holds letters, digits and hyphens beside its two signs: nothing that LIKE takes for its own."""
    return pattern.replace("*", "%").replace("?", "_")


def _selected(selector: str, name: Column) -> ColumnElement[bool]:
    return and_(*(label_condition(requirement, name) for requirement in selector_of(selector)))


def _any(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    return or_(false(), *conditions)
