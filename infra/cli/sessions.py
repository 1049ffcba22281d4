"""Commands for sessions: where somebody is signed in, and an end to it."""

from typing import Annotated

import typer

from infra.cli.context import CONTEXT, Output, at, exiting, write
from infra.cli.render import Renderer

app = typer.Typer(no_args_is_help=True, help="Where you, or others, are signed in.")
User = Annotated[str | None, typer.Option("--user", help="Whose; without it your own.")]
COLUMNS = ["session", "begun_at", "refreshed_at", "begun_by", "current"]


@app.command("list")
def list_sessions(user: User = None, output: Output = "table") -> None:
    """List your own sessions, or a user's, the newest first."""
    with exiting():
        Renderer(output).many(CONTEXT.client().get(_of(user))["items"], COLUMNS)


@app.command()
def end(
    session: Annotated[str | None, typer.Argument(help="As `session list` calls it.")] = None,
    others: Annotated[bool, typer.Option("--others", help="All but the one of this command line.")] = False,
    user: User = None,
    everywhere: Annotated[bool, typer.Option("--all", help="All of the user's.")] = False,
    output: Output = "table",
) -> None:
    """End one of your own sessions, or all others; or one of a user's, or all."""
    whole = others if user is None else everywhere
    if (others and user is not None) or (everywhere and user is None) or whole is (session is not None):
        raise typer.BadParameter("name a session or say --others; of a user, name one or say --all")
    path = _of(user) + (at(session) if session is not None else "")
    write(lambda client: client.send("DELETE", path), output)


def _of(user: str | None) -> str:
    return "/me/sessions" if user is None else at("users", user, "sessions")
