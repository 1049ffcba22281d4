"""Which rows may the caller see? Conditions in SQL, so that lists are filtered before they are paged.

A row is seen when one of the caller's roles allows it: what `domain.access` decides of one thing, said of many.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, not_, or_, select, true

from api.call import Caller
from api.queries.targets import label_condition
from domain.access import Grant, Limits, selector_of
from domain.identity import CREDENTIAL, JOB, ROLE, RUN, TARGET, USER, job_of
from domain.name_pattern import matches_pattern
from projections.tables import events, run_output, run_steps, runs

Column = ColumnElement[Any]

_run, _other_steps = runs.alias(), run_steps.alias()  # a query that is asked of runs or steps keeps its own


@dataclass(frozen=True, slots=True)
class Columns:
    """What of a row a limit bears on: the columns that name its job (or the job itself), a run of it, a target, a credential."""

    job: Column | str | None = None
    run: Column | None = None
    target: Column | None = None
    credential: Column | None = None


def seen(caller: Caller, permission: str, of: Columns) -> ColumnElement[bool]:
    """Whether the caller has `permission` on what the row speaks of."""
    return _any(_within(grant.limits, permission, of) for grant in caller.grants(permission))


def steps_seen(caller: Caller, run: str) -> ColumnElement[bool]:
    """Which of a run's steps the caller may see."""
    return seen(caller, "runs.read", Columns(job=job_of(run), target=run_steps.c.target))


def output_seen(caller: Caller, run: str) -> ColumnElement[bool]:
    """Which pieces of a run's output the caller may see."""
    return seen(caller, "runs.read", Columns(job=job_of(run), target=run_output.c.target))


def events_seen(caller: Caller) -> list[ColumnElement[bool]]:
    """Which events the caller may see: all with an unlimited `audit.read`, else those of streams that may be read, too."""
    if caller.is_unlimited("audit.read"):
        return []
    return [or_(*(_events_of(caller, kind) for kind in (TARGET, JOB, RUN, CREDENTIAL, USER, ROLE)))]


def run_seen(caller: Caller, permission: str, run: Column) -> ColumnElement[bool]:
    """Whether the caller has `permission` on a part of a run: on one of its targets at least, or the caller asked for the run.

    Under a limit on targets nobody else's run is seen before it is planned.
    """
    return _any(_part_of_run(caller, grant, permission, run) for grant in caller.grants(permission))


def run_seen_whole(caller: Caller, permission: str, run: Column) -> ColumnElement[bool]:
    """Whether the caller has `permission` on a run and on each of its targets: what is told of a run names them.

    Under a limit on targets that is not known, and so not the case, before its plan is there to the last target.
    """
    return _any(_whole_run(grant, permission, run) for grant in caller.grants(permission))


def _events_of(caller: Caller, kind: str) -> ColumnElement[bool]:
    name = func.substr(events.c.stream, len(kind) + 2)
    is_one, permission = events.c.stream.startswith(f"{kind}/", autoescape=True), f"{kind}s.read"
    if kind == RUN:
        return and_(is_one, run_seen_whole(caller, "audit.read", name), run_seen_whole(caller, permission, name))
    of = Columns(**{kind: name}) if kind in (TARGET, JOB, CREDENTIAL) else Columns()
    return and_(is_one, seen(caller, "audit.read", of), seen(caller, permission, of))


def _whole_run(grant: Grant, permission: str, run: Column) -> ColumnElement[bool]:
    limits = grant.limits.on(permission)
    within = _within(grant.limits, permission, Columns(run=run))
    if "targets" not in limits:
        return within
    beyond = exists().where(_other_steps.c.run == run, not_(_selected(limits["targets"], _other_steps.c.target)))
    return and_(within, _has_its_plan(run), not_(beyond))


def _part_of_run(caller: Caller, grant: Grant, permission: str, run: Column) -> ColumnElement[bool]:
    limits = grant.limits.on(permission)
    within = _within(grant.limits, permission, Columns(run=run))
    if "targets" not in limits:
        return within
    own = exists().where(_run.c.id == run, _run.c.requested_by == caller.user)
    touched = exists().where(_other_steps.c.run == run, _selected(limits["targets"], _other_steps.c.target))
    return and_(within, or_(own, touched))


def _has_its_plan(run: Column) -> ColumnElement[bool]:
    """Whether the steps on all its targets are in the read model, which may be behind the one that shows the run, or ahead."""
    there = select(func.count(_other_steps.c.target.distinct())).where(_other_steps.c.run == _run.c.id).scalar_subquery()
    return exists().where(_run.c.id == run, _run.c.state != "requested", _run.c.total > 0, _run.c.total == there)


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
