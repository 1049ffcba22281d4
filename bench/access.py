"""What does it cost to decide whether somebody may do something, with many users and many custom roles?

A decision is all that a request waits for: the user's row and the roles' rows read from SQLite, in one snapshot, and the rule.
Beside it stands the same decision for a user in a built-in role, which reads one row. Processor time is told beside wall time: it
says what a decision costs also where others take the processor away in the midst of one.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, Table, insert

from api.identity import acting_user
from bench.figures import Line, at_most, percentile
from domain.access import RunObject, TargetObject, decide
from infra.sql.engine import create_all, open_engine, open_reader
from projections.tables import roles, users

_TIME = "2026-01-01T00:00:00.000000Z"
_MOST_HELD = 20
_GOAL_MS = 1.0
_RUN = RunObject("web-deploy", [TargetObject(f"web-{n:02}", {"env": "staging", "role": "web"}) for n in range(20)])
_Times = Sequence[tuple[float, float]]
_PERMISSIONS = ["jobs.read", "runs.read", "runs.start", "targets.read"]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many users, roles and decisions of each kind."""

    users: int = 10_000
    roles: int = 1_000
    decisions: int = 5_000


def measure(folder: Path, amounts: Amounts) -> tuple[Sequence[Line], dict[str, Any]]:
    """The report and the single measurements, in milliseconds."""
    random = Random(1)
    url = f"sqlite:///{folder / 'access.db'}"
    _fill(url, amounts)
    reader = open_reader(url)
    try:
        kinds = ("built-in", "one custom", f"{_MOST_HELD} custom")
        measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for number in range(amounts.decisions * len(kinds)):  # in turn: whatever else the machine does is shared
            each = number % len(kinds)
            user = random.randrange(amounts.users // len(kinds)) * len(kinds) + each
            measured[kinds[each]].append(_decision_ms(reader, f"u-{user}"))
    finally:
        reader.dispose()
    lines = [line for kind, times in measured.items() for line in _lines(kind, times, measured["built-in"])]
    return lines, dict(measured)


def _lines(kind: str, times: _Times, plain: _Times) -> Iterator[Line]:
    for which, clock in enumerate(("wall", "processor")):
        ours, beside = [each[which] for each in times], [each[which] for each in plain]
        for part, name in ((0.5, "p50"), (0.99, "p99")):
            if kind != "built-in":
                yield Line(f"{kind}, beside built-in, {clock} {name}", percentile(ours, part), percentile(beside, part), "ms")
            yield at_most(f"{kind}, beside 1 ms, {clock} {name}", percentile(ours, part), _GOAL_MS, "ms", 1)


def _decision_ms(reader: Engine, name: str) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.thread_time()
    with reader.connect() as connection:
        user = acting_user(connection, name)
    allowed = user is not None and decide(user["granted"], "runs.start", _RUN).allowed
    taken = ((time.perf_counter() - begun) * 1_000, (time.thread_time() - used) * 1_000)
    assert allowed, "the decision is the one that was to be measured"
    return taken


def _fill(url: str, amounts: Amounts) -> None:
    writer = open_engine(url)
    create_all(writer)
    _insert(writer, roles, (_role(n) for n in range(amounts.roles)))
    _insert(writer, users, (_user(n, amounts.roles) for n in range(amounts.users)))
    writer.dispose()


def _insert(writer: Engine, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    with writer.begin() as connection:
        connection.execute(insert(table), list(rows))


def _role(number: int) -> dict[str, Any]:
    # Only every twentieth allows the run: who holds twenty has nineteen that are looked at in vain.
    jobs = "web-*" if number % _MOST_HELD == _MOST_HELD - 1 else "w*b*x-?"
    limits = {"targets": "env=staging,role!=db", "jobs": jobs, "credentials": None}
    return {"name": f"r-{number}", "title": "", "permissions": _PERMISSIONS, "limits": limits, "removed": False, **_known(1)}


def _user(number: int, count: int) -> dict[str, Any]:
    first = number * _MOST_HELD % count
    held = [f"r-{(first + n) % count}" for n in range(_MOST_HELD)]
    roles_of = (["operator"], held[-1:], held)[number % 3]
    row = {"name": f"u-{number}", "title": "", "password": "p", "linked": None, "roles": roles_of, "disabled": False}
    return {**row, "sealed_title": None, "erased": False, "sessions": ["s"], "tokens": [], "last_sign_in_at": None, **_known(2)}


def _known(version: int) -> dict[str, Any]:
    return {"created_at": _TIME, "updated_at": _TIME, "version": version, "offset": 1}
