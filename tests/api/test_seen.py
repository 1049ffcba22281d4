"""Do the lists of the limited hold what the rule allows, however few of all rows that is?"""

import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, make_url, select, text

from api import paging
from api.call import Caller
from api.paging import Page, Seen
from api.queries import audit, partly_seen, runs
from api.queries.partly_seen import as_seen
from api.queries.seen import list_of_events_seen, list_of_runs_seen
from domain.access import Grant, Limits
from domain.identity import job_of
from domain.name_pattern import matches_pattern
from domain.selector import matches, parse_selector
from infra.sql.engine import create_all, open_engine
from projections import tables
from schemas.actor import Actor

TIME = "2026-01-01T00:00:00.%06dZ"
PERMISSIONS = frozenset({"runs.read", "audit.read"})
LIMITS = {
    "none": (Limits(),),
    "jobs": (Limits(jobs="web-*"),),
    "targets": (Limits(targets="env=lab"),),
    "others than": (Limits(targets="env!=prod"),),
    "by name": (Limits(targets="name=t-3"),),
    "both": (Limits(targets="env=prod", jobs="web-*"),),
    "two roles": (Limits(targets="env=lab"), Limits(targets="env=prod", jobs="db-*")),
    "nothing": (Limits(targets="env=nowhere"),),
}


