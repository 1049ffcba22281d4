"""What does the embedded server keep when its whole process is killed at random instants, again and again, under load?"""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.roles.fleet import (
    JOBS,
    Fleet,
    FleetServer,
    all_final,
    caught_up,
    finals,
    nothing_doubled,
    nothing_lost,
    same_after_rebuild,
    versions_are_gapless,
)
from tests.roles.harness import Installation, Rows, embedded
from tests.roles.rest import Acknowledged
from tests.roles.steady import Steady
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

SETTLED_WITHIN_S = 180
SEED = 20261124
LIVES_S = (0.0, 1.2)
"""How long a process lives once it has acknowledged something; every fourth so long after it began, while it starts."""


@pytest.mark.timeout(300)
def test_a_server_killed_at_six_instants_under_load_loses_nothing_acknowledged_and_doubles_nothing(
    tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    kill_and_check(tmp_path, fleet_servers, kills=6, runs=2)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_the_same_at_two_hundred_instants(tmp_path: Path, fleet_servers: list[FleetServer]) -> None:
    kill_and_check(tmp_path, fleet_servers, kills=200, runs=1)


def kill_and_check(folder: Path, fleet_servers: list[FleetServer], kills: int, runs: int) -> None:
    """Kill so many times, with so many runs begun between two kills and small writes all the time; then check everything."""
    folder.chmod(0o755)
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    with embedded(folder) as installation:
        fleet = Fleet(fleet_servers, folder / "traces")
        rest, starter = installation.rest(), installation.rest()
        fleet.register(rest)
        starter.sign_in()
        with Steady(installation.rest) as steady, ThreadPoolExecutor(1) as starting:
            eventually(lambda: len(steady.acknowledged) >= 10)
            began, started = time.monotonic(), []
            for kill in range(kills):
                started += [starting.submit(starter.write, "POST", f"/jobs/{JOBS[kill % 4]}/runs", {}) for _ in range(runs)]
                if kill % 4 < 3:
                    seen = len(steady.acknowledged)
                    eventually(lambda seen=seen: len(steady.acknowledged) > seen, within=120)
                time.sleep(dice.uniform(*LIVES_S))  # not for luck: that the instant is any is the point
                installation.kill9("up")
                installation.start("up")
            took = time.monotonic() - began
            eventually(installation.is_ready, within=120)
        for future in started:
            future.result()
        print(f"{kills} kills in {took:.0f} s")
        acknowledged = [*rest.acknowledged, *starter.acknowledged, *steady.acknowledged]
        rest = installation.rest()  # the first one's token may be too old by now
        eventually(lambda: all_final(rest, kills * runs), within=SETTLED_WITHIN_S, every=0.5)
        eventually(lambda: caught_up(rest), within=120)
        rows = installation.rows()
        nothing_lost(rows, acknowledged)
        _nothing_twice(rows, steady.acknowledged)
        versions_are_gapless(rows)
        print(f"{len(acknowledged)} acknowledged, {len(rows['events'])} events: {nothing_doubled(rows, fleet)} {finals(rest)}")
        assert rest.ask("POST", "/audit/verify").json()["bad"] == []
        same_after_rebuild(installation)
        installation.stop("up")
        _files_are_sound(installation)


def _nothing_twice(rows: Rows, acknowledged: Sequence[Acknowledged]) -> None:
    """Each of these commands, sent again and again until it was answered, has the one event that it causes."""
    events = Counter(row["command_id"] for row in rows["events"])
    twice = [done for done in acknowledged if events[done.command_id] != 1]
    assert not twice, f"{len(twice)} of {len(acknowledged)} commands have another number of events than one: {twice[:3]}"


def _files_are_sound(installation: Installation) -> None:
    files = [file for pattern in ("*.db", "*.sqlite3", "*.sqlite") for file in installation.home.rglob(pattern)]
    assert {file.name for file in files} >= {"log.sqlite3", "read-models.db"}
    for file in files:
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), file
        connection.close()
