"""Two owners under one instance name: does one of them end, with the status of a wrong configuration, and say why?"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from tests.contracts.records import command
from tests.roles.harness import Installation
from tests.support.eventually import eventually

pytestmark = [pytest.mark.services, pytest.mark.slow]

SHARDS = 6
EVERY_S = 0.1
MISCONFIGURED = 78


@contextmanager
def commands_sent(kafka: str, prefix: str) -> Iterator[None]:
    """Commands for all shards, until the block ends."""
    stop = threading.Event()

    async def send() -> None:
        log = await KafkaLog.open(KafkaLogSettings(bootstrap=kafka, prefix=prefix, partitions=SHARDS))
        for number in itertools.count():
            if stop.is_set():
                break
            await log.sender.send(command(number))
            await asyncio.sleep(EVERY_S)
        await log.close()

    thread = threading.Thread(target=asyncio.run, args=(send(),))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def owner(home: Path, environment: dict[str, str]) -> Installation:
    return Installation(home, {"commands": {}}, environment)


def ended(owners: list[Installation]) -> Callable[[], list[int]]:
    return lambda: [status for each in owners if (status := each.processes["commands"].poll()) is not None]


def test_one_of_two_processes_under_one_instance_name_ends_with_status_78_and_says_why(tmp_path: Path, kafka: str) -> None:
    prefix = f"twice-{uuid4().hex[:8]}"
    environment = {
        "OPSCONDUCTOR_LOG_URL": f"kafka://{kafka}", "OPSCONDUCTOR_LOG_PREFIX": prefix, "OPSCONDUCTOR_LOG_REPLICATION": "1",
        "OPSCONDUCTOR_LOG_PARTITIONS": str(SHARDS), "OPSCONDUCTOR_INSTANCE": "the-same",
    }  # fmt: skip
    owners = [owner(tmp_path / name, environment) for name in ("one", "other")]
    applied = owners[0].command("topics", "apply")
    assert applied.returncode == 0, applied.stderr
    try:
        for each in owners:
            each.start()
        with commands_sent(kafka, prefix):
            statuses = eventually(ended(owners), within=90, every=0.3)
        assert set(statuses) == {MISCONFIGURED}, [each.log_end("commands") for each in owners]
        said = "".join(each.log_end("commands") for each in owners)
        assert "another process runs under the instance name 'the-same'" in said
    finally:
        for each in owners:
            each.end_all()
