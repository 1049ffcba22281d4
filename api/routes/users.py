"""What can be done with users?"""

from starlette.responses import Response

from api import shapes
from api.account import attempted, check_new, hashed_password, is_password_of, signed_in_person
from api.as_of import PARAMETER, listed_then, row_then, time_of_list
from api.call import Call, list_answer, versioned
from api.giving import check_gives_roles, managed
from api.identity import user_row
from api.in_force import in_force
from api.problem_details import Problem, wrong
from api.queries import users
from api.references import found
from api.retitling import check_user_title, sealed_title, unless_it_is_so
from api.routes.history import history_of
from api.routes.names import absent, slug
from api.routes.route import PAGED, Route
from api.sealing import sealing
from api.strict_json import body_of, optional_body_of
from api.submit import Said, Write, accepted_answer, remembered, submit, write_of
from domain.decider import Companion
from domain.identity import ROLE, USER, name_of, stream_of
from domain.user.decide import decide
from domain.user.messages import ChangePassword, ChangeUser, CreateUser
from domain.user.state import UserState
from schemas.http import closed
from schemas.http.run import NoBody
from schemas.http.user import NewUser, OwnPassword, ResetPassword, UserPatch, patch
from schemas.vault import bound_to_user


async def create(call: Call) -> Response:
    """Make a user: a person with a password, or a service account without one."""
    body = await body_of(call.request)
    asked = closed.read(NewUser, body.raw, body.plain)
    check_user_title(asked.title)
    in_force = Companion(None, tuple(stream_of(ROLE, role) for role in asked.roles))  # the owner knows which roles there are
    decide(CreateUser(asked.name, None, asked.roles), UserState(), in_force)  # what is wrong with it in itself
    await check_gives_roles(call, asked.roles)
    if asked.password is not None:
        check_new(asked.password, asked.name)
    write = write_of(call, stream_of(USER, asked.name), body, creates=True)
    said = Said(f"/users/{asked.name}", {"name": asked.name}, 201)
    if before := await remembered(write, CreateUser):
        return accepted_answer(write, said, *before)
    async with sealing(call.given.vault, write) as sealer:
        ident = None
        if asked.password is not None:
            kept = await hashed_password(call, asked.password)
            ident = await sealer.seal(f"{write.command_id()}", bound_to_user(asked.name), kept)
        title = await sealed_title(sealer, asked.title or None)
        return await submit(write, CreateUser(asked.name, title, asked.roles, ident), said)


async def listed(call: Call) -> Response:
    """Users with their roles."""
    page = call.page(users.ORDERS, "name")
    if (time := time_of_list(call)) is not None:
        then = users.then(time)
        rows, cursor = await call.models.ask(lambda connection: listed_then(connection, page, then, time))
        return list_answer([users.shown(row, {}) for row in rows], cursor)
    found_now, cursor = await call.models.ask(lambda connection: users.listed(connection, page))
    opened = await call.services.personal_data.of(found_now)
    return list_answer([users.shown(row, opened) for row in found_now], cursor)


async def show(call: Call) -> Response:
    """One user."""
    name = slug(call, USER)
    if PARAMETER in call.query:
        return versioned(users.shown(await row_then(call, USER, name), {}))
    user = await found(call, USER, lambda connection: user_row(connection, name))
    if user is None:
        raise absent(USER)
    return versioned(users.shown(user, await call.services.personal_data.of([user])))


async def change(call: Call) -> Response:
    """Change a user's title, roles or whether the user is disabled, by a JSON merge patch."""
    name = slug(call, USER)
    body = await body_of(call.request)
    asked = patch(body.raw, body.plain)
    check_user_title(asked.title or "")
    write = write_of(call, stream_of(USER, name), body)
    if before := await remembered(write, ChangeUser):  # nothing is sealed again, of somebody who was erased since least of all
        return accepted_answer(write, _said(name), *before)
    await check_gives_roles(call, asked.roles or ())
    write = await managed(write)
    title = await unless_it_is_so(call, name, asked.title)
    async with sealing(call.given.vault, write) as sealer:
        return await _submit(write, ChangeUser(await sealed_title(sealer, title), asked.roles, asked.disabled))


