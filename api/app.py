"""What is the API made of? The table of routes on FastAPI, behind the edge; every port is passed in.

A request goes: edge (bounds, correlation id) → route → token → rate limit → permission → parameters → freshness → answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import ceil

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from api import conditions, contract, problem_details, sight
from api.anybody import Anybody
from api.awaited import Awaited
from api.call import Call, Caller, Services
from api.caller_address import counted_as
from api.counted import DeniedWrite, denied_commands, sign_in_failures
from api.denied import object_of
from api.edge import Edge
from api.freshness import Freshness
from api.identity import caller_of
from api.log_check import LogCheck
from api.metrics import Metrics
from api.own_record import record
from api.permit import Denied
from api.personal_data import PersonalData
from api.ports import ApiDependencies
from api.problem_details import Problem, correlation_of
from api.rate_limit import Kind
from api.read_models import ReadModels
from api.routes.all import TABLE
from api.routes.route import Route
from api.streams import StreamCount
from api.waiting import Waiting
from api.waiting_shards import WaitingShards
from domain.rejection import FieldError

_HASHES_AT_ONCE = 2
"""Password hashes are dear in time and memory: so many sign-ins are looked at together, the others wait."""

_OF_ACCOUNT: tuple[Kind, Kind] = ("account_reads", "account_writes")
_OF_ADDRESS: tuple[Kind, Kind] = ("address_reads", "address_writes")


def create_app(given: ApiDependencies) -> ASGIApp:
    """The whole API as one ASGI application."""
    settings, metrics = given.settings, Metrics()
    models = ReadModels(given.engine, given.threads, settings.read_s)
    freshness = Freshness(models, given.reader, given.wakeups, settings.freshness_wait_s)
    streams = StreamCount(settings.max_streams, settings.max_streams_per_actor, metrics)
    waiting = Waiting(settings.max_waiting, settings.max_waiting_per_account)
    hashing, check = asyncio.Semaphore(_HASHES_AT_ONCE), LogCheck(given.reader)
    failures = sign_in_failures(settings.audit_window_s)
    denied = denied_commands(settings.audit_window_s)
    personal, anybody, awaited = PersonalData(given.vault), Anybody(models, settings.first_user_s), Awaited()
    shards = WaitingShards(given.outcomes, given.reader.shards, given.clock.monotonic)
    services = Services(
        given, models, freshness, waiting, metrics, streams, awaited, shards, check, hashing, failures, denied, personal, anybody
    )
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    problem_details.install(app)
    document = contract.openapi()
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's own way to replace it
    for path, routes in _by_path().items():
        methods = [*routes, *(["HEAD"] if "GET" in routes else [])]
        app.add_api_route(path, _endpoint(routes, services), methods=methods, include_in_schema=False)
    return Edge(app, given.ids, settings, given.drain, metrics)


def _by_path() -> dict[str, dict[str, Route]]:
    """The routes of each path by method, so that a method which is not there is told which ones are."""
    paths: dict[str, dict[str, Route]] = {}
    for route in TABLE:
        paths.setdefault(route.path, {})[route.method] = route
    return paths


def _endpoint(routes: Mapping[str, Route], services: Services) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        route = routes["GET" if request.method == "HEAD" else request.method]
        caller = None
        if route.permission is None:
            _count_nobody(route, request, services)
        else:
            caller = await _counted_caller(request, services)
        call = Call(request, services, caller, correlation_of(request))
        try:
            return await _answer(route, call)
        except Problem as refused:
            is_denied = isinstance(refused, Denied) or refused.code == "permission_denied"
            if is_denied and caller is not None and route.method != "GET":
                _note_denied(route, call, refused)
            raise

    return endpoint


async def _answer(route: Route, call: Call) -> Response:
    if route.permission is not None and not call.signed_in.may(route.permission):
        raise Denied(route.permission, f"this takes the permission {route.permission}")
    _check_query(route, call.request)
    if call.caller is not None:
        await _wait_until_fresh(route, call.caller, call.request.headers, call.services)
    return await route.answer(call)


def _note_denied(route: Route, call: Call, refused: Problem) -> None:
    """A denied write of somebody we know gets into the audit trail."""
    user, permission = call.signed_in.user, refused.permission if isinstance(refused, Denied) else str(route.permission)
    write, noted = DeniedWrite(permission, object_of(route, call, refused)), call.services.denied_commands
    noted.note(user, write, call.given.clock.now(), lambda told: record(call, user, told))


async def _counted_caller(request: Request, services: Services) -> Caller:
    """Who asks, as long as they ask not too often; of nobody we know, that counts by address. Raises `Problem` (401, 429)."""
    try:
        caller = await caller_of(request, services)
    except Problem as refused:
        if refused.code == "unauthenticated":
            _take(services, request, _OF_ADDRESS, _address(request))
        raise
    _take(services, request, _OF_ACCOUNT, caller.user)
    return caller


def _count_nobody(route: Route, request: Request, services: Services) -> None:
    if not route.path.startswith(("/health", "/metrics")):  # whoever watches us must see us, above all when others ask too much
        _take(services, request, _OF_ADDRESS, _address(request))


def _address(request: Request) -> str:
    return counted_as(request.client.host if request.client else "unknown")


def _take(services: Services, request: Request, kinds: tuple[Kind, Kind], name: str) -> None:
    reads, writes = kinds
    if wait := services.given.limits.take(reads if request.method in ("GET", "HEAD") else writes, name):
        seconds = ceil(wait)
        raise Problem("rate_limited", f"too many requests: go on in {seconds} s", headers={"Retry-After": str(seconds)})


def _check_query(route: Route, request: Request) -> None:
    pairs = request.query_params.multi_items()
    errors = [FieldError(name, "is not known here") for name, _ in pairs if name not in route.query]
    names = [name for name, _ in pairs]
    errors += [FieldError(name, "is there twice") for name in _doubled(names) if name in route.query]
    if errors:
        raise Problem("validation_failed", "query parameters are not valid", tuple(dict.fromkeys(errors)))


def _doubled(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


async def _wait_until_fresh(route: Route, caller: Caller, headers: Headers, services: Services) -> None:
    """Wait for what the caller has seen already. A write waits for the read models of what it speaks of."""
    versions = conditions.min_versions(headers)
    if any(not caller.may_know(stream) for stream, _ in versions):
        raise Problem("permission_denied", "that there is such a version is told to who may see or change it")
    hidden = sight.hidden(caller, [stream for stream, _ in versions])
    positions = conditions.min_positions(headers, services.given.reader.shards)
    waiting = services.waiting.of
    await services.freshness.versions(versions, route.reads, lambda connection: not hidden(connection), waiting(caller.user))
    await services.freshness.positions(positions, route.reads, waiting(caller.user))
