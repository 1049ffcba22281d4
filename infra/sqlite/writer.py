"""Where is the one thread that writes, and what does it do when the disk refuses?

All requests that wait when a transaction begins share it and its fsync. A transaction that failed before its COMMIT, or for
want of space, has written nothing (`LogUnavailable`). Any other failure of COMMIT leaves it open whether a later recovery
would find the transaction (`ResultUnknown`); what is true is then read from the file before anything else is decided.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from infra.sqlite.checkpoints import Checkpoints
from infra.sqlite.layout import Layout, Row
from infra.sqlite.pruning import Pruning
from infra.sqlite.transaction import Barrier, Consumed, Request, Transaction, standing_in
from schemas.log import LogError, LogUnavailable, ResultUnknown
from schemas.outcome import Outcome
from schemas.position import Partition

MAX_WAITING = 20_000
"""Requests that may wait; beyond it the log is unavailable."""

MAX_WAITING_BYTES = 64 * 1024 * 1024

MAX_GROUP_BYTES = 8 * 1024 * 1024
"""A transaction takes no further request once it holds as much."""

WITHIN_S = 30.0
"""How long a request may take before its caller is told that the log is unavailable or the result unknown."""

Committed = Callable[[Mapping[Partition, int], Sequence[Outcome], Sequence[tuple[Partition, Row]]], None]

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    request: Request
    size: int
    future: asyncio.Future[Any]
    value: object = None
    error: Exception | None = None


@dataclass(slots=True)
class _Queue:
    waiting: deque[_Waiting] = field(default_factory=deque)
    size: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class Writer:
    """The thread with the writing connection; `transactions` counts what it has committed.

    `committed` is told on the event loop, before the callers are answered, of partitions' next ids, new outcomes and new rows.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        layout: Layout,
        clock: Callable[[], float],
        committed: Committed,
        chores: tuple[Checkpoints, Pruning],
    ) -> None:
        self.transactions = 0
        self.standing = standing_in(connection, layout)
        self._connection = connection
        self._layout = layout
        self._clock = clock
        self._committed = committed
        self._checkpoints, self._pruning = chores
        self._loop = asyncio.get_running_loop()
        self._in_doubt = False
        self._queue = _Queue()
        self._thread = threading.Thread(target=self._run, name="sqlite-log-writer", daemon=True)
        self._thread.start()

    async def submit(self, request: Request, size: int = 0) -> Any:
        """What the request gives, once its transaction is durable. Raises `LogUnavailable`, `ResultUnknown` or its own error."""
        waiting = _Waiting(request, size, self._loop.create_future())
        self._enqueue(waiting)
        try:
            async with asyncio.timeout(WITHIN_S):
                return await waiting.future
        except TimeoutError:
            if self._withdraw(waiting):
                raise LogUnavailable(f"nothing was written within {WITHIN_S:g} s") from None
            raise _told(waiting, ResultUnknown(f"the disk has not confirmed within {WITHIN_S:g} s")) from None

    async def close(self) -> None:
        """Write what waits, then end the thread and close its connection."""
        with self._queue.changed:
            self._queue.closed = True
            self._queue.changed.notify()
        await self._loop.run_in_executor(None, self._thread.join)

    def _enqueue(self, waiting: _Waiting) -> None:
        queue = self._queue
        with queue.changed:
            if queue.closed:
                raise LogUnavailable("the log is closed")
            if len(queue.waiting) >= MAX_WAITING or queue.size + waiting.size > MAX_WAITING_BYTES:
                raise LogUnavailable(f"{len(queue.waiting)} requests wait for the disk already")
            queue.waiting.append(waiting)
            queue.size += waiting.size
            queue.changed.notify()

    def _withdraw(self, waiting: _Waiting) -> bool:
        with self._queue.changed:
            if waiting not in self._queue.waiting:
                return False
            self._queue.waiting.remove(waiting)
            self._queue.size -= waiting.size
            return True

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            if group:
                self._decide(group)
            self._do_chores()
        self._connection.close()

    def _do_chores(self) -> None:
        try:
            self._checkpoints.keep_up(self._connection)
            if not self._in_doubt:
                self._pruning.bite(self._connection, self.standing)
        except Exception:  # noqa: BLE001 - the thread must live on; a failing disk is told to those who write
            _log.warning("the log's upkeep failed and will be tried again", exc_info=True)

    def _next_group(self) -> list[_Waiting] | None:
        queue = self._queue
        with queue.changed:
            if not queue.waiting and not queue.closed:
                queue.changed.wait(self._pruning.due_in_s())
            if not queue.waiting:
                return None if queue.closed else []
            group: list[_Waiting] = []
            size = 0
            while queue.waiting and size < MAX_GROUP_BYTES:
                group.append(queue.waiting.popleft())
                size += group[-1].size
            queue.size -= size
            return group

    def _decide(self, group: list[_Waiting]) -> None:
        try:
            self._resolve_doubt()
            transaction = Transaction(self._layout, self.standing, int(self._clock() * 1000))
            for waiting in group:
                _apply(waiting, transaction)
            self._write(transaction)
        except Exception as error:  # noqa: BLE001 - the callers must be answered whatever went wrong
            self._on_loop(partial(_answer, group, _as_log_error(error)))
            return
        self._on_loop(partial(self._committed, transaction.next_id, transaction.outcomes, transaction.rows))
        self._on_loop(partial(_answer, group, None))

    def _resolve_doubt(self) -> None:
        if self._in_doubt:
            self.standing = standing_in(self._connection, self._layout)
            self._on_loop(partial(self._committed, dict(self.standing.next_id), (), ()))
            self._in_doubt = False

    def _write(self, transaction: Transaction) -> None:
        if not transaction.rows and not transaction.consumed:
            return
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction.write(connection)
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._in_doubt = True
                raise _refused_commit(error) from error
        except BaseException:
            self._roll_back()
            raise
        transaction.settle()
        self.transactions += 1
        self._checkpoints.written(transaction.size)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # After some failures SQLite has rolled back by itself.
                self._connection.execute("ROLLBACK")

    def _on_loop(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # The event loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(call)


def _answer(group: Sequence[_Waiting], error: LogError | None) -> None:
    for waiting in group:
        if waiting.future.done():
            continue
        if error is not None:
            waiting.future.set_exception(_told(waiting, error))
        elif waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.value)


def _told(waiting: _Waiting, error: LogError) -> LogError:
    """What went wrong for this one, as an exception of its own: whoever only asks has nothing that could be in doubt."""
    return LogUnavailable(str(error)) if isinstance(waiting.request, Barrier | Consumed) else type(error)(str(error))


def _apply(waiting: _Waiting, transaction: Transaction) -> None:
    try:
        waiting.value = waiting.request.apply(transaction)
    except LogError as error:
        waiting.error = error


def _refused_commit(error: sqlite3.Error) -> LogError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return LogUnavailable(f"nothing was written: {error}")
    return ResultUnknown(f"the commit failed: {error}")


def _as_log_error(error: Exception) -> LogError:
    if isinstance(error, LogError):
        return error
    if not isinstance(error, sqlite3.Error):
        _log.error("the log's writer failed", exc_info=error)
    return LogUnavailable(f"nothing was written: {error}")
