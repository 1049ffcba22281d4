"""Commands for the keys that sign access tokens."""

from typing import Annotated

import typer

from infra.cli.context import CONTEXT, Output, at, exiting, write
from infra.cli.render import Renderer

app = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")


@app.command("list")
def list_keys(output: Output = "table") -> None:
    """List the keys in force, newest first."""
    with exiting():
        Renderer(output).many(CONTEXT.client().get("/signing-keys")["items"], ["kid", "signs", "signs_from"])


@app.command()
def rotate(
    now: Annotated[bool, typer.Option("--now", help="It signs at once, before everybody can know it: for a leaked key.")] = False,
    output: Output = "table",
) -> None:
    """Make a new key: published at once, it signs ten minutes later."""
    write(lambda client: client.send("POST", "/signing-keys", {"signs_at_once": now}), output)


@app.command()
def retire(kid: str, output: Output = "table") -> None:
    """Take a key away: access tokens that it signed are refused from then on."""
    write(lambda client: client.send("DELETE", at("signing-keys", kid)), output)
