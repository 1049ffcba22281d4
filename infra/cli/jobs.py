"""Commands for jobs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.client import Client, ServerRefused
from infra.cli.context import Output, at, show_list, show_one, write
from infra.cli.document import BadDocument, read
from infra.cli.targets import Limit

app = typer.Typer(no_args_is_help=True, help="What is to be done on which targets; every revision is kept.")
COLUMNS = ["name", "title", "revision", "targets", "archived", "version"]


@app.command("list")
def list_jobs(limit: Limit = None, output: Output = "table") -> None:
    """List jobs."""
    show_list("/jobs", COLUMNS, output, limit)


@app.command()
def show(name: str, revision: int | None = None, output: Output = "json") -> None:
    """Show a job, or one of its revisions."""
    show_one(at("jobs", name) if revision is None else at("jobs", name, "revisions", revision), output)


@app.command()
def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A job, YAML or JSON; - is standard input.")],
    output: Output = "table",
) -> None:
    """Define the job in a file, or make it the next revision when the job exists."""
    write(lambda client: _apply(client, read(file)), output)


def _apply(client: Client, job: Any) -> Any:
    if not isinstance(job, dict) or job.get("name") is None:
        raise BadDocument("a job is a mapping with a name")
    if not isinstance(job["name"], str):
        raise BadDocument(f"a job's name must be text: {json.dumps(job['name'])[:100]} is none; in YAML text may stand in quotes")
    try:
        client.get(at("jobs", job["name"]))
    except ServerRefused as refused:
        if refused.status != 404:
            raise
        return client.send("POST", "/jobs", job)
    return client.send("PUT", at("jobs", job["name"]), job)


@app.command()
def archive(name: str, output: Output = "table") -> None:
    """End a job; its revisions stay readable."""
    write(lambda client: client.send("DELETE", at("jobs", name)), output)
