"""A process that sends commands and decides them until it is killed, saying on its standard output what was acknowledged.

sent <command id>        the command is acknowledged
decided <command id>     the commit with its event is acknowledged
"""

import asyncio
import sys
from pathlib import Path

from infra.sqlite.log import SqliteLog
from tests.contracts.records import command, event, outcome

SHARDS = 4


def say(*lines):
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


async def send(log, number):
    while True:
        one = command(number)
        await log.sender.send(one)
        say(f"sent {one.command_id}")


async def decide(log):
    owner = log.owned_shards("victim")
    while True:
        taken = await owner.take(20, 1.0)
        causes = [c.body for c in taken.commands]
        await owner.commit(taken, [event(c) for c in causes], [outcome(c) for c in causes])
        say(*(f"decided {c.command_id}" for c in causes))


async def main(folder):
    log = await SqliteLog.open(Path(folder), SHARDS)
    say("open")
    await asyncio.gather(decide(log), *(send(log, number) for number in range(10)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
