"""Commands for the read models."""

import time
from typing import Annotated

import typer

from infra.cli.client import Client
from infra.cli.context import CONTEXT, Output, at, exiting
from infra.cli.render import Renderer
from infra.cli.roles import start

app = typer.Typer(invoke_without_command=True, help="Read models: their role, how far they are, and building them anew.")
COLUMNS = ["name", "state", "generation", "lag_events", "lag_seconds", "stopped_at", "error"]


@app.callback()
def role(context: typer.Context) -> None:
    """Without a further command: run the role that keeps the read models up to date."""
    if context.invoked_subcommand is None:
        start("projections")


@app.command()
def status(output: Output = "table") -> None:
    """Show each projection's state and lag, in events and seconds."""
    with exiting():
        Renderer(output).many(CONTEXT.client().get("/projections")["items"], COLUMNS)


@app.command()
def rebuild(
    name: Annotated[str | None, typer.Argument()] = None,
    every: Annotated[bool, typer.Option("--all", help="Every projection.")] = False,
    output: Output = "table",
) -> None:  # fmt: skip
    """Build read models anew beside the live tables and swap at once; shows progress until done."""
    if (name is None) == (not every):
        raise typer.BadParameter("name a projection or say --all")
    with exiting():
        client, renderer = CONTEXT.client(), Renderer(output)
        before = {p["name"]: p["generation"] for p in client.get("/projections")["items"]}
        wanted = list(before) if every else [str(name)]
        for projection in wanted:
            client.send("POST", at("projections", projection, "rebuild"))
        while pending := _pending(client, wanted, before, renderer):
            time.sleep(0.5)
            wanted = pending


def _pending(client: Client, wanted: list[str], before: dict[str, int], renderer: Renderer) -> list[str]:
    now = {p["name"]: p for p in client.get("/projections")["items"]}
    pending = []
    for name in wanted:
        row = now[name]
        if row["generation"] > before[name]:
            renderer.note(f"{name}: rebuilt, generation {row['generation']}")
        else:
            done, total = row.get("rebuild_done"), row.get("rebuild_total")
            if total:
                renderer.note(f"{name}: {done}/{total} events")
            pending.append(name)
    return pending
