"""Commands for targets."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.client import Client
from infra.cli.context import CONTEXT, FAILED, UNREACHABLE, Output, at, exiting, pairs, show_list, show_one, write
from infra.cli.document import read
from infra.cli.given import text
from infra.cli.render import Renderer

app = typer.Typer(no_args_is_help=True, help="Machines that runs are done on.")
Limit = Annotated[int | None, typer.Option(help="At most so many.")]
_ASK_EVERY_S = 0.3
_LAST_EVENTS = 100
"""A target has far fewer open checks; so many events at least cannot come between a look and the next."""

COLUMNS = ["name", "title", "host", "labels", "connection.kind", "reachable", "version"]


@app.command("list")
def list_targets(
    selector: Annotated[str | None, typer.Option(help="Such as env=prod,role!=db.")] = None,
    limit: Limit = None,
    output: Output = "table",
) -> None:
    """List targets."""
    show_list("/targets", COLUMNS, output, limit, selector=selector)


@app.command()
def show(name: str, output: Output = "table") -> None:
    """Show one target."""
    show_one(at("targets", name), output)


@app.command()
def add(
    name: str,
    host: Annotated[str, typer.Option(help="Host name or address.")],
    credential: Annotated[str, typer.Option(help="The credential to log in with.")],
    port: int = 22,
    host_key: Annotated[str | None, typer.Option(help="The pinned host key: `ssh-ed25519 AAAA…`.")] = None,
    host_key_file: Annotated[Path | None, typer.Option(help="A public key file to pin.")] = None,
    title: str = "",
    label: Annotated[list[str] | None, typer.Option(help="key=value; may be given more than once.")] = None,
    output: Output = "table",
) -> None:  # fmt: skip
    """Register a target."""
    if host_key is not None and host_key_file is not None:
        raise typer.BadParameter("give --host-key or --host-key-file", param_hint="--host-key-file")
    labels = pairs(label or [], "--label")

    def body() -> dict[str, Any]:
        pinned = _public_key(host_key_file) if host_key_file is not None else host_key
        connection = {"kind": "ssh", "port": port, "credential": credential, "host_key": pinned}
        return {"name": name, "title": title, "host": host, "labels": labels, "connection": connection}

    write(lambda client: client.send("POST", "/targets", body()), output)


def _public_key(file: Path) -> str:
    """The key of a public key file, without its comment. Raises `BadFile`."""
    return " ".join(text(file).split()[:2])


@app.command()
def change(
    name: str, file: Annotated[Path, typer.Option("-f", "--file", help="A merge patch, YAML or JSON.")], output: Output = "table"
) -> None:
    """Change some of a target by a merge patch (RFC 7396)."""
    write(lambda client: client.send("PATCH", at("targets", name), read(file)), output)


@app.command()
def check(
    name: str,
    wait: Annotated[float, typer.Option(help="How many seconds to wait for the result; 0: only ask.", min=0)] = 120,
    output: Output = "table",
) -> None:
    """Try to connect and log in, and show the result, which is recorded. Exit status 1 when it failed, 7 without one in time.

    The result is read from the target's history, which takes targets.read.
    """
    with exiting():
        client, renderer = CONTEXT.client(), Renderer(output)
        answer = client.send("POST", at("targets", name, "check"))
        if wait == 0:
            renderer.one(answer)
            return
        found = _found_by(client, name, answer["check"], time.monotonic() + wait)
        if found is None:
            renderer.note(f"no result of check {answer['check']} within {wait:g} s; it will be recorded with the target")
            raise typer.Exit(UNREACHABLE)
        renderer.one({"target": name, **found})
        if not found["reachable"]:
            raise typer.Exit(FAILED)


def _found_by(client: Client, name: str, check: str, deadline: float) -> dict[str, Any] | None:
    """What the check found, or None when that is not known in time. The target itself tells of the newest check only."""
    while True:
        for event in client.get(at("targets", name, "history"), sort="-version", limit=_LAST_EVENTS)["items"]:
            if event["type"] == "TargetChecked" and event["payload"]["check"] == check:
                payload: dict[str, Any] = event["payload"]
                return payload
        if time.monotonic() >= deadline:
            return None
        time.sleep(_ASK_EVERY_S)


@app.command()
def retire(name: str, output: Output = "table") -> None:
    """Take a target out of service."""
    write(lambda client: client.send("DELETE", at("targets", name)), output)
