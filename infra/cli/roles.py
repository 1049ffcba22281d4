"""One command a role; `up` runs them all in one process on the embedded log.

What a role is made of is imported when it starts: the other commands are short, and would wait for it each time.
"""

import gc
from collections.abc import Callable, Mapping

import typer


def start(name: str) -> None:
    """Run one role, or all with `up`, until a signal; the exit status says whether it ended well."""
    gc.disable()  # until all is imported: nothing of it is garbage, and to look for some takes a seventh of the start
    from infra.wiring.process import start as start_process

    start_process(name)


_HELP: Mapping[str, str] = {
    "up": "Start the embedded server: every role in this process, data in OPSCONDUCTOR_HOME.",
    "api": "Serve the REST contract.",
    "commands": "Own shards and decide commands: the only appender of events.",
    "executor": "Do the steps of runs on targets.",
    "sweeper": "End the claims of executors that are silent.",
}


def register(app: typer.Typer) -> None:
    """Add a command for each role, the cluster and the demo."""
    for name, text in _HELP.items():
        app.command(name, help=text)(_starter(name))
    app.command(help="Start Kafka, Postgres, Redis and sshd natively and every role as its own process; Ctrl-C stops all.")(
        cluster
    )
    app.command(help="Start a server and an sshd of their own, run a job with live output, show its audit trail, stop.")(demo)


def _starter(name: str) -> Callable[[], None]:
    def command() -> None:
        start(name)

    return command


def cluster() -> None:
    """The whole cluster on this machine."""
    from infra.cli.cluster import cluster as run_cluster

    run_cluster()


def demo() -> None:
    """The five-minute tour, really run."""
    from infra.cli.demo import demo as run_demo

    run_demo()
