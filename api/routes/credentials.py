"""What can be done with credentials? Everything but to see what they hold."""

import asyncio
from typing import Any

import orjson
from sqlalchemy import Connection, select
from starlette.responses import Response

from api import shapes
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.filters import flag
from api.permit import require, require_seen
from api.problem_details import wrong
from api.queries import credentials
from api.queries.seen import Columns, seen
from api.references import found
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.sealing import sealing
from api.shredding import destroyed
from api.sight import must_see
from api.ssh_keys import why_no_private_key
from api.strict_json import body_of, optional_body_of
from api.submit import Rejection, Said, Write, accepted_answer, remembered, submit, write_of
from domain.access import CredentialObject
from domain.credential import CreateCredential, CredentialKind, RevokeCredential, RotateCredential, ShredCredential
from domain.identity import CREDENTIAL, check_slug, stream_of
from domain.rejection import Invalid
from domain.title import check_title
from projections.tables import credentials as table
from schemas.http import closed
from schemas.http.credential import NewCredential, NewSecret, SshKeySecret, secret_of
from schemas.http.run import NoBody
from schemas.vault import bound_to_credential

_MAX_ATTEMPTS = 5
_ROTATED = "credential_rotated_meanwhile"


async def create(call: Call) -> Response:
    """Create a credential: its secret is sealed before anything is sent."""
    body = await body_of(call.request)
    asked: NewCredential = closed.read(NewCredential, body.raw, body.plain)
    check_slug(asked.name)
    require(call, "credentials.write", CredentialObject(asked.name), "name")
    if errors := check_title(asked.title):
        raise Invalid(*errors)
    secret = await _checked_secret(call, asked.kind, asked.secret)
    write = write_of(call, stream_of(CREDENTIAL, asked.name), body, creates=True)
    said = Said(f"/credentials/{asked.name}", {"name": asked.name}, 201)
    if before := await remembered(write, CreateCredential):
        return accepted_answer(write, said, *before)
    async with sealing(call.given.vault, write) as sealer:
        ident = await sealer.seal(f"{write.command_id()}", bound_to_credential(asked.name, 1), secret)
        return await submit(write, CreateCredential(asked.name, asked.kind, ident, asked.title), said)


async def rotate(call: Call) -> Response:
    """Replace a credential's secret."""
    name = slug(call, CREDENTIAL)
    require_seen(call, "credentials.write", CREDENTIAL, CredentialObject(name))
    body = await body_of(call.request)
    asked: NewSecret = closed.read(NewSecret, body.raw, body.plain)
    write, said = write_of(call, stream_of(CREDENTIAL, name), body), Said(f"/credentials/{name}", {"name": name})
    if before := await remembered(write, RotateCredential, _ROTATED):
        return accepted_answer(write, said, *before)
    current = await found(call, CREDENTIAL, lambda connection: _current(connection, name))
    if current is None:
        raise absent(CREDENTIAL)
    kind, revision = current
    secret = await _checked_secret(call, kind, asked.secret)
    for attempt in range(1, _MAX_ATTEMPTS):
        try:
            return await _rotate_to(write, kind, revision + 1, secret, said, attempt)
        except Rejection as rejected:
            if rejected.code != _ROTATED:
                raise
        revision = await _revision_now(call, name, revision)
    return await _rotate_to(write, kind, revision + 1, secret, said, _MAX_ATTEMPTS)


async def _rotate_to(write: Write, kind: CredentialKind, revision: int, secret: bytes, said: Said, attempt: int) -> Response:
    async with sealing(write.call.given.vault, write) as sealer:
        # For another revision it is another secret: one sealed earlier under this key and never used is bound to its own.
        of = f"{write.command_id(attempt)}\n{revision}"
        ident = await sealer.seal(of, bound_to_credential(said.key["name"], revision), secret)
        return await submit(write, RotateCredential(kind, ident, revision), said, attempt)


async def _revision_now(call: Call, name: str, seen: int) -> int:
    """The newest revision that the log had when this was asked.

    Not just another than `seen`: the rejection may be one remembered from an earlier request, and `seen` the newest already.
    """
    await call.services.freshness.log_end([CREDENTIAL])
    current = await call.models.ask(lambda connection: _current(connection, name))
    return current[1] if current else seen


def _current(connection: Connection, name: str) -> tuple[CredentialKind, int] | None:
    row = connection.execute(select(table.c.kind, table.c.revision).where(table.c.name == name)).one_or_none()
    return (row.kind, row.revision) if row else None


