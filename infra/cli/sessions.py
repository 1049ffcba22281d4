"""Commands for one's own sessions: where somebody is signed in, and an end to it."""

from typing import Annotated

import typer

from infra.cli.context import CONTEXT, Output, at, exiting, write
from infra.cli.render import Renderer

app = typer.Typer(no_args_is_help=True, help="Where you are signed in.")
COLUMNS = ["session", "begun_at", "refreshed_at", "begun_by", "current"]


@app.command("list")
def list_sessions(output: Output = "table") -> None:
    """List your own sessions, the newest first."""
    with exiting():
        Renderer(output).many(CONTEXT.client().get("/me/sessions")["items"], COLUMNS)


@app.command()
def end(
    session: Annotated[str | None, typer.Argument(help="As `session list` calls it.")] = None,
    others: Annotated[bool, typer.Option("--others", help="All but the one of this command line.")] = False,
    output: Output = "table",
) -> None:
    """End one of your own sessions, or all others."""
    if others is (session is not None):
        raise typer.BadParameter("name a session or say --others")
    path = "/me/sessions" + (at(session) if session is not None else "")
    write(lambda client: client.send("DELETE", path), output)
