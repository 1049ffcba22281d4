"""Commands for the topics of a log on Kafka."""

import typer

from infra.kafka import topics
from infra.wiring.composition import kafka_settings
from infra.wiring.settings import Settings
from schemas.log import LogError

app = typer.Typer(no_args_is_help=True, help="The log's topics on Kafka: create them, or say how they differ.")


def _settings() -> Settings:
    settings = Settings()
    if settings.is_embedded:
        typer.echo("the log is not on Kafka: set OPSCONDUCTOR_LOG_URL=kafka://host:port,…", err=True)
        raise typer.Exit(2)
    return settings


@app.command()
def apply() -> None:
    """Create what is absent and correct settings; partition and replica counts are never changed."""
    try:
        done = topics.apply(kafka_settings(_settings()))
    except topics.TopicsDiffer as differ:
        typer.echo(str(differ), err=True)
        raise typer.Exit(1) from None
    except LogError as error:
        typer.echo(f"Kafka cannot be reached: {error}", err=True)
        raise typer.Exit(7) from None
    for line in done or ["nothing to do"]:
        typer.echo(line)


@app.command()
def check() -> None:
    """List how the topics differ from what they should be; exit status 1 when they do."""
    try:
        differences = topics.differences(kafka_settings(_settings()))
    except LogError as error:
        typer.echo(f"Kafka cannot be reached: {error}", err=True)
        raise typer.Exit(7) from None
    for line in differences:
        typer.echo(line)
    raise typer.Exit(1 if differences else 0)
