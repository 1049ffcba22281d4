"""How is a run followed to its end while the server restarts, the connection breaks and the access token expires?

The output comes from the place after the last piece that came, so none is shown twice or lost. A run needs nobody who looks on:
whoever stops looking is told that it goes on.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from infra.cli.client import ALIVE, Client, ServerRefused, ServerUnreachable
from infra.cli.context import CONTEXT, INTERRUPTED

PATIENCE_S = 60.0
"""So long nothing may come of connecting again before it is given up."""
AGAIN_AFTER_S = 1.0

Event = tuple[str, str | None, Any]


class Following:
    """Looks on at one run; `known` where it is known to be there, so that also a first connection is worth a second one."""

    def __init__(self, client: Client, run: str, note: Callable[[str], None], *, known: bool) -> None:
        self._client, self._run, self._note = client, run, note
        self._begun, self._told = known, False
        self._failing_since: float | None = None

    def output(self, path: str, headers: Mapping[str, str]) -> Iterator[Event]:
        """What comes of the run's output, `end` included. Raises what a client does once patience is over."""
        last: Mapping[str, str] = {}
        while True:
            try:
                for event, ident, item in self._client.events(path, {**headers, **last}):
                    self._begun = True
                    if event in ("output", "end", ALIVE):
                        self._failing_since, self._told = None, False
                    last = {"Last-Event-ID": ident} if ident is not None else last
                    yield event, ident, item
                    if event == "end":
                        return
                self._failed(ServerUnreachable("the server ended the stream"), quietly=True)  # it stops, or somebody may no more
            except (ServerUnreachable, ServerRefused) as failed:
                self._failed(failed)
            time.sleep(AGAIN_AFTER_S)

    def result(self, path: str) -> Any:
        """The answer to a read, patiently, too."""
        while True:
            try:
                return self._client.get(path)
            except (ServerUnreachable, ServerRefused) as failed:
                self._failed(failed)
            time.sleep(AGAIN_AFTER_S)

    def _failed(self, failed: ServerUnreachable | ServerRefused, *, quietly: bool = False) -> None:
        """Raise it, unless it may pass; the first time of an outage, say so."""
        now = time.monotonic()
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        if not self._begun or not _may_pass(failed) or now - since >= PATIENCE_S:
            raise failed
        if not self._told and not quietly:
            self._told = True
            self._note(f"the connection is lost ({failed}); trying again for {PATIENCE_S:g} s")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say what becomes of the run, and how it is taken up again, when it is no more followed before its end."""
        try:
            yield
        except KeyboardInterrupt:
            self._note(f"run {self._run} goes on; follow it with: {self._command('output', '--follow')}")
            self._note(f"or end it with: {self._command('cancel')}")
            raise typer.Exit(INTERRUPTED) from None
        except (ServerUnreachable, ServerRefused) as failed:
            if self._begun and not _is_no_more_seen(failed):
                self._note(f"run {self._run} goes on; take it up again with: {self._command('output', '--follow')}")
            raise

    def _command(self, word: str, *options: str) -> str:
        server = ["--url", CONTEXT.url] if CONTEXT.by_argument and CONTEXT.url else []
        return shlex.join(["opsconductor", *server, "run", word, self._run, *options])


def _may_pass(failed: ServerUnreachable | ServerRefused) -> bool:
    return isinstance(failed, ServerUnreachable) or failed.status == 429 or failed.status >= 500


def _is_no_more_seen(failed: ServerUnreachable | ServerRefused) -> bool:
    """Whether the run is there for this user no more: then it cannot be taken up again either."""
    return isinstance(failed, ServerRefused) and failed.status in (403, 404)
