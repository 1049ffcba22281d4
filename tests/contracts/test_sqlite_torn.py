"""Is a log whose file and write-ahead log were copied at two moments found to be what it is: whole, or damaged?"""

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from dataclasses import replace

from api.log_check import LogCheck
from domain.audit.hash_chain import GENESIS
from infra.sqlite import checkpoints
from infra.sqlite.connections import LOG_FILE
from infra.sqlite.copying import LogDamaged, contents_of
from infra.sqlite.lock import FolderUnsuitable
from infra.sqlite.log import SqliteLog
from schemas.event_envelope import hash_of
from schemas.partitioning import shard_of
from tests.contracts.records import command, event, outcome
from tests.contracts.working import read_to_end

SHARDS, COPIES = 4, 16


class Patience:
    patience_s = 10.0


class Writing:
    """Commands sent, decided and committed by one owner, in proper chains."""

    def __init__(self, log, dice):
        self._log, self._dice, self._owner = log, dice, log.owned_shards("one")
        self._heads, self._versions = {}, Counter()

    async def write(self, batches):
        for _ in range(batches):
            causes = [command(self._dice.randrange(40)) for _ in range(self._dice.choice((1, 1, 1, 5)))]
            await asyncio.gather(*(self._log.sender.send(cause) for cause in causes))
            taken = await self._owner.take(100, 0.05)
            causes = [one.body for one in taken.commands]
            await self._owner.commit(taken, [self._event(cause) for cause in causes], [outcome(cause) for cause in causes])

    def _event(self, cause):
        shard = shard_of(cause.stream, SHARDS)
        self._versions[cause.stream] += 1
        made = event(cause, self._versions[cause.stream], b'{"x": "%s"}' % (b"y" * self._dice.randrange(900)))
        made = replace(made, previous_hash=self._heads.get(shard, GENESIS))
        self._heads[shard] = hash_of(made)
        return replace(made, hash=self._heads[shard])


async def copied_at_two_moments(folder, seed):
    """A copy of the two files, with writes and checkpoints in between; which comes first is chance."""
    dice = random.Random(seed)
    (folder / "copy").mkdir(parents=True)
    log = await SqliteLog.open(folder / "log", SHARDS)
    writing = Writing(log, dice)
    await writing.write(dice.randrange(20, 60))
    for file in dice.sample((LOG_FILE, f"{LOG_FILE}-wal"), 2):
        shutil.copy(folder / "log" / file, folder / "copy" / file)
        await writing.write(dice.randrange(1, 40))
    await log.close()
    return folder / "copy"


async def found_in(folder):
    """`damaged`, or what the copy holds: commands with events, with outcomes, remembered outcomes, commands consumed."""
    try:
        contents_of(folder)
        log = await SqliteLog.read_only(folder)
        intact = (await LogCheck(log.reader).run())["intact"]
    except (LogDamaged, FolderUnsuitable):
        return "damaged"
    if not intact:
        await log.close()
        return "damaged"
    events, outcomes = [sorted(r.body.command_id for r in await read_to_end(Patience, log, t)) for t in ("targets", "outcomes")]
    await log.close()
    connection = sqlite3.connect(folder / LOG_FILE)
    remembered = sorted(row[0] for row in connection.execute("SELECT command_id FROM outcome_ids"))
    (consumed,) = connection.execute("SELECT coalesce(sum(next & ((1 << 40) - 1)), 0) FROM consumed").fetchone()
    connection.close()
    return events, outcomes, remembered, consumed


async def test_a_copy_that_passes_the_check_of_a_backup_holds_what_fits_together(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_TRANSACTIONS", 15)
    damaged = 0
    for seed in range(COPIES):
        found = await found_in(await copied_at_two_moments(tmp_path / str(seed), seed))
        if found == "damaged":
            damaged += 1
            continue
        events, outcomes, remembered, consumed = found
        assert events == outcomes, f"seed {seed}: events and outcomes were torn apart"
        assert remembered == [each.bytes for each in events] and consumed == len(events), f"seed {seed}"
    print(f"{damaged} of {COPIES} copies were damaged")
    assert 0 < damaged < COPIES
