"""A process that owns shards and decides commands until something happens to it in the middle of a transaction.

It says on its standard output: `open`; `reached` where it sends itself the signal; `decided <command id>` for an acknowledged
commit; and the name of the error that a commit raised.
"""

import asyncio
import json
import signal
import sys
import threading

from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from schemas.log import LogError
from tests.contracts.records import event, outcome


class Struck:
    """A producer that sends its own process a signal before one of the steps of a transaction."""

    def __init__(self, producer, step, number):
        self._producer, self._step, self._number = producer, step, number

    def __getattr__(self, name):
        if name == self._step:
            print("reached", flush=True)
            # To this very thread: sent to the process, another one may take it while this one goes on into the step.
            signal.pthread_kill(threading.get_ident(), self._number)
        return getattr(self._producer, name)


async def decide(log, step, number):
    owner = log.owned_shards()
    while True:
        taken = await owner.take(20, 0.5)
        if not taken.commands:
            continue
        causes = [c.body for c in taken.commands]
        if step:
            owner._transactions._producer = Struck(owner._transactions._producer, step, number)
        try:
            await owner.commit(taken, [event(c, payload=b'{"by": "victim"}') for c in causes], [outcome(c) for c in causes])
        except LogError as error:
            print(type(error).__name__, flush=True)
            return
        print(*(f"decided {c.command_id}" for c in causes), sep="\n", flush=True)


async def main(settings, step="", number="0"):
    log = await KafkaLog.open(KafkaLogSettings(**json.loads(settings)))
    print("open", flush=True)
    await decide(log, step, signal.Signals(int(number)) if step else None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
