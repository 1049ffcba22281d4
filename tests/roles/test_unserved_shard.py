"""A stranger's record in one shard's events: does the owner process serve the others, and do its probe and metrics name it?"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from confluent_kafka import Producer
from starlette.testclient import TestClient

from infra.deploy.services.native_process import free_port
from infra.kafka.log import KafkaLog
from infra.kafka.settings import KafkaLogSettings
from infra.telemetry.probe import probe_app
from infra.wiring.told import Told
from schemas.outcome import Accepted, Outcome
from schemas.partitioning import shard_of
from schemas.position import Position
from schemas.unserved import UnservedShard
from tests.roles.harness import Installation
from tests.support.builders import register_target
from tests.support.eventually import eventually

SHARDS, BAD = 4, 2
NAMES = {shard_of(f"target/t-{number}", SHARDS): f"t-{number}" for number in range(40)}


class Owning:
    """What health asks of an owner."""

    def __init__(self, *unserved: UnservedShard, serves: int = 1) -> None:
        self.unserved, self.tenures = unserved, dict.fromkeys(range(serves), 1)


@pytest.mark.parametrize(
    ("owner", "status", "body"),
    [
        (Owning(), 200, {"status": "ready"}),
        (
            Owning(UnservedShard(2, "not_an_event", Position("targets", 2, 7))),
            200,
            {
                "status": "degraded",
                "unserved_shards": [{"shard": 2, "stopped_at": "targets/2/7", "reason": "not_an_event"}],
            },
        ),
        (
            Owning(UnservedShard(2, "log_unavailable", None), serves=0),
            503,
            {
                "status": "not_ready",
                "reason": "none of the shards that are owned is served",
                "unserved_shards": [{"shard": 2, "stopped_at": None, "reason": "log_unavailable"}],
            },
        ),
        (Owning(serves=0), 503, {"status": "not_ready", "reason": "no shard is owned (yet)"}),
    ],
)
def test_an_owner_is_ready_while_it_serves_any_shard_and_says_which_it_cannot(owner: Any, status: int, body: Any) -> None:
    told = Told()
    told.owns(owner)
    answer = TestClient(probe_app(told.unready, told.unserved, told.registry)).get("/health/ready")
    assert (answer.status_code, answer.json()) == (status, body)


async def outcomes_of(settings: KafkaLogSettings, within_s: float, *shards: int) -> list[Outcome | None]:
    log = await KafkaLog.open(settings)
    try:
        commands = [register_target(NAMES[shard]) for shard in shards]
        for command in commands:
            await log.sender.send(command)
        return [await log.outcomes.wait(command.command_id, within_s) for command in commands]
    finally:
        await log.close()


@pytest.mark.services
@pytest.mark.slow
def test_with_a_strangers_record_in_one_shard_a_restarted_owner_serves_the_others_and_says_so(tmp_path: Path, kafka: str) -> None:
    prefix, probe = f"unserved-{uuid4().hex[:8]}", f"127.0.0.1:{free_port()}"
    settings = KafkaLogSettings(bootstrap=kafka, prefix=prefix, partitions=SHARDS)
    environment = {
        "OPSCONDUCTOR_LOG_URL": f"kafka://{kafka}", "OPSCONDUCTOR_LOG_PREFIX": prefix, "OPSCONDUCTOR_LOG_REPLICATION": "1",
        "OPSCONDUCTOR_LOG_PARTITIONS": str(SHARDS), "OPSCONDUCTOR_INSTANCE": "one", "OPSCONDUCTOR_METRICS_LISTEN": probe,
    }  # fmt: skip
    installation = Installation(tmp_path / "home", {"commands": {}}, environment)
    applied = installation.command("topics", "apply")
    assert applied.returncode == 0, applied.stderr

    def said() -> Any:
        """What the probe says of an owner that is ready; nothing before."""
        if installation.processes["commands"].poll() is not None:
            pytest.fail(installation.log_end("commands"))
        with suppress(httpx2.TransportError):
            answer = httpx2.get(f"http://{probe}/health/ready", timeout=20, trust_env=False)
            return answer.status_code == 200 and answer.json()
        return False

    try:
        installation.start()
        assert eventually(said, within=90, every=0.3) == {"status": "ready"}
        stranger = Producer({"bootstrap.servers": kafka})
        stranger.produce(settings.topic("targets"), b"garbage", b"target/x", BAD)
        assert stranger.flush(10) == 0
        installation.stop("commands")
        installation.start()
        stopped = eventually(lambda: (now := said()) and now.get("unserved_shards", False), within=90, every=0.3)
        assert stopped == [{"shard": BAD, "stopped_at": f"targets/{BAD}/0", "reason": "not_an_event"}]
        good = [shard for shard in range(SHARDS) if shard != BAD]
        outcomes = asyncio.run(outcomes_of(settings, 60, *good))
        assert all(outcome is not None and isinstance(outcome.result, Accepted) for outcome in outcomes), outcomes
        assert asyncio.run(outcomes_of(settings, 1, BAD)) == [None]
        told = httpx2.get(f"http://{probe}/metrics", timeout=20, trust_env=False).text
        assert f'opsconductor_owner_unserved{{reason="not_an_event",shard="{BAD}",stopped_at="targets/{BAD}/0"}} 1.0' in told
        assert f"opsconductor_owner_shards {SHARDS - 1:.1f}" in told
        assert f"shard {BAD} is unserved" in installation.log_end("commands", 1_000_000)
        installation.stop("commands")
    finally:
        installation.end_all()
