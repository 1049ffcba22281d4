"""Does whoever sends requests that never end hold up anybody else? On real sockets, and for the bounds one by one."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from api.arriving import Arriving, refusal_of
from infra.telemetry.bounded_http import BoundedHttp
from infra.telemetry.serving import serve_until
from tests.api.server import Server, serving
from tests.support.eventually import eventually_async

STALLED = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


@asynccontextmanager
async def listening(server: Server, monkeypatch) -> AsyncIterator[int]:
    """The whole API on a port of its own."""
    stop, bound = asyncio.Event(), list[int]()
    config = uvicorn.Config(server.app, host="127.0.0.1", port=0, http=BoundedHttp, ws="none", lifespan="off", log_config=None)
    startup = uvicorn.Server.startup

    async def noted(self, sockets=None):
        await startup(self, sockets)
        bound.append(self.servers[0].sockets[0].getsockname()[1])

    monkeypatch.setattr(uvicorn.Server, "startup", noted)
    running = asyncio.create_task(serve_until(config, stop))
    try:
        async with asyncio.timeout(60):
            while not bound:
                await asyncio.sleep(0.01)
        yield bound[0]
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)


async def ask(port: int, sent: bytes) -> tuple[int, bytes]:
    """Status and body of one request's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


def whole(body: bytes) -> bytes:
    head = b"POST /api/v1/auth/refresh HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_two_hundred_and_ten_requests_that_never_end_hold_up_nobody(tmp_path: Path, monkeypatch) -> None:
    async with serving(tmp_path, slow_after_s=1.5, receive_s=3.0) as server, listening(server, monkeypatch) as port:

        async def all_arriving() -> bool:
            return server.app.arriving.count == 210

        stalled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(210)]
        for _, writer in stalled:
            writer.write(STALLED)
        await eventually_async(all_arriving, every=0.01)
        for round_ in range(3):
            got = f"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {server.token}\r\n\r\n"
            assert (await ask(port, got.encode()))[0] == 200, round_
            status, said = await ask(port, whole(b'{"refresh_token": "x"}'))
            assert (status, json.loads(said)["code"]) == (401, "invalid_refresh_token"), "a body that comes at once is taken"
        answers = await asyncio.gather(*(asyncio.wait_for(reader.read(), 60) for reader, _ in stalled))
        codes = [int(answer.split()[1]) for answer in answers]
        assert (codes.count(408), codes.count(429), len(codes)) == (50, 160, 210), "fifty of an address may be slow at once"
        assert all(b"connection: close" in answer.lower() for answer in answers)
        assert server.app.arriving.count == 0
        for _, writer in stalled:
            writer.close()


async def test_two_hundred_who_send_at_once_from_one_address_are_all_looked_at(tmp_path: Path, monkeypatch) -> None:
    async with serving(tmp_path, max_in_flight=1_000, slow_after_s=0.2) as server, listening(server, monkeypatch) as port:
        answers = await asyncio.gather(*(ask(port, whole(b'{"refresh_token": "x"}')) for _ in range(200)))
        assert [status for status, _ in answers] == [401] * 200


LENGTH = "Content-Length: 99999999"


