"""An owner as a process of its own, and started again when it ends: when a broker goes its watchdog may have to end it."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.memory.state_store import MemoryStateStores
from tests.commands.owning import owner_of

ROOT = Path(__file__).parents[3]
LOOK_EVERY_S = 1.0


@asynccontextmanager
async def supervised(settings):
    """The owner while the block runs."""
    command = [sys.executable, "-m", "tests.contracts.kafka.owner_process", json.dumps(asdict(settings))]
    processes = [subprocess.Popen(command, cwd=ROOT)]

    async def supervise():
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if processes[-1].poll() is not None:
                print(f"the owner ended with {processes[-1].returncode}")
                processes.append(subprocess.Popen(command, cwd=ROOT))

    supervising = asyncio.create_task(supervise())
    try:
        yield
    finally:
        supervising.cancel()
        processes[-1].kill()
        processes[-1].wait()


async def main(settings):
    log = await KafkaLog.open(KafkaLogSettings(**json.loads(settings)))
    await owner_of(log, MemoryStateStores()).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
