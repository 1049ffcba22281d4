"""May the caller give this away? Nobody gives, nor gets by way of somebody else's account, what they do not have themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from api.call import Call
from api.granted import granted_in
from api.identity import user_row
from api.permit import Denied
from api.problem_details import Problem, wrong
from api.references import found
from api.routes.names import absent, slug
from api.strict_json import optional_body_of
from api.submit import Said, Write, write_of
from domain.access import ROLES, Grant, built_in, first_beyond
from domain.identity import ROLE, USER, is_slug, name_of, stream_of
from domain.user.decide import MAX_ROLES
from schemas.http import closed
from schemas.http.run import NoBody


def check_gives(call: Call, permission: str, grants: Iterable[Grant]) -> None:
    """Raise `Denied` unless the caller has all that is granted, as widely: without limits, or within the very same."""
    for grant in grants:
        if beyond := first_beyond(call.signed_in.effective, grant):
            raise Denied(permission, f"who gives the role {grant.role} must have {beyond} as widely as it does")


async def check_gives_roles(call: Call, roles: Sequence[str]) -> None:
    """Raise `Problem` unless the caller may give these roles. One that is not there yet may come to be anything before it is
    granted: only who has everything may name it, and is told by the decision that there is none.
    """
    if len(roles) > MAX_ROLES:
        raise wrong("roles", f"are more than {MAX_ROLES}")
    if _has_everything(call):
        return
    custom = [role for role in roles if role not in ROLES and is_slug(role)]

    def asked(connection: Connection) -> tuple[Grant, ...] | None:
        granted = granted_in(connection, custom)
        return granted if {grant.role for grant in granted} >= set(custom) else None

    known = await found(call, ROLE, asked) if custom else ()
    if known is None:
        known = await call.models.ask(lambda connection: granted_in(connection, custom))
    check_gives(call, "users.write", [*(built_in(role) for role in roles if role in ROLES), *known])
    there = {grant.role for grant in known}
    if absent_ones := [n for n, role in enumerate(roles) if role in custom and role not in there]:
        raise wrong(f"roles.{absent_ones[0]}", "there is no such role")


def _has_everything(call: Call) -> bool:
    return first_beyond(call.signed_in.effective, built_in("administrator")) is None


async def managed(write: Write) -> Write:
    """The write on a user's account, if the caller may manage it: that takes all that the user may do, or else whoever may
    manage users would have everybody's rights. It then counts for the user as seen only. Raises `Problem`.
    """
    user = await account_managed(write.call, name_of(write.stream))
    if user is None:
        return write
    if write.expected_version not in (None, user["version"]):
        raise Problem("version_conflict", f"the stream is at version {user['version']}, not {write.expected_version}")
    return replace(write, expected_version=user["version"])


async def account_of_another(call: Call, does: str) -> tuple[Write, Said]:
    """The write, without a body, that does to the account in the path what nobody `does` ("erases") to their own, and what is
    said of it. Raises `Problem`.
    """
    name, body = slug(call, USER), await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    if name == call.signed_in.user:
        raise Problem("own_account", f"nobody {does} themselves; another administrator can")
    return await managed(write_of(call, stream_of(USER, name), body)), Said(f"/users/{name}", {"name": name})


async def account_managed(call: Call, name: str) -> Mapping[str, Any] | None:
    """The user whose account the caller manages, as judged; None for a signed-in person's own and for who has everything. Raises
    `Problem` unless the caller has all that the user may do; an API token, which may be for little, of its own owner's, too.
    """
    is_own = name == call.signed_in.user and call.signed_in.session_id is not None
    if is_own or _has_everything(call):
        return None
    user = await found(call, USER, lambda connection: user_row(connection, name))
    if user is None:
        raise absent(USER)
    check_gives(call, "users.write", await call.models.ask(lambda connection: granted_in(connection, user["roles"])))
    return user
