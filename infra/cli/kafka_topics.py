"""How do a log's topics become what they should be, or how do they differ?"""

from collections.abc import Sequence
from typing import NoReturn

import typer

from infra.cli.misconfigured import wrong_settings_told
from infra.cli.render import Renderer
from infra.kafka import topics
from infra.kafka.settings import KafkaLogSettings
from infra.wiring.composition import kafka_settings
from infra.wiring.misconfigured import WrongSetting
from infra.wiring.settings import settings_given
from schemas.log import LogError

REFUSED, UNREACHABLE = 6, 7


def apply_topics(output: str) -> None:
    """Create and correct; exit status 1 when something is there that cannot be changed, 6 when Kafka refuses,
    7 when it does not answer; 78 when it has fewer brokers than there are to be replicas."""
    try:
        with wrong_settings_told():
            done = _applied(_settings())
    except topics.TopicsDiffer as differ:
        typer.echo(str(differ), err=True)
        raise typer.Exit(1) from None
    except topics.TopicsRefused as refused:
        typer.echo(f"Kafka refuses: {refused}", err=True)
        raise typer.Exit(REFUSED) from None
    except LogError as error:
        _unreachable(error)
    _list(done, "done", output)
    if not done and output != "json":
        typer.echo("nothing to do")


def _applied(settings: KafkaLogSettings) -> list[str]:
    try:
        return topics.apply(settings)
    except topics.TooFewBrokers as few:
        raise WrongSetting(
            f"OPSCONDUCTOR_LOG_REPLICATION: {settings.replication} replicas are more than Kafka has: {few}"
        ) from few


def check_topics(output: str) -> None:
    """List the differences; exit status 1 when there are any."""
    try:
        differences = topics.differences(_settings())
    except LogError as error:
        _unreachable(error)
    _list(differences, "difference", output)
    raise typer.Exit(1 if differences else 0)


def _list(lines: Sequence[str], what: str, output: str) -> None:
    if output == "json":
        Renderer(output).many([{what: line} for line in lines], [what])
        return
    for line in lines:
        typer.echo(line)


def _settings() -> KafkaLogSettings:
    with wrong_settings_told():
        settings = settings_given()
    if settings.is_embedded:
        typer.echo("the log is not on Kafka: set OPSCONDUCTOR_LOG_URL=kafka://host:port,…", err=True)
        raise typer.Exit(2)
    return kafka_settings(settings)


def _unreachable(error: LogError) -> NoReturn:
    typer.echo(f"Kafka cannot be reached: {error}", err=True)
    raise typer.Exit(UNREACHABLE) from None
