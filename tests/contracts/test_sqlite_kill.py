"""What a kill -9 at any instant leaves behind in the SQLite log (guarantee 1)."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.sqlite.connections import LOG_FILE
from infra.sqlite.lock import LOCK_FILE, FolderInUse
from infra.sqlite.log import SqliteLog
from schemas.position import Partition
from tests.contracts.sqlite_victim import SHARDS
from tests.contracts.working import read_to_end

ROOT = Path(__file__).parents[2]
INSTANTS = 10


class Patience:
    patience_s = 30.0


def start(folder):
    """A victim that has the log open, and whose standard output is at its first acknowledgement."""
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.contracts.sqlite_victim", str(folder)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert victim.stdout.readline() == b"open\n"
    return victim


def kill(victim):
    """Kill it; what it said before, whole lines only."""
    victim.send_signal(signal.SIGKILL)
    said, _ = victim.communicate(timeout=60)
    return said[: said.rfind(b"\n") + 1].decode().split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_kill_9_at_random_instants_loses_nothing_acknowledged_and_doubles_nothing(tmp_path):
    dice = random.Random(20261124)
    said = []
    for _ in range(INSTANTS):
        victim = start(tmp_path)
        # So short that what is said fits into the pipe; where in a transaction it falls is chance.
        await asyncio.sleep(dice.uniform(0.0, 0.12))
        said += kill(victim)
    sent = [line.split()[1] for line in said if line.startswith("sent")]
    decided = [line.split()[1] for line in said if line.startswith("decided")]
    assert len(sent) > INSTANTS
    assert len(decided) > INSTANTS

    log = await SqliteLog.open(tmp_path, SHARDS)
    held = Counter(str(r.body.command_id) for r in await read_to_end(Patience, log, "commands.people"))
    told = Counter(str(r.body.command_id) for r in await read_to_end(Patience, log, "targets"))
    kept = Counter(str(r.body.command_id) for r in await read_to_end(Patience, log, "outcomes"))
    assert set(sent) <= set(held), "an acknowledged command is lost"
    assert set(decided) <= set(told), "an acknowledged event is lost"
    assert told == kept, "events and outcomes were torn apart"
    assert set(told.values()) == {1}, "a command was decided twice"
    assert set(held.values()) == {1}
    owner = log.owned_shards("after")
    waiting = {str(c.body.command_id) for c in (await owner.take(1_000_000, 0.1)).commands}
    assert waiting == set(held) - set(told), "a command was consumed without its event, or is handed out again after it"
    await log.close()
    connection = sqlite3.connect(tmp_path / LOG_FILE)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_second_open_is_refused_naming_the_first_and_no_lock_outlives_a_kill_9(tmp_path):
    victim = start(tmp_path)
    try:
        with pytest.raises(FolderInUse, match=str(victim.pid)) as refused:
            await SqliteLog.open(tmp_path, SHARDS)
        assert refused.value.pid == victim.pid
    finally:
        kill(victim)
    assert (tmp_path / LOCK_FILE).exists()
    log = await asyncio.wait_for(SqliteLog.open(tmp_path, SHARDS), 60)
    await log.close()


async def test_another_process_reads_what_the_first_is_writing(tmp_path):
    victim = start(tmp_path)
    try:
        audit = await SqliteLog.read_only(tmp_path)
        first = await read_to_end(Patience, audit, "targets", "commands.people")
        feed = await audit.reader.feed(await ends_of(audit))
        assert await feed.read(1, 30.0), "nothing new was seen while the other process wrote"
    finally:
        kill(victim)
    later = await read_to_end(Patience, audit, "targets", "commands.people")
    assert len(later) > len(first)
    await audit.close()


async def ends_of(log):
    return await log.reader.ends([Partition("commands.people", shard) for shard in range(log.reader.shards)])
