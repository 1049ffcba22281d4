"""Commands for targets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.context import Output, at, pairs, show_list, show_one, write
from infra.cli.document import read

app = typer.Typer(no_args_is_help=True, help="Machines that runs are done on.")
Limit = Annotated[int | None, typer.Option(help="At most so many.")]
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
    if host_key_file:
        host_key = " ".join(host_key_file.read_text().split()[:2])
    connection: dict[str, Any] = {"kind": "ssh", "port": port, "credential": credential, "host_key": host_key}
    body = {"name": name, "title": title, "host": host, "labels": pairs(label or [], "--label"), "connection": connection}
    write(lambda client: client.send("POST", "/targets", body), output)


@app.command()
def change(
    name: str, file: Annotated[Path, typer.Option("-f", "--file", help="A merge patch, YAML or JSON.")], output: Output = "table"
) -> None:
    """Change some of a target by a merge patch (RFC 7396)."""
    write(lambda client: client.send("PATCH", at("targets", name), read(file)), output)


@app.command()
def check(name: str, output: Output = "table") -> None:
    """Try to connect and log in; the result is recorded with the target."""
    write(lambda client: client.send("POST", at("targets", name, "check")), output)


@app.command()
def retire(name: str, output: Output = "table") -> None:
    """Take a target out of service."""
    write(lambda client: client.send("DELETE", at("targets", name)), output)