async def heads(port: int, sent: bytes) -> list[int]:
    """The status of every answer that comes before the server closes the connection, though no more is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    said = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", said)]


async def test_a_body_said_to_be_too_large_is_refused_before_any_of_it_is_asked_for_or_comes(tmp_path: Path, monkeypatch) -> None:
    async with serving(tmp_path, receive_s=20.0) as server, listening(server, monkeypatch) as port:
        for line in ("POST /api/v1/auth/token", "POST /nope", "GET /api/v1/me"):
            asking = f"{line} HTTP/1.1\r\nHost: x\r\n{LENGTH}\r\nExpect: 100-continue\r\n\r\n".encode()
            assert await asyncio.wait_for(heads(port, asking), 5) == [413], "and never told to go on"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n{LENGTH}\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 413 ") and b"connection: close" in head.lower()
            writer.close()


async def test_who_sends_a_body_that_is_too_large_to_its_end_can_read_the_answer(tmp_path: Path, monkeypatch) -> None:
    async with serving(tmp_path) as server, listening(server, monkeypatch) as port:
        for head, end in ((b"Content-Length: 5000000", b""), (b"Transfer-Encoding: chunked", b"\r\n0\r\n\r\n")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /api/v1/targets HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            if end:
                writer.write(b"%x\r\n" % 5_000_000)
            for _ in range(50):
                writer.write(b"x" * 100_000)
                await writer.drain()
            writer.write(end)
            said = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            assert said.startswith(b"HTTP/1.1 413 ") and said.endswith(b"}"), said


async def test_a_request_that_says_twice_how_long_it_is_is_refused_and_nothing_after_it_is_answered(
    tmp_path: Path, monkeypatch
) -> None:
    async with serving(tmp_path) as server, listening(server, monkeypatch) as port:
        framed = b"Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        following = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        for line in (b"POST /api/v1/auth/refresh HTTP/1.1\r\n", b"GET /health/live HTTP/1.1\r\n"):
            assert await heads(port, line + framed + following) == [400]
            server.given.drain.stopping = True
            assert await heads(port, line + framed + following) == [400], "whatever else there is to say"
            server.given.drain.stopping = False


async def waits(arriving: Arriving, address: str, *parts: bytes) -> str:
    """Why a body of which no more than these parts come was given up."""
    deadline = asyncio.timeout(1.0)
    with arriving.from_address(address, deadline) as arrival:
        try:
            async with deadline:
                for part in parts:
                    arriving.took(arrival, part)
                    await asyncio.sleep(0)
                await asyncio.Event().wait()
        except TimeoutError:
            return refusal_of(arrival).code
    raise AssertionError


async def test_slow_bodies_are_counted_by_address_and_a_network_of_version_six_is_one() -> None:
    arriving = Arriving(1_000, 1, 0.1)
    of_network = [asyncio.create_task(waits(arriving, f"2001:db8::{n}", b"x")) for n in (1, 2)]
    other = asyncio.create_task(waits(arriving, "2001:db8:0:1::1", b"x"))
    done, _ = await asyncio.wait(of_network, timeout=0.8, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == ["rate_limited"] and not other.done()
    assert sorted([await task for task in of_network]) == ["rate_limited", "receive_timeout"]
    assert await other == "receive_timeout" and arriving.count == 0
    assert await waits(arriving, "2001:db8::3", b"x") == "receive_timeout", "those that ended are not counted any more"


async def test_who_sends_much_pushes_out_the_oldest_of_their_own_and_nobody_else_s() -> None:
    arriving = Arriving(100, 50, 5.0)
    good = asyncio.create_task(waits(arriving, "192.0.2.9", b"x" * 20))
    await asyncio.sleep(0)
    empty, *many = [asyncio.create_task(waits(arriving, f"2001:db8::{n}", b"x" * 30 * bool(n))) for n in range(5)]
    await asyncio.wait({good, empty, *many}, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    assert {task for task in (good, empty, *many) if task.done()} == set(many[:2]), "what holds nothing makes no room either"
    assert all([await task == "receive_timeout" for task in (good, empty, *many)]) and arriving.count == 0
    assert not arriving._held and not arriving._bytes


async def test_of_all_that_arrives_together_the_oldest_goes_when_it_is_too_much() -> None:
    arriving = Arriving(100, 50, 5.0)
    first = asyncio.create_task(waits(arriving, "192.0.2.1", b"x" * 60))
    await asyncio.sleep(0)
    second = asyncio.create_task(waits(arriving, "192.0.2.2", b"x" * 60))
    done, _ = await asyncio.wait({first, second}, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
    assert done == {first} and first.result() == "receive_timeout"
    assert await second == "receive_timeout" and arriving.count == 0
