"""Is this process well? `/health/live`, `/health/ready` and `/metrics` for the roles that serve no API of their own."""

import asyncio
from collections.abc import Callable, Sequence

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from infra.telemetry.serving import serve_until
from schemas.unserved import UnservedShard

Unready = Callable[[], str | None]
"""Why the process is not ready, or None when it is."""


Unserved = Callable[[], Sequence[UnservedShard]]
"""The shards that the process owns and cannot serve."""


def probe_app(unready: Unready, unserved: Unserved, registry: CollectorRegistry) -> Starlette:
    """The probe's three routes; they tell no names and no secrets.

    A process that serves some of its shards and not others is `degraded`, and ready.
    """

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> Response:
        reason, stopped = unready(), [one.shown() for one in unserved()]
        body: dict[str, object] = {"status": "degraded" if stopped else "ready"}
        if reason is not None:
            body = {"status": "not_ready", "reason": reason}
        if stopped:
            body["unserved_shards"] = stopped
        return JSONResponse(body, status_code=200 if reason is None else 503)

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)])


async def serve_probe(
    listen: tuple[str, int], unready: Unready, unserved: Unserved, registry: CollectorRegistry, stop: asyncio.Event
) -> None:
    """Serve the probe until `stop` is set."""
    host, port = listen
    app = probe_app(unready, unserved, registry)
    await serve_until(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False), stop)
