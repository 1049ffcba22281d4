"""What does every command need? The chosen server and form of output, and an exit status that says what went wrong."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from infra.cli import session as sessions
from infra.cli.client import Client, ServerRefused, ServerUnreachable
from infra.cli.given import BadFile
from infra.cli.render import Renderer, harmless

REFUSED, UNREACHABLE = 6, 7
RUN_STATUS = {"succeeded": 0, "failed": 1, "cancelled": 3, "timed_out": 4, "lost": 5}
"""The exit status of a run's result; 2 is wrong usage, 6 a refusal by the server, 7 no answer."""

Output = Annotated[str, typer.Option("-o", "--output", help="`table` or `json`.")]


@dataclass
class Context:
    """The server and the form of output, chosen before the command's name."""

    url: str | None = None

    def client(self) -> Client:
        """A client with the kept session."""
        return Client(sessions.load(self.url))


CONTEXT = Context()


@contextmanager
def exiting() -> Iterator[None]:
    """Turn refusals and silence into a line on standard error and an exit status."""
    try:
        yield
    except ServerRefused as refused:
        _say(f"{refused.problem.get('code', refused.status)}: {refused}")
        for error in refused.problem.get("errors", []):
            _say(f"  {error['field']}: {error['message']}")
        if refused.status == 401:
            _say("sign in with: opsconductor login")
        raise typer.Exit(REFUSED) from None
    except ServerUnreachable as silence:
        _say(f"no answer: {silence}")
        raise typer.Exit(UNREACHABLE) from None
    except BadFile as bad:
        _say(str(bad))
        raise typer.Exit(2) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None


def show_list(path: str, columns: list[str], output: str, limit: int | None, **query: Any) -> None:
    """Print a list."""
    with exiting():
        Renderer(output).many(CONTEXT.client().items(path, limit, **query), columns)


def show_one(path: str, output: str, **query: Any) -> None:
    """Print one thing."""
    with exiting():
        Renderer(output).one(CONTEXT.client().get(path, **query))


def write(call: Callable[[Client], Any], output: str) -> None:
    """Send a write and print its answer."""
    with exiting():
        Renderer(output).one(call(CONTEXT.client()))


def at(*parts: object) -> str:
    """The path below the API that these parts name. Wrong usage when one of them would lead to another path."""
    for part in map(str, parts):
        if "/" in part or part in ("", ".", ".."):
            raise typer.BadParameter(f"{part!r} is no name")
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def pairs(values: list[str], what: str) -> dict[str, str]:
    """`key=value` arguments as a mapping; wrong usage otherwise."""
    parsed: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{value!r} is not key=value", param_hint=what)
        parsed[key] = text
    return parsed


def _say(message: str) -> None:
    sys.stderr.write(harmless(message) + "\n")
