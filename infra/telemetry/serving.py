"""How does an HTTP server run inside a process that has more to do? As an object in our loop; signals stay ours."""

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn


class _QuietServer(uvicorn.Server):
    """A server that leaves signal handlers alone: the process stops all its roles together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve_until(config: uvicorn.Config, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then let requests in flight end. Raises `OSError` when it cannot listen."""
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    try:
        await serving
    except SystemExit as failed:  # uvicorn's way of saying that it could not listen
        raise OSError(f"cannot listen on {config.host}:{config.port}") from failed
