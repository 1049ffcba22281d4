"""Commands for the read models."""

import time
from typing import Annotated, Any

import typer

from infra.cli.client import Client
from infra.cli.context import CONTEXT, FAILED, Output, at, exiting
from infra.cli.render import Renderer
from infra.cli.roles import start

app = typer.Typer(invoke_without_command=True, help="Read models: their role, how far they are, and building them anew.")
COLUMNS = ["name", "state", "generation", "lag_events", "lag_seconds", "stopped_at", "error"]
MOVING = ["name", "state", "generation", "rebuild_done", "rebuild_total", "positions"]
"""What only the role's own work changes; the lag grows also when nobody works."""
STILL_S = 60.0
"""So long a rebuild may show no progress before we say that nobody seems to be at it."""

Row = dict[str, Any]


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
        if not _followed(client, wanted, before, renderer):
            raise typer.Exit(FAILED)


def _followed(client: Client, wanted: list[str], before: dict[str, int], renderer: Renderer) -> bool:
    """Wait until none of them is under way; whether all are rebuilt. Nothing has to move for `STILL_S` to be given up on."""
    pending, all_rebuilt = wanted, True
    seen, moved_at = list[list[Any]](), time.monotonic()
    while True:
        rows = client.get("/projections")["items"]
        ended, pending = _parted([row for row in rows if row["name"] in pending], before)
        for row in ended:
            all_rebuilt &= _told(row, before, renderer)
        if not pending:
            return all_rebuilt
        stand = [[row.get(key) for key in MOVING] for row in rows]
        if stand != seen:
            seen, moved_at = stand, time.monotonic()
            _tell_progress(rows, pending, renderer)
        elif time.monotonic() - moved_at > STILL_S:
            renderer.note(f"nothing has moved for {STILL_S:g} s: the role `projections` seems not to run")
            renderer.note(f"not rebuilt yet, but still asked for: {', '.join(pending)}")
            return False
        time.sleep(0.5)


def _parted(rows: list[Row], before: dict[str, int]) -> tuple[list[Row], list[str]]:
    """Those that are no more under way, and the names of the others. Older servers do not say what is asked for."""
    ended = [row for row in rows if row["generation"] > before[row["name"]] or not row.get("rebuild_requested", True)]
    return ended, [row["name"] for row in rows if row not in ended]


def _told(row: Row, before: dict[str, int], renderer: Renderer) -> bool:
    """Say how it ended; whether it was rebuilt."""
    rebuilt = bool(row["generation"] > before[row["name"]])
    how = f"rebuilt, generation {row['generation']}" if rebuilt else row["error"] or "the rebuild was given up"
    renderer.note(f"{row['name']}: {how}")
    if renderer.form == "json":
        renderer.one(row)
    return rebuilt


def _tell_progress(rows: list[Row], pending: list[str], renderer: Renderer) -> None:
    for row in rows:
        if row["name"] in pending and row.get("rebuild_total"):
            renderer.note(f"{row['name']}: {row['rebuild_done']}/{row['rebuild_total']} events")
