"""How does the result of blocking work come back into the event loop?"""

import asyncio
import threading

import pytest

from infra.ssh.threads import Threads
from tests.support.eventually import eventually


@pytest.fixture
def threads():
    opened = Threads(4, "test")
    yield opened
    opened.close(10)


async def test_what_work_gives_and_what_it_raises_comes_to_who_waits(threads):
    assert await threads.submit(lambda: 1).result == 1
    with pytest.raises(ZeroDivisionError):
        await threads.submit(lambda: 1 // 0).result
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(threads.submit(lambda: next(iter(()))).result, 30)


async def test_work_that_ends_while_the_loop_is_busy_comes_back_in_one_way(threads, monkeypatch):
    loop, ways, ended = asyncio.get_running_loop(), [], threading.Semaphore(0)
    into = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (ways.append(call), into(*call)))
    works = [threads.submit(ended.release) for _ in range(40)]
    for _ in works:
        assert ended.acquire(timeout=30)
    eventually(lambda: ways and len(threads._ended) == len(works))
    assert len(ways) == 1
    await asyncio.gather(*(work.result for work in works))


async def test_work_in_line_never_begins_once_it_is_cancelled_and_what_is_under_way_cannot_be(threads):
    gate, begun = threading.Event(), []
    under_way = [threads.submit(gate.wait) for _ in range(4)]
    eventually(lambda: all(work._begun for work in under_way))
    in_line = threads.submit(lambda: begun.append(True))
    assert in_line.cancel()
    assert not any(work.cancel() for work in under_way)
    gate.set()
    await asyncio.gather(*(work.result for work in under_way))
    assert await threads.submit(lambda: 2).result == 2
    assert not begun and not in_line.result.done()


async def test_a_result_that_nobody_waits_for_any_more_is_left(threads):
    gate = threading.Event()
    left = threads.submit(gate.wait)
    waiting = asyncio.create_task(asyncio.wait_for(left.result, 0.01))
    with pytest.raises(TimeoutError):
        await waiting
    gate.set()
    assert await threads.submit(lambda: 3).result == 3
