"""What does the cluster keep when each of its roles is killed in turn, under load, on real Kafka, Postgres and Redis?"""

import time

import pytest

from tests.roles.fleet import (
    Fleet,
    FleetServer,
    Load,
    all_final,
    caught_up,
    finals,
    nothing_doubled,
    nothing_lost,
    same_after_rebuild,
    versions_are_gapless,
)
from tests.roles.harness import cluster
from tests.support.eventually import eventually
from tests.support.services import scratch_folder

pytestmark = pytest.mark.services

SHORT = ("executor-1", "api", "commands-1")
LONG = (
    "executor-1",
    "api",
    "projections",
    "sweeper",
    "commands-1",
    "executor-2",
    "commands-2",
    "api",
    "executor-1",
    "commands-1",
)
"""Whoever is killed; the owners last, since their shards wait until the group takes them for dead."""


@pytest.mark.faults  # the short chaos kills them in every run
@pytest.mark.timeout(600)
def test_roles_killed_under_load_lose_nothing_acknowledged_and_start_no_step_twice(
    kafka: str, postgres_url: str, redis_url: str, fleet_servers: list[FleetServer]
) -> None:
    kill_and_check((kafka, postgres_url, redis_url), fleet_servers, runs=24, kills=SHORT)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_the_same_with_two_hundred_runs_and_every_role_killed_twice(
    kafka: str, postgres_url: str, redis_url: str, fleet_servers: list[FleetServer]
) -> None:
    kill_and_check((kafka, postgres_url, redis_url), fleet_servers, runs=200, kills=LONG)


def kill_and_check(services: tuple[str, str, str], fleet_servers: list[FleetServer], runs: int, kills: tuple[str, ...]) -> None:
    with scratch_folder() as folder, cluster(folder, *services) as installation:
        fleet = Fleet(fleet_servers, folder / "traces")
        rest = installation.rest()
        fleet.register(rest)
        load = Load(installation.rest, runs)
        began = time.monotonic()
        for name in kills:
            before = len(fleet.lines())
            eventually(lambda before=before: load.goes_on() and len(fleet.lines()) >= before + runs * 12 // len(kills), within=90)
            installation.kill9(name)
            print(f"{time.monotonic() - began:6.1f} s  {name} killed after {before} steps")
            installation.start(name)
        acknowledged = load.finish(120)
        eventually(installation.is_ready, within=120)
        eventually(lambda: all_final(rest, runs), within=150, every=0.5)
        print(f"{time.monotonic() - began:6.1f} s  all {runs} runs final: {finals(rest)}")
        eventually(lambda: caught_up(rest), within=120)
        rows = installation.rows()
        nothing_lost(rows, [*rest.acknowledged, *acknowledged])
        versions_are_gapless(rows)
        print(f"{len(rows['events'])} events, steps: {nothing_doubled(rows, fleet)}")
        same_after_rebuild(installation)
