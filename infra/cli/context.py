"""What does every command need? The chosen server and form of output, and an exit status that says what went wrong."""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from infra.cli import session as sessions
from infra.cli.asked import NobodyToAsk
from infra.cli.client import Client, Misconfigured, NotSendable, ServerRefused, ServerUnreachable, is_server
from infra.cli.given import BadFile
from infra.cli.render import Renderer, harmless
from infra.cli.session import NoToken, Session
from infra.wiring.misconfigured import MISCONFIGURED

FAILED, WRONG_USAGE, REFUSED, UNREACHABLE, NOT_WRITTEN, INTERRUPTED = 1, 2, 6, 7, 74, 130
RUN_STATUS = {"succeeded": 0, "failed": 1, "cancelled": 3, "timed_out": 4, "lost": 5}
"""The exit status of a run's result; 2 is wrong usage, 6 a refusal by the server, 7 no answer, 74 (EX_IOERR) output that
could not be written, 130 that who followed a run stopped it with Ctrl-C, as shells say it of SIGINT."""

Output = Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="`table` or `json`.")]


@dataclass
class Context:
    """The server and the form of output, chosen before the command's name."""

    url: str | None = None
    by_argument: bool = False
    """Whether the URL was given with the command and not by the environment."""

    def session(self) -> Session:
        """The kept session, or a fresh one of the chosen server. Raises `Misconfigured`; wrong usage for an argument."""
        try:
            session = sessions.load(self.url)
        except NoToken:
            raise Misconfigured("OPSCONDUCTOR_TOKEN: is no token") from None
        if not is_server(session.url):
            why = "is no server's address: expected http://host:port or https://…"  # not shown: a password may be in it
            if self.by_argument:
                raise typer.BadParameter(why, param_hint="--url")
            raise Misconfigured(f"OPSCONDUCTOR_URL: {why}")
        return session

    def client(self) -> Client:
        """A client with that session. Raises as it does."""
        return Client(self.session())


CONTEXT = Context()


@contextmanager
def exiting(done: str = "") -> Iterator[None]:
    """Turn refusals and silence into a line on standard error and an exit status; `done` says what is so also untold."""
    try:
        yield
        sys.stdout.flush()  # here, where it can still be told that it fails
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
    except (BadFile, NotSendable, NobodyToAsk) as bad:
        _say(str(bad))
        raise typer.Exit(WRONG_USAGE) from None
    except Misconfigured as wrong:
        _say(f"wrong setting: {wrong}")
        raise typer.Exit(MISCONFIGURED) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None
    except OSError as failed:
        _not_written(f"{done}cannot write: {failed}")
        raise typer.Exit(NOT_WRITTEN) from None


@contextmanager
def all_written() -> Iterator[None]:
    """End as `exiting` does also where something that it does not watch, such as help, cannot be written."""
    try:
        yield
    except OSError as failed:  # of no file: of what is written to, unbuffered
        if failed.filename is None and failed.errno in _OF_OUTPUT:
            _not_written(f"cannot write: {failed}")
            raise SystemExit(NOT_WRITTEN) from None
        raise
    finally:
        _flush()


_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _not_written(None)
    except OSError as failed:
        _not_written(f"cannot write: {failed}")
        raise SystemExit(NOT_WRITTEN) from None


def _not_written(told: str | None) -> None:
    """Give standard output up: what is left in its buffer would be tried once more at the end."""
    if told is not None:
        _say(told)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    try:
        return "".join(f"/{quote(str(part), safe='')}" for part in parts)
    except UnicodeError:
        raise typer.BadParameter("what was given is not all text in UTF-8") from None


def pairs(values: Sequence[str], what: str) -> dict[str, str]:
    """`key=value` arguments as a mapping; wrong usage otherwise."""
    parsed: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{value!r} is not key=value", param_hint=what)
        if key in parsed:
            raise typer.BadParameter(f"{key} is given twice", param_hint=what)
        parsed[key] = text
    return parsed


def _say(message: str) -> None:
    sys.stderr.write(harmless(message) + "\n")
