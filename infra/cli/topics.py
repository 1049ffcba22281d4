"""Commands for the topics of a log on Kafka."""

import typer

from infra.cli.context import Output

app = typer.Typer(no_args_is_help=True, help="The log's topics on Kafka: create them, or say how they differ.")


@app.command()
def apply(output: Output = "table") -> None:
    """Create what is absent and correct settings; partition and replica counts are never changed."""
    from infra.cli.kafka_topics import apply_topics  # the client is loaded only where it is used

    apply_topics(output)


@app.command()
def check(output: Output = "table") -> None:
    """List how the topics differ from what they should be; exit status 1 when they do."""
    from infra.cli.kafka_topics import check_topics

    check_topics(output)
