"""Is a connection that never sends a whole request let go, and others not, on a real socket?"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from infra.telemetry.bounded_http import BoundedHttp
from infra.telemetry.serving import serve_until

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope, receive, send):
    await asyncio.sleep(1.0 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening(monkeypatch) -> AsyncIterator[int]:
    monkeypatch.setattr("infra.telemetry.bounded_http.HEAD_WITHIN_S", 0.4)
    stop = asyncio.Event()
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=BoundedHttp, ws="none", lifespan="off", log_config=None)
    bound: list[int] = []
    startup = uvicorn.Server.startup

    async def noted(self, sockets=None):
        await startup(self, sockets)
        bound.append(self.servers[0].sockets[0].getsockname()[1])

    monkeypatch.setattr(uvicorn.Server, "startup", noted)
    serving = asyncio.create_task(serve_until(config, stop))
    async with asyncio.timeout(60):
        while not bound:
            await asyncio.sleep(0.01)
    yield bound[0]
    stop.set()
    await asyncio.wait_for(serving, 60)


async def answer_to(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    said = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return said


async def test_who_says_nothing_or_never_ends_the_head_is_told_so_and_let_go(monkeypatch):
    async with listening(monkeypatch) as port:
        said = await asyncio.gather(
            answer_to(port), answer_to(port, HEAD), answer_to(port, HEAD, b"X-A: b\r\n", b"X-C: d\r\n", pause_s=0.1)
        )
        for one in said:
            head, _, body = one.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ") and b"x-correlation-id" in head.lower(), one
            assert json.loads(body)["code"] == "receive_timeout"


async def test_who_sends_a_request_is_answered_however_long_that_takes_and_may_go_on(monkeypatch):
    async with listening(monkeypatch) as port:
        slow = await answer_to(port, b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert slow.startswith(b"HTTP/1.1 200 ") and slow.endswith(b"ok")
        pipelined = HEAD + b"\r\n" + b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        twice = await answer_to(port, pipelined)
        assert twice.count(b"HTTP/1.1 200 ") == 2
        kept = await answer_to(port, HEAD + b"\r\n", b"GET / HTTP/1.1\r\n", pause_s=0.1)
        assert kept.count(b"HTTP/1.1 200 ") == 1 and b"HTTP/1.1 408 " in kept, "the second head never came"


async def test_what_is_no_http_is_told_as_a_problem(monkeypatch):
    broken_chunk = b"POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    for sent in (b"junk\r\n\r\n", broken_chunk):
        async with listening(monkeypatch) as port:
            head, _, body = (await answer_to(port, sent)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head
        assert json.loads(body)["code"] == "malformed_request"


async def test_a_head_that_is_too_large_is_told_so(monkeypatch):
    filler = b"X-A: " + b"a" * 40_000
    async with listening(monkeypatch) as port:
        head, _, body = (await answer_to(port, HEAD + filler[:9_000], filler[9_000:30_000], pause_s=0.1)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ") and json.loads(body)["code"] == "head_too_large"
        chunks = b"POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + filler[:9_000]
        head, _, body = (await answer_to(port, chunks, filler[9_000:30_000], pause_s=0.1)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and json.loads(body)["code"] == "malformed_request", (
            "what is too large is no head"
        )
