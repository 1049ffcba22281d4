"""Who asks for what, under which id? One request, once it is known to be allowed, with everything an answer is made from."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.anybody import Anybody
from api.awaited import Awaited
from api.counted import Counted, DeniedWrite
from api.freshness import Freshness
from api.log_check import LogCheck
from api.metrics import Metrics
from api.paging import Order, Page, page_of
from api.personal_data import PersonalData
from api.ports import ApiDependencies
from api.problem_details import Problem
from api.read_models import ReadModels
from api.streams import StreamCount
from api.waiting import Waiting
from api.waiting_shards import WaitingShards
from domain.access import Decision, Grant, Object, decide, is_unlimited, may, permissions_of
from domain.identity import USER, kind_of, stream_of
from schemas.actor import Actor


@dataclass(frozen=True, slots=True)
class Services:
    """What all requests share."""

    given: ApiDependencies
    models: ReadModels
    freshness: Freshness
    waiting: Waiting
    metrics: Metrics
    streams: StreamCount
    awaited: Awaited
    waiting_shards: WaitingShards
    log_check: LogCheck
    hashing: asyncio.Semaphore
    sign_in_failures: Counted[str]
    denied_commands: Counted[DeniedWrite]
    personal_data: PersonalData
    anybody: Anybody


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the actor, the user whose rights it has, the roles that user has now and what these grant now.

    With an access token there is a session; an API token has none, and may have a `scope`: then it may do nothing else.
    """

    actor: Actor
    user: str
    roles: tuple[str, ...] = ()
    session_id: str | None = None
    scope: frozenset[str] | None = None
    granted: tuple[Grant, ...] = ()

    @property
    def permissions(self) -> list[str]:
        """Everything the caller may do, to some thing at least, sorted."""
        return [name for name in permissions_of(self.granted) if self._in_scope(name)]

    def grants(self, permission: str) -> tuple[Grant, ...]:
        """Those of the caller's grants that carry the permission; none when it is beyond a token's scope."""
        return tuple(grant for grant in self.granted if grant.carries(permission)) if self._in_scope(permission) else ()

    @property
    def effective(self) -> tuple[Grant, ...]:
        """What the caller is granted, as far as a token's scope goes."""
        if self.scope is None:
            return self.granted
        return tuple(replace(grant, permissions=grant.permissions & self.scope) for grant in self.granted)

    def may(self, permission: str) -> bool:
        """Whether the caller may do it, to some thing at least."""
        return may(self.granted, permission) and self._in_scope(permission)

    def is_unlimited(self, permission: str) -> bool:
        """Whether the caller may do it to everything."""
        return is_unlimited(self.granted, permission) and self._in_scope(permission)

    def decide(self, permission: str, thing: Object) -> Decision:
        """Whether the caller may do it to this, and why or why not."""
        if (lack := self.lack_of_token(permission)) is not None:
            return Decision(False, None, (lack,))
        return decide(self.granted, permission, thing)

    def lack_of_token(self, permission: str) -> tuple[str, str] | None:
        """Who lacks it and what, in words, where the permission is beyond a token's scope, whatever its owner may do."""
        return None if self._in_scope(permission) else ("the API token", f"was not issued for {permission}")

    def _in_scope(self, permission: str) -> bool:
        return self.scope is None or permission in self.scope

    def may_know(self, stream: str) -> bool:
        """Whether the caller may do anything with streams of this type, or it is the caller's own account."""
        whole = f"{kind_of(stream)}s."
        return stream == stream_of(USER, self.user) or any(permission.startswith(whole) for permission in self.permissions)

    @property
    def on_behalf_of(self) -> Actor | None:
        """The user whose API token this is."""
        return Actor("user", self.user) if self.actor.kind == "token" else None


@dataclass(frozen=True, slots=True)
class Call:
    """One request that may be answered."""

    request: Request
    services: Services
    caller: Caller | None
    correlation_id: str

    @property
    def given(self) -> ApiDependencies:
        """The ports."""
        return self.services.given

    @property
    def models(self) -> ReadModels:
        """The read models."""
        return self.services.models

    @property
    def signed_in(self) -> Caller:
        """Who asks. Raises `Problem` when nobody is signed in."""
        if self.caller is None:
            raise Problem("unauthenticated")
        return self.caller

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters; each is known and there once."""
        return self.request.query_params

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def page(self, orders: Mapping[str, Order], default: str) -> Page:
        """The part of a list that is asked for."""
        return page_of(self.request.url.path, self.query, orders, default, self.given.keys.cursors)


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def list_answer(items: list[dict[str, Any]], next_cursor: str | None) -> Response:
    """One page of a list."""
    return json_answer({"items": items, "next_cursor": next_cursor})


def versioned(body: dict[str, Any]) -> Response:
    """A thing as it is, with its version as the entity tag."""
    return json_answer(body, headers={"ETag": f'"{body["version"]}"'})
