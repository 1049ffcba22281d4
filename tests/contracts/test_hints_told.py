"""What is logged while Redis, which carries the hints, is away for long?"""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.redis import RedisServer
from infra.redis import wakeups as told_by
from infra.redis.connection import connect
from infra.redis.wakeups import RedisWakeups
from tests.support.eventually import eventually_async
from tests.support.services import missing

pytestmark = pytest.mark.services


async def test_that_hints_are_not_heard_is_said_when_it_begins_and_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(told_by, "_PAUSE_S", 0.02)
    server, tries = RedisServer(home=tmp_path), 0
    redis = connect(server.address)
    wakeups = RedisWakeups(redis)
    hear = wakeups._hear

    async def counted() -> None:
        nonlocal tries
        tries += 1
        await hear()

    monkeypatch.setattr(wakeups, "_hear", counted)
    hearing = asyncio.create_task(wakeups.run())

    async def tried_often() -> bool:
        return tries > 5

    async def heard_again() -> bool:
        return "heard again" in caplog.text

    try:
        for _ in range(2):
            tries = 0
            assert await eventually_async(tried_often)
            server.start()
            assert await eventually_async(heard_again)
            assert [record.getMessage() for record in caplog.records if record.name == told_by.__name__] == [
                "hints are not heard: ConnectionError",
                "hints are heard again",
            ]
            caplog.clear()
            server.kill9()
    except ServiceUnavailable as absent:
        missing("redis", absent)
    finally:
        server.stop()
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        await redis.aclose()