async def _checked_secret(call: Call, kind: CredentialKind, plain: dict[str, Any]) -> bytes:
    """The secret as it is sealed. Raises `Invalid` or `Problem` naming `secret.…`."""
    secret = secret_of(kind, plain)
    if isinstance(secret, SshKeySecret):
        loop = asyncio.get_running_loop()
        reason = await loop.run_in_executor(call.given.threads, why_no_private_key, secret.private_key, secret.passphrase)
        if reason is not None:
            raise wrong("secret.private_key", reason)
    return orjson.dumps(secret)


async def revoke(call: Call) -> Response:
    """Revoke a credential: it opens nothing any more."""
    name = slug(call, CREDENTIAL)
    require_seen(call, "credentials.write", CREDENTIAL, CredentialObject(name))
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(CREDENTIAL, name), body)
    return await submit(write, RevokeCredential(), Said(f"/credentials/{name}", {"name": name}))


async def shred(call: Call) -> Response:
    """End a credential and destroy what the vault holds of it; what was answered 503 is made good without another request.

    Asked again, the vault is looked at again: 200 says that nothing is left there.
    """
    name = slug(call, CREDENTIAL)
    require_seen(call, "credentials.write", CREDENTIAL, CredentialObject(name))
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    write = write_of(call, stream_of(CREDENTIAL, name), body)
    return await destroyed(write, await submit(write, ShredCredential(), Said(f"/credentials/{name}", {"name": name})))


async def listed(call: Call) -> Response:
    """Credentials, without their secrets."""
    is_seen = seen(call.signed_in, "credentials.read", Columns(credential=table.c.name))
    revoked, time = flag(call.query, "revoked"), time_of_list(call)
    if time is not None:
        page, then = call.page(credentials.THEN_ORDERS, "name"), credentials.then(revoked, time, is_seen)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([credentials.shown(row) for row in rows], cursor)
    page = call.page(credentials.ORDERS, "name")
    return list_answer(*await call.models.ask(lambda connection: credentials.listed(connection, page, revoked, is_seen)))


async def show(call: Call) -> Response:
    """One credential, without its secret."""
    name = slug(call, CREDENTIAL)
    await must_see(call, CREDENTIAL, name)
    if PARAMETER in call.query:
        return versioned(credentials.shown(await row_then(call, CREDENTIAL, name)))
    row = await found(call, CREDENTIAL, lambda connection: credentials.one(connection, name))
    if row is None:
        raise absent(CREDENTIAL)
    return versioned(row)


_SECRET = {"username": "deploy", "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----…"}

ROUTES = (
    Route(
        method="POST",
        path="/api/v1/credentials",
        gives=shapes.written("credential", name="deploy-key"),
        answer=create,
        permission="credentials.write",
        status=201,
        summary="Create a credential",
        takes=NewCredential,
        example={"name": "deploy-key", "kind": "ssh_key", "secret": _SECRET},
    ),
    Route(
        method="GET",
        path="/api/v1/credentials",
        gives=shapes.listed(shapes.CREDENTIAL),
        answer=listed,
        permission="credentials.read",
        summary="List credentials",
        query=PAGED | {"revoked", PARAMETER},
        reads=("credentials",),
    ),
    Route(
        method="GET",
        path="/api/v1/credentials/{name}",
        gives=shapes.CREDENTIAL,
        answer=show,
        permission="credentials.read",
        summary="Show a credential, never its secret",
        query=frozenset({PARAMETER}),
        reads=("credentials",),
    ),
    Route(
        method="PUT",
        path="/api/v1/credentials/{name}/secret",
        gives=shapes.written("credential", name="deploy-key"),
        answer=rotate,
        permission="credentials.write",
        summary="Replace a credential's secret",
        takes=NewSecret,
        example={"secret": _SECRET},
    ),
    Route(
        method="DELETE",
        path="/api/v1/credentials/{name}",
        gives=shapes.written("credential", name="deploy-key"),
        answer=revoke,
        permission="credentials.write",
        summary="Revoke a credential",
    ),
    Route(
        method="DELETE",
        path="/api/v1/credentials/{name}/secret",
        gives=shapes.written("credential", name="deploy-key"),
        answer=shred,
        permission="credentials.write",
        summary="Shred a credential: destroy the keys of its secrets, for good",
    ),
    history_of("credentials", CREDENTIAL, "credentials.read"),
)
