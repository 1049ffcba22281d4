"""How do a log's topics become what they should be, or how do they differ?"""

from typing import NoReturn

import typer

from infra.kafka import topics
from infra.kafka.settings import KafkaLogSettings
from infra.wiring.composition import kafka_settings
from infra.wiring.settings import Settings
from schemas.log import LogError

UNREACHABLE = 7


def apply_topics() -> None:
    """Create and correct; exit status 1 when something is there that cannot be changed, 7 when Kafka does not answer."""
    try:
        done = topics.apply(_settings())
    except topics.TopicsDiffer as differ:
        typer.echo(str(differ), err=True)
        raise typer.Exit(1) from None
    except LogError as error:
        _unreachable(error)
    for line in done or ["nothing to do"]:
        typer.echo(line)


def check_topics() -> None:
    """List the differences; exit status 1 when there are any."""
    try:
        differences = topics.differences(_settings())
    except LogError as error:
        _unreachable(error)
    for line in differences:
        typer.echo(line)
    raise typer.Exit(1 if differences else 0)


def _settings() -> KafkaLogSettings:
    settings = Settings()
    if settings.is_embedded:
        typer.echo("the log is not on Kafka: set OPSCONDUCTOR_LOG_URL=kafka://host:port,…", err=True)
        raise typer.Exit(2)
    return kafka_settings(settings)


def _unreachable(error: LogError) -> NoReturn:
    typer.echo(f"Kafka cannot be reached: {error}", err=True)
    raise typer.Exit(UNREACHABLE) from None
