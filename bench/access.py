"""What does it cost to decide whether somebody may do something, and to list what they see, with many users and custom roles?

A decision is all that a request waits for: the user's row and the roles' rows read from SQLite, in one snapshot, and the rule.
Beside it stands the same decision for a user in a built-in role, which reads one row. Processor time is told beside wall time: it
says what a decision costs also where others take the processor away in the midst of one.

A list is a page of fifty runs or targets, of which half are within the limits of the custom roles, filtered by the database, or
the first page of users, or of roles; the decision's read of user and roles goes before it, as in a request. Beside it stands the
same page of somebody with the same roles in an installation that has few users and roles, and that of a user in a built-in role,
who sees all.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert

from api.call import Caller
from api.identity import acting_user
from api.paging import Order, Page
from api.queries import roles as roles_query
from api.queries import runs as runs_query
from api.queries import targets as targets_query
from api.queries import users as users_query
from api.queries.partly_seen import as_seen
from api.queries.seen import Columns, list_of_runs_seen, seen
from bench.figures import Line, at_most, percentile
from domain.access import RunObject, TargetObject, decide
from infra.sql.engine import create_all, open_engine, open_reader
from projections.tables import roles, run_steps, runs, target_labels, targets, users
from schemas.actor import Actor

_TIME = "2026-01-01T00:00:00.000000Z"
_MOST_HELD, _TARGETS = 20, 200
_GOAL_MS = 1.0
_PAGE = 50
_AS_FAST = 1.25
"""How many times as long a page may take as with few users and roles."""

_KINDS, _FEW = ("built-in", "one custom", f"{_MOST_HELD} custom"), ", few"

_RUN = RunObject("web-deploy", [TargetObject(f"web-{n:02}", {"env": "staging", "role": "web"}) for n in range(20)])
_Times = Sequence[tuple[float, float]]
_PERMISSIONS = ["jobs.read", "runs.read", "runs.start", "targets.read"]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many users, roles and decisions of each kind."""

    users: int = 10_000
    roles: int = 1_000
    decisions: int = 5_000
    lists: int = 500
    runs: int = 10_000


def measure(folder: Path, amounts: Amounts) -> tuple[Sequence[Line], dict[str, Any]]:
    """The report and the single measurements, in milliseconds."""
    few = replace(amounts, users=len(_KINDS) * _MOST_HELD, roles=_MOST_HELD)
    with _filled(folder / "many.db", amounts) as reader, _filled(folder / "few.db", few) as small:
        decided = _in_turn(amounts.decisions, {"": (amounts.users, partial(_decision_ms, reader))})
        listed = {
            what: _in_turn(
                amounts.lists,
                {
                    "": (amounts.users, partial(_list_ms, reader, what)),
                    _FEW: (few.users, partial(_list_ms, small, what)),
                },
            )
            for what in _LISTS
        }
    lines = [line for kind in _KINDS for line in _lines(kind, decided[kind], decided["built-in"])]
    lines += [line for what in _LISTS for kind in _KINDS for line in _of_lists(what, kind, listed[what])]
    return lines, {"decisions": decided, "lists": listed}