async def disable(call: Call) -> Response:
    """Disable a user: the name stays taken, sessions end, API tokens rest."""
    name = slug(call, USER)
    body = await optional_body_of(call.request)
    closed.read(NoBody, body.raw, body.plain)
    return await _submit(await managed(write_of(call, stream_of(USER, name), body)), ChangeUser(disabled=True))


async def reset_password(call: Call) -> Response:
    """Give a user, not oneself, another password; every session of theirs ends. One's own takes the current one."""
    signed_in_person(call)
    name = slug(call, USER)
    body = await body_of(call.request)
    asked = closed.read(ResetPassword, body.raw, body.plain)
    if name == call.signed_in.user:
        raise Problem("own_account", "nobody resets their own password: PUT /me/password changes it, with the current one")
    return await _replace_password(call, name, asked.password)


async def change_own_password(call: Call) -> Response:
    """Change one's own password; every other session ends."""
    signed_in_person(call)
    body = await body_of(call.request)
    asked = closed.read(OwnPassword, body.raw, body.plain)
    return await _replace_password(call, call.signed_in.user, asked.password, asked.current_password)


async def _replace_password(call: Call, name: str, password: str, current: str | None = None) -> Response:
    check_new(password, name)
    write = write_of(call, stream_of(USER, name), await body_of(call.request))
    if before := await remembered(write, ChangePassword):
        return accepted_answer(write, _said(name), *before)
    write = await managed(write)
    proved = None if current is None else await _proved(call, name, current)
    async with sealing(call.given.vault, write) as sealer:
        ident = await sealer.seal(f"{write.command_id()}", bound_to_user(name), await hashed_password(call, password))
        return await _submit(write, ChangePassword(ident, proved, call.signed_in.session_id))


async def _proved(call: Call, name: str, current: str) -> str:
    """The id of the password that `current` is. Raises `Problem` when it is not; wrong ones count as failed sign-ins do."""
    user = await call.models.ask(lambda connection: user_row(connection, name))

    async def proof() -> str | None:
        return user["password"] if user and await is_password_of(call, user, name, current) else None

    proved = await attempted(call, name, proof)
    if proved is None:
        raise wrong("current_password", "is not the password")
    return proved


async def _submit(write: Write, command: ChangeUser | ChangePassword) -> Response:
    return await in_force(write, await submit(write, command, _said(name_of(write.stream))))


def _said(name: str) -> Said:
    return Said(f"/users/{name}", {"name": name})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/users",
        gives=shapes.written("user", name="alice"),
        answer=create,
        permission="users.write",
        status=201,
        summary="Make a user",
        takes=NewUser,
        example={"name": "alice", "title": "Alice", "roles": ["operator"], "password": "correct-horse-battery"},
    ),
    Route(
        method="GET",
        path="/api/v1/users",
        gives=shapes.listed(shapes.USER),
        answer=listed,
        permission="users.read",
        summary="List users",
        query=PAGED | {PARAMETER},
        reads=("users",),
    ),
    Route(
        method="GET",
        path="/api/v1/users/{name}",
        gives=shapes.USER,
        answer=show,
        permission="users.read",
        summary="Show a user",
        query=frozenset({PARAMETER}),
        reads=("users",),
    ),
    Route(
        method="PATCH",
        path="/api/v1/users/{name}",
        gives=shapes.written("user", name="alice"),
        answer=change,
        permission="users.write",
        summary="Change a user",
        takes=UserPatch,
        example={"roles": ["author", "auditor"]},
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{name}",
        gives=shapes.written("user", name="alice"),
        answer=disable,
        permission="users.write",
        summary="Disable a user",
    ),
    Route(
        method="PUT",
        path="/api/v1/users/{name}/password",
        gives=shapes.written("user", name="alice"),
        answer=reset_password,
        permission="users.write",
        summary="Give a user another password",
        takes=ResetPassword,
        example={"password": "correct-horse-battery"},
    ),
    Route(
        method="PUT",
        path="/api/v1/me/password",
        gives=shapes.written("user", name="alice"),
        answer=change_own_password,
        permission="self.write",
        summary="Change one's own password",
        takes=OwnPassword,
        example={"current_password": "correct-horse-battery", "password": "staple-battery-correct"},
    ),
    history_of("users", USER, "users.read"),
)
