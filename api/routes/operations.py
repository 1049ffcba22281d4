"""Is the server well, how far are its read models, and what is its contract?"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from api import shapes
from api.call import Call, json_answer, list_answer
from api.problem_details import Problem
from api.routes.route import Route
from projections.all import BY_NAME
from projections.position import ProjectionStatus, status
from projections.read_store import StoreUnavailable
from schemas.log import LogError, LogUnavailable
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS, RUN_OUTPUT

_LOG_WITHIN_S = 3.0


async def live(call: Call) -> Response:
    """The process answers."""
    return json_answer({"status": "live"})


async def ready(call: Call) -> Response:
    """Whether requests can be answered: 503 when the log or the database cannot be reached, there is no user yet or the server is
    stopping.

    A stopped projection, or a shard that its owner cannot serve, makes the answer `degraded`, with where it stopped: everything
    else goes on. Why a shard is unserved a server tells whose owner is in the same process; in a cluster the probe of each owner
    does. So does a shard where commands wait that this server sent: its owner cannot serve it, or no owner lives.
    """
    body = await _health(call)
    return json_answer(body, 503 if body["status"] in ("unavailable", "stopping") else 200)


async def health(call: Call) -> Response:
    """The same, always with 200, for people."""
    return json_answer(await _health(call))


async def _health(call: Call) -> dict[str, Any]:
    checks: dict[str, str] = {"log": "ok", "read_models": "ok"}
    statuses: list[ProjectionStatus] = []
    ends: Mapping[Partition, int] = {}
    try:
        ends = await _ends(call)
    except LogError:
        checks["log"] = "unavailable"
    try:
        statuses = await call.models.ask(lambda connection: status(connection, ends, call.given.clock.now()))
        checks["users"] = "ok" if await call.services.anybody.is_there() else "unavailable"
    except Problem:
        checks["read_models"] = "unavailable"
    if statuses == [] and checks["read_models"] == "ok":
        checks["read_models"] = "unavailable"  # no projection has begun yet
    stopped = [{"projection": s.name, "stopped_at": s.stopped_at} for s in statuses if s.state == "stopped"]
    unserved = [one.shown() for one in call.given.unserved()]
    waiting = await call.services.waiting_shards.told()
    said = "degraded" if stopped or unserved or waiting else "ok"
    if "unavailable" in checks.values():
        said = "unavailable"
    return {
        "status": "stopping" if call.given.drain.stopping else said,
        "checks": checks,
        "stopped_projections": stopped,
        "unserved_shards": unserved,
        "waiting_shards": waiting,
        "warnings": list(call.given.settings.warnings),
    }


async def _ends(call: Call) -> Mapping[Partition, int]:
    topics = (*EVENT_TOPICS, RUN_OUTPUT)
    partitions = [Partition(topic, shard) for topic in topics for shard in range(call.given.reader.shards)]
    try:
        async with asyncio.timeout(_LOG_WITHIN_S):
            return await call.given.reader.ends(partitions)
    except TimeoutError:
        raise LogUnavailable(f"no answer within {_LOG_WITHIN_S:g} s") from None


async def metrics(call: Call) -> Response:
    """Counters for Prometheus."""
    return Response(call.services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def projections(call: Call) -> Response:
    """How far each read model is."""
    ends = await _ends(call)
    found = await call.models.ask(lambda connection: status(connection, ends, call.given.clock.now()))
    return list_answer([_shown(one) for one in found], None)


def _shown(one: ProjectionStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.state,
        "generation": one.generation,
        "lag_events": one.lag_events,
        "lag_seconds": one.lag_seconds,
        "stopped_at": one.stopped_at,
        "error": one.error,
        "rebuild_requested": one.rebuild_requested,
        "rebuild_done": one.rebuild_done,
        "rebuild_total": one.rebuild_total,
        "positions": {f"{at.topic}/{at.shard}": offset for at, offset in sorted(one.positions.items())},
    }


async def rebuild(call: Call) -> Response:
    """Ask for a read model to be built anew beside the live one."""
    name = call.path("name")
    if name not in BY_NAME:
        raise Problem("projection_not_found")
    try:
        has_begun = await call.given.rebuild(name)
    except (StoreUnavailable, SQLAlchemyError):
        raise Problem("read_models_unavailable") from None
    if not has_begun:
        raise Problem("projection_lag", "the projections have not begun yet")
    return json_answer({"name": name, "rebuild_requested": True}, 202, {"Location": "/api/v1/projections"})


async def contract(call: Call) -> Response:
    """The OpenAPI document."""
    return json_answer(call.request.app.openapi())


ROUTES = (
    Route(method="GET", path="/health/live", gives=shapes.LIVE, answer=live, permission=None, summary="Does the process answer?"),
    Route(
        method="GET",
        path="/health/ready",
        gives=shapes.HEALTH,
        answer=ready,
        permission=None,
        summary="Can requests be answered?",
    ),
    Route(method="GET", path="/health", gives=shapes.HEALTH, answer=health, permission=None, summary="How is the server?"),
    Route(method="GET", path="/metrics", gives="text/plain", answer=metrics, permission=None, summary="Counters for Prometheus"),
    Route(
        method="GET", path="/openapi.json", gives="application/json", answer=contract, permission=None, summary="This document"
    ),
    Route(
        method="GET",
        path="/api/v1/projections",
        gives=shapes.listed(shapes.PROJECTION),
        answer=projections,
        permission="projections.read",
        summary="How far the read models are",
    ),
    Route(
        method="POST",
        path="/api/v1/projections/{name}/rebuild",
        gives=shapes.REBUILD,
        answer=rebuild,
        permission="projections.rebuild",
        summary="Rebuild a read model beside the live one",
        status=202,
    ),
)
