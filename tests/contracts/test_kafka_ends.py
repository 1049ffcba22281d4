"""What is told about the end of a partition while no broker answers? Nothing: too low an end would pass for an empty log."""

import os
import signal
from pathlib import Path

import pytest

from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from infra.kafka.consuming import Offsets
from infra.kafka.settings import KafkaLogSettings
from infra.kafka.topics import apply
from schemas.log import LogUnavailable
from schemas.position import Partition
from tests.support.eventually import eventually
from tests.support.frozen import freeze
from tests.support.services import missing

pytestmark = pytest.mark.services


def test_a_broker_that_does_not_answer_is_told_as_such_and_asked_with_success_when_it_is_back(tmp_path: Path) -> None:
    try:
        node = KafkaNode(home=tmp_path, jars=kafka_jars(services_folder()))
        node.start()
    except ServiceUnavailable as absent:
        missing("kafka to stop", absent)
    try:
        settings = KafkaLogSettings(bootstrap=node.address, prefix="ends", partitions=2, replication=1, call_s=1.5)
        apply(settings)
        offsets = Offsets(settings)
        partitions = [Partition(topic, shard) for topic in ("runs", "outcomes") for shard in (0, 1)]
        assert offsets.ends(partitions) == dict.fromkeys(partitions, 0)
        freeze(node.pid)
        for ask in (offsets.ends, offsets.lows):
            with pytest.raises(LogUnavailable):
                ask(partitions)
        os.kill(node.pid, signal.SIGCONT)
        # A broker that was silent for long is taken back by its controller first.
        assert eventually(lambda: _ends_unless_unavailable(offsets, partitions), 60) == dict.fromkeys(partitions, 0)
    finally:
        os.kill(node.pid, signal.SIGCONT)
        node.stop()


def _ends_unless_unavailable(offsets: Offsets, partitions: list[Partition]) -> dict[Partition, int]:
    try:
        return offsets.ends(partitions)
    except LogUnavailable:
        return {}
