"""How does a user's title get into the vault, and when does it stay as it is? No command holds one."""

from api.call import Call
from api.identity import user_row
from api.problem_details import Problem
from api.sealing import Sealer
from domain.identity import USER, name_of
from domain.rejection import Invalid
from domain.title import check_title
from schemas.vault import bound_to_title


def check_user_title(title: str) -> None:
    """Raise `Invalid` unless a user may have this title: nobody else looks at it in clear."""
    if errors := check_title(title):
        raise Invalid(*errors)


async def sealed_title(sealer: Sealer, title: str | None) -> str | None:
    """What a command says of the user's title: None leaves it, an empty id takes it away; else the id in the vault."""
    if not title:
        return title
    write = sealer.write
    return await sealer.seal(f"{write.command_id()}\ntitle", bound_to_title(name_of(write.stream)), title.encode())


async def unless_it_is_so(call: Call, user: str, title: str | None) -> str | None:
    """`title`, or None where the user has it already, by all that the log held when this was asked."""
    if not title:
        return title
    try:
        await call.services.freshness.log_end([USER])
        row = await call.models.ask(lambda connection: user_row(connection, user))
    except Problem:
        return title  # what it is now cannot be told: then it is sealed anew
    if row is None:
        return title
    now = row["title"] if row["sealed_title"] is None else (await call.services.personal_data.of([row])).get(row["sealed_title"])
    return None if now == title else title