def _in_turn(count: int, sides: Mapping[str, tuple[int, Callable[[str], tuple[float, float]]]]) -> dict[str, _Times]:
    """So many of each kind of user on each side, in turn: whatever else the machine does is shared."""
    random = Random(1)
    times: dict[str, list[tuple[float, float]]] = {kind + side: [] for kind in _KINDS for side in sides}
    for _ in range(count):
        for number, kind in enumerate(_KINDS):
            for side, (people, measured) in sides.items():
                user = random.randrange(people // len(_KINDS)) * len(_KINDS) + number
                times[kind + side].append(measured(f"u-{user}"))
    return dict(times)


def _lines(kind: str, times: _Times, plain: _Times) -> Iterator[Line]:
    for which, clock in enumerate(("wall", "processor")):
        ours, beside = [each[which] for each in times], [each[which] for each in plain]
        for part, name in ((0.5, "p50"), (0.99, "p99")):
            if kind != "built-in":
                yield Line(f"{kind}, beside built-in, {clock} {name}", percentile(ours, part), percentile(beside, part), "ms")
            yield at_most(f"{kind}, beside 1 ms, {clock} {name}", percentile(ours, part), _GOAL_MS, "ms", 1)


def _of_lists(what: str, kind: str, listed: Mapping[str, _Times]) -> Iterator[Line]:
    for which, clock in enumerate(("wall", "processor")):
        ours, few, plain = (percentile([each[which] for each in listed[of]], 0.5) for of in (kind, kind + _FEW, "built-in"))
        yield at_most(f"a page of {what}, {kind}, beside few users and roles, {clock} p50", ours, few, "ms", _AS_FAST)
        if kind != "built-in":
            yield Line(f"a page of {what}, {kind}, beside built-in, {clock} p50", ours, plain, "ms")


def _decision_ms(reader: Engine, name: str) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.thread_time()
    with reader.connect() as connection:
        user = acting_user(connection, name)
    allowed = user is not None and decide(user["granted"], "runs.start", _RUN).allowed
    taken = ((time.perf_counter() - begun) * 1_000, (time.thread_time() - used) * 1_000)
    assert allowed, "the decision is the one that was to be measured"
    return taken


def _list_ms(reader: Engine, what: str, name: str) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.thread_time()
    with reader.connect() as connection:
        user = acting_user(connection, name)
        assert user is not None
        rows = _LISTS[what](connection, Caller(Actor("user", name), name, granted=user["granted"]))
    taken = ((time.perf_counter() - begun) * 1_000, (time.thread_time() - used) * 1_000)
    assert len(rows) == (_MOST_HELD if what == "roles" else _PAGE), "there is a whole page for everybody"
    return taken


def _page(order: Order, limit: int = _PAGE) -> Page:
    return Page(order, limit, None, "", b"k")


def _runs(connection: Connection, caller: Caller) -> Sequence[Any]:
    page = _page(runs_query.ORDERS["-requested_at"])
    return as_seen(connection, caller, runs_query.listed(connection, page, {}, list_of_runs_seen(caller))[0])


def _targets(connection: Connection, caller: Caller) -> Sequence[Any]:
    is_seen = seen(caller, "targets.read", Columns(target=targets.c.name))
    return targets_query.listed(connection, _page(targets_query.ORDERS["name"]), (), False, is_seen)[0]


def _users(connection: Connection, caller: Caller) -> Sequence[Any]:
    return users_query.listed(connection, _page(users_query.ORDERS["name"]))[0]


def _roles(connection: Connection, caller: Caller) -> Sequence[Any]:
    return roles_query.listed(connection, _page(roles_query.ORDERS["name"], _MOST_HELD), False)[0]


_LISTS: Mapping[str, Callable[[Connection, Caller], Sequence[Any]]] = {
    "runs": _runs, "targets": _targets, "users": _users, "roles": _roles,
}  # fmt: skip


@contextmanager
def _filled(file: Path, amounts: Amounts) -> Iterator[Engine]:
    url = f"sqlite:///{file}"
    writer = open_engine(url)
    create_all(writer)
    _insert(writer, roles, (_role(n) for n in range(amounts.roles)))
    _insert(writer, users, (_user(n, amounts.roles) for n in range(amounts.users)))
    _insert(writer, targets, (_target(n) for n in range(_TARGETS)))
    _insert(writer, target_labels, (label for n in range(_TARGETS) for label in _labels(n)))
    _insert(writer, runs, (_run(n) for n in range(amounts.runs)))
    _insert(writer, run_steps, (_step(n) for n in range(amounts.runs)))
    writer.dispose()
    reader = open_reader(url)
    try:
        yield reader
    finally:
        reader.dispose()


def _insert(writer: Engine, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    with writer.begin() as connection:
        connection.execute(insert(table), list(rows))


def _role(number: int) -> dict[str, Any]:
    # Only every twentieth allows the run: who holds twenty has nineteen that are looked at in vain.
    jobs = "web-*" if number % _MOST_HELD == _MOST_HELD - 1 else f"w*b*x-{number % _MOST_HELD}?"
    limits = {"targets": "env=staging,role!=db", "jobs": jobs, "credentials": None}
    return {"name": f"r-{number}", "title": "", "permissions": _PERMISSIONS, "limits": limits, "removed": False, **_known(1)}


def _user(number: int, count: int) -> dict[str, Any]:
    first = number * _MOST_HELD % count
    held = [f"r-{(first + n) % count}" for n in range(_MOST_HELD)]
    roles_of = (["operator"], held[-1:], held)[number % 3]
    row = {"name": f"u-{number}", "title": "", "password": "p", "linked": None, "roles": roles_of, "disabled": False}
    return {**row, "sealed_title": None, "erased": False, "sessions": ["s"], "tokens": [], "last_sign_in_at": None, **_known(2)}


def _target(number: int) -> dict[str, Any]:
    row = {"name": f"t-{number}", "title": "", "host": "h", "connection": {}, "credential": "c", "retired": False}
    labels = {label["key"]: label["value"] for label in _labels(number)}
    return {**row, "labels": labels, "open_checks": [], **_known(1)}


def _labels(number: int) -> list[dict[str, str]]:
    env = "staging" if number % 2 else "prod"
    return [{"target": f"t-{number}", "key": key, "value": value} for key, value in (("env", env), ("role", "web"))]


def _run(number: int) -> dict[str, Any]:
    row = {"id": _run_id(number), "job": "web-deploy", "revision": 1, "state": "succeeded", "reason": "", "selector": "env"}
    row |= {"requested_by": "somebody", "parameters": {}, "waits_for": [], "replaces": False, "total": 1}
    row |= {"counts": {"succeeded": 1}, "epoch": 1, "correlation_id": "c", "output_end": 0, "version": 9, "offset": number}
    return {**row, "requested_at": f"2026-01-01T00:00:00.{number:06}Z"}


def _step(number: int) -> dict[str, Any]:
    step = {"run": _run_id(number), "target": f"t-{number % _TARGETS}", "step_index": 0, "attempt": 1}
    return {**step, "step": "s", "state": "succeeded"}


def _run_id(number: int) -> str:
    return f"web-deploy.{number:032x}"


def _known(version: int) -> dict[str, Any]:
    return {"created_at": _TIME, "updated_at": _TIME, "version": version, "offset": 1}