class World:
    """Targets in environments and 120 runs of four jobs; what the rule says of each is computed here, one by one."""

    def __init__(self, seed: int) -> None:
        dice = Random(seed)
        self.labels = {f"t-{n}": {"env": dice.choice(("prod", "prod", "prod", "staging", "lab"))} for n in range(12)}
        self.labels["t-11"] = {}
        self.targets = dict[str, tuple[str, ...]]()
        self.missing, self.askers = set[str](), dict[str, str]()
        for n in range(120):
            run = f"{dice.choice(('web-a', 'web-b', 'db-a', 'db-b'))}.{n:032x}"
            self.targets[run] = tuple(dice.sample(sorted(self.labels), dice.choice((0, 1, 1, 2, 3))))
            self.askers[run] = dice.choice(("alice", *["bob"] * 20))
            if self.targets[run] and dice.random() < 0.1:
                self.missing.add(run)  # of its last target no step is in the read model yet

    def stepped(self, run: str) -> tuple[str, ...]:
        return self.targets[run][:-1] if run in self.missing else self.targets[run]

    def fill(self, connection: Connection) -> None:
        blank = {"title": "", "host": "", "connection": {}, "credential": "c", "retired": False, "open_checks": []}
        known = {"created_at": TIME % 0, "updated_at": TIME % 0, "version": 1, "offset": 0}
        for name, labels in self.labels.items():
            connection.execute(insert(tables.targets), {"name": name, "labels": labels, **blank, **known})
            for key, value in labels.items():
                connection.execute(insert(tables.target_labels), {"target": name, "key": key, "value": value})
        for n, (run, names) in enumerate(self.targets.items()):
            connection.execute(insert(tables.runs), self._row(n, run, len(names)))
            connection.execute(insert(tables.events), _event(n, f"run/{run}"))
            for name in self.stepped(run):
                step = {"run": run, "target": name, "step_index": 0, "attempt": 1, "step": "s", "state": "pending"}
                connection.execute(insert(tables.run_steps), step)
        for n, name in enumerate(self.labels):
            connection.execute(insert(tables.events), _event(200 + n, f"target/{name}"))

    def _row(self, n: int, run: str, total: int) -> dict[str, object]:
        row = {"id": run, "job": job_of(run), "revision": 1, "state": "running" if total else "requested", "reason": ""}
        row |= {"requested_by": self.askers[run], "parameters": {}, "selector": "", "waits_for": [], "replaces": False}
        row |= {"total": total, "counts": {}, "epoch": 1, "correlation_id": "c", "output_end": 0, "version": 1, "offset": n}
        return {**row, "requested_at": TIME % (n // 3)}

    def sees(self, limits: Limits, run: str) -> bool:
        if limits.jobs is not None and not matches_pattern(limits.jobs, job_of(run)):
            return False
        return limits.targets is None or self.askers[run] == "alice" or any(map(self._within(limits), self.stepped(run)))

    def sees_whole(self, limits: Limits, run: str) -> bool:
        if limits.jobs is not None and not matches_pattern(limits.jobs, job_of(run)):
            return False
        planned = bool(self.targets[run]) and run not in self.missing
        return limits.targets is None or (planned and all(map(self._within(limits), self.targets[run])))

    def part(self, limits: tuple[Limits, ...], run: str) -> int:
        """On how many of its targets the run is seen; a limit on none hides none, nor what the read model does not have yet."""
        here = [each for each in limits if each.jobs is None or matches_pattern(each.jobs, job_of(run))]
        if all(each.targets is None for each in limits):
            return len(self.targets[run])
        return sum(any(each.targets is None or self._within(each)(name) for each in here) for name in self.stepped(run))

    def _within(self, limits: Limits):
        selector = parse_selector(limits.targets or "")
        return lambda name: matches(selector, name, self.labels[name])


def _event(n: int, stream: str) -> dict[str, object]:
    row = {"event_id": f"{n:036}", "stream": stream, "version": 1, "type": "T", "schema_version": 1, "payload": "{}"}
    row |= {"actor_kind": "user", "actor_name": "u", "time": TIME % (n // 3), "command_id": f"{n:036}", "correlation_id": "c"}
    return row | {"previous_hash": "", "hash": "", "topic": "events.runs", "shard": 0, "offset": n}


def caller(limits: tuple[Limits, ...]) -> Caller:
    granted = tuple(Grant(f"r-{n}", PERMISSIONS, each) for n, each in enumerate(limits))
    return Caller(Actor("user", "alice"), "alice", granted=granted)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        yield from _made(f"sqlite:///{tmp_path / 'read.db'}")
        return
    shared, name = request.getfixturevalue("postgres_url"), f"seen_{uuid.uuid4().hex}"
    maintenance = create_engine(make_url(shared).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield from _made(make_url(shared).set(database=name).render_as_string(hide_password=False))
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


def _made(url: str) -> Iterator[Engine]:
    made = open_engine(url)
    create_all(made)
    yield made
    made.dispose()


def paged(order: paging.Order, ask) -> list[str]:
    found, after = list[str](), None
    while True:
        rows, cursor = ask(Page(order, 7, after, "", b"k"))
        found += rows
        if cursor is None:
            return found
        after = paging._place(cursor, "", b"k", len(order.columns))


@pytest.mark.parametrize("near", [0, 3, 40, 1_000])
def test_each_list_holds_exactly_what_the_rule_allows_in_any_order_and_page_size(engine, monkeypatch, near):
    monkeypatch.setattr(paging, "_NEAR", near)
    world = World(near)
    with engine.begin() as connection:
        world.fill(connection)
        for name, limits in LIMITS.items():
            who = caller(limits)
            for order in runs.ORDERS.values():
                seen = paged(order, partial(_some_runs, connection, who))
                assert len(seen) == len(set(seen)), name
                assert set(seen) == {run for run in world.targets if any(world.sees(each, run) for each in limits)}, name
            for order in audit.ORDERS.values():
                streams = paged(order, partial(_some_events, connection, who))
                whole = {f"run/{run}" for run in world.targets if any(world.sees_whole(each, run) for each in limits)}
                assert {each for each in streams if each.startswith("run/")} == whole, name


@pytest.mark.parametrize("at_once", [7, 500])
def test_of_a_run_that_is_partly_seen_only_what_is_seen_is_counted_and_only_runs_that_are_seen_are_waited_for(
    engine, monkeypatch, at_once
):
    monkeypatch.setattr(partly_seen, "_AT_ONCE", at_once)
    world, dice = World(5), Random(5)
    with engine.begin() as connection:
        world.fill(connection)
        rows = [dict(row) for row in connection.execute(select(tables.runs)).mappings()]
        rows = [{**row, "waits_for": dice.sample(sorted(world.targets), dice.choice((0, 2, 5)))} for row in rows]
        for name, limits in LIMITS.items():
            seen = [row for row in rows if any(world.sees(each, row["id"]) for each in limits)]
            for row, shown in zip(seen, as_seen(connection, caller(limits), seen), strict=True):
                expected = world.part(limits, row["id"])
                whole = expected == len(world.targets[row["id"]])
                assert (shown["total"], shown["counts"]) == (expected, row["counts"] if whole else None), (name, row["id"])
                known = [run for run in row["waits_for"] if any(world.sees(each, run) for each in limits)]
                hides = any(each.targets is not None for each in limits)
                assert shown["waits_for"] == (known if hides else row["waits_for"]), (name, row["id"])
                assert {**shown, "total": 0, "counts": 0, "waits_for": 0} == {**row, "total": 0, "counts": 0, "waits_for": 0}


def _some_runs(connection: Connection, who: Caller, page: Page) -> tuple[list[str], str | None]:
    rows, cursor = runs.listed(connection, page, {}, list_of_runs_seen(who))
    return [row["id"] for row in rows], cursor


def _some_events(connection: Connection, who: Caller, page: Page) -> tuple[list[str], str | None]:
    rows, cursor = audit.listed(connection, page, {}, [], list_of_events_seen(who))
    return [row["stream"] for row in rows], cursor


def test_who_sees_few_runs_has_them_looked_for_by_their_targets(tmp_path: Path):
    engine = open_engine(f"sqlite:///{tmp_path / 'read.db'}")
    create_all(engine)
    with engine.begin() as connection:
        World(1).fill(connection)
        for table, seen in ((tables.runs, list_of_runs_seen), (tables.events, list_of_events_seen)):
            found: Seen = seen(caller(LIMITS["targets"]))
            assert found.at_once is not None
            query = str(select(table).where(found.at_once).compile(engine, compile_kwargs={"literal_binds": True}))
            plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query.replace('%', '%%')}")]
            steps = [line for line in plan if "run_steps_by_target" in line]
            assert steps and not any("SCAN run_steps" in line for line in plan), plan
    engine.dispose()


@pytest.mark.parametrize("limits", [LIMITS["none"], LIMITS["jobs"]])
def test_nothing_is_looked_for_twice_where_no_targets_are_limited(limits):
    assert list_of_runs_seen(caller(limits)).at_once is None
    assert list_of_events_seen(caller(limits)).at_once is None
