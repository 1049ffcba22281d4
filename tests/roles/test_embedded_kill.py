"""What does the embedded server keep when its whole process is killed, again and again, under load?"""

import sqlite3
from pathlib import Path

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
from tests.roles.harness import Installation, embedded
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

SETTLED_WITHIN_S = 120


def test_a_server_killed_under_load_loses_nothing_acknowledged_and_starts_no_step_twice(
    tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    kill_and_check(tmp_path, fleet_servers, runs=18, kills=3)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_the_same_with_two_hundred_runs_and_twenty_kills(tmp_path: Path, fleet_servers: list[FleetServer]) -> None:
    kill_and_check(tmp_path, fleet_servers, runs=200, kills=20)


def kill_and_check(folder: Path, fleet_servers: list[FleetServer], runs: int, kills: int) -> None:
    folder.chmod(0o755)
    with embedded(folder) as installation:
        fleet = Fleet(fleet_servers, folder / "traces")
        rest = installation.rest()
        fleet.register(rest)
        load = Load(installation.rest, runs)
        for _ in range(kills):
            before = len(fleet.lines())
            eventually(lambda before=before: len(fleet.lines()) >= before + runs * 10 // kills, within=60)
            installation.kill9("up")
            installation.start("up")
            eventually(installation.is_ready, within=60)
        acknowledged = load.finish(120)
        eventually(lambda: all_final(rest, runs), within=SETTLED_WITHIN_S, every=0.5)
        eventually(lambda: caught_up(rest), within=30)
        rows = installation.rows()
        nothing_lost(rows, [*rest.acknowledged, *acknowledged])
        versions_are_gapless(rows)
        print(nothing_doubled(rows, fleet), finals(rest))
        same_after_rebuild(installation)
        installation.stop("up")
        _the_log_is_sound(installation)


def _the_log_is_sound(installation: Installation) -> None:
    for file in installation.home.rglob("*.db"):
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), file
