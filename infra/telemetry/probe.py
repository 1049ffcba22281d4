"""Is this process well? `/health/live`, `/health/ready` and `/metrics` for the roles that serve no API of their own."""

import asyncio
from collections.abc import Callable

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from infra.telemetry.serving import serve_until

Unready = Callable[[], str | None]
"""Why the process is not ready, or None when it is."""


def probe_app(unready: Unready, registry: CollectorRegistry) -> Starlette:
    """The probe's three routes; they tell no names and no secrets."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> Response:
        reason = unready()
        body = {"status": "ready"} if reason is None else {"status": "not_ready", "reason": reason}
        return JSONResponse(body, status_code=200 if reason is None else 503)

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)])


async def serve_probe(listen: tuple[str, int], unready: Unready, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Serve the probe until `stop` is set."""
    host, port = listen
    app = probe_app(unready, registry)
    await serve_until(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False), stop)
