"""Commands for the audit trail: the event log itself."""

from typing import Annotated

import typer

from infra.cli.context import Output, show_list
from infra.cli.targets import Limit

COLUMNS = ["time", "stream", "version", "type", "actor.name", "correlation_id", "position"]


def audit(
    stream: Annotated[str | None, typer.Option(help="Such as run/nightly.0199….")] = None,
    type: Annotated[str | None, typer.Option(help="Such as RunRequested.")] = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    since: Annotated[str | None, typer.Option("--from", help="RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="RFC 3339.")] = None,
    limit: Limit = None,
    output: Output = "table",
) -> None:  # fmt: skip
    """List events, oldest first: who did what, when, and what exactly ran."""
    query = {"stream": stream, "type": type, "actor": actor, "correlation_id": correlation_id, "from": since, "to": until}
    show_list("/audit/events", COLUMNS, output, limit, **query)
