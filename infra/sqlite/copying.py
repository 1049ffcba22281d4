"""How is a log's file copied while another process writes to it, and what does a copy hold?

By SQLite's own backup, from a connection that can only read, inside one read transaction (HAZARDS D8, R50): the copy is the
log as it was at one moment. A copy is one file, without a write-ahead log beside it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from infra.sqlite.connections import LOG_FILE, layout_of, open_reader
from infra.sqlite.layout import TABLES, Layout
from infra.sqlite.lock import FolderUnsuitable
from infra.sqlite.reading import ends_in
from schemas.log import LogError
from schemas.position import Partition
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM

_TABLE_NAMES = tuple(table.split()[2] for table in TABLES)


class CopyFailed(LogError):
    """The log could not be copied."""


class LogDamaged(LogError):
    """The file is no whole log; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a log holds: the end of each partition, rows by table, and the streams of runs that have not finished."""

    shards: int
    ends: Mapping[Partition, int]
    rows: Mapping[str, int]
    unfinished_runs: Sequence[str]


def copy_log(folder: Path, into: Path) -> None:
    """Copy the log in `folder`, also while another process writes it, to the same name in `into`.

    Raises `FolderUnsuitable` when there is no log of this program's format, `CopyFailed`.
    """
    if not (folder / LOG_FILE).exists():
        raise FolderUnsuitable(f"there is no log in {folder}")
    (into / LOG_FILE).touch(mode=0o600)
    try:
        with closing(open_reader(folder)) as source, closing(sqlite3.connect(into / LOG_FILE, isolation_level=None)) as copy:
            # Opened before the copy begins and held to its end: nothing that is committed meanwhile makes it begin anew.
            source.execute("BEGIN")
            layout_of(source)
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        raise CopyFailed(f"{folder / LOG_FILE}: {error}") from error


def contents_of(folder: Path) -> Contents:
    """What the log in `folder` holds, of which SQLite finds every page in order. Raises `LogDamaged`, `FolderUnsuitable`."""
    try:
        with closing(open_reader(folder)) as connection:
            _check_pages(connection)
            layout = layout_of(connection)
            ends = ends_in(connection, layout, layout.partitions())
            _check_offsets(connection, layout, ends)
            _check_consumed(connection, layout, ends)
            _check_outcomes(connection)
            rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _TABLE_NAMES}
            return Contents(layout.shards, ends, rows, _unfinished_runs(connection, layout))
    except sqlite3.Error as error:
        raise LogDamaged(f"{LOG_FILE}: {error}") from error


def _check_pages(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise LogDamaged(f"{LOG_FILE}: {found}")


def _check_offsets(connection: sqlite3.Connection, layout: Layout, ends: Mapping[Partition, int]) -> None:
    # What is too old is taken away from the front, so what is there lies side by side in every topic.
    for partition, end in ends.items():
        first = layout.first_id(partition)
        held = "SELECT count(*), min(id) FROM records WHERE id >= ? AND id < ?"
        count, oldest = connection.execute(held, (first, layout.end_id(partition))).fetchone()
        if count and first + end - oldest != count:
            lacking = first + end - oldest - count
            raise LogDamaged(f"{partition.topic}/{partition.shard} lacks {lacking} records before {end}")


def _check_outcomes(connection: sqlite3.Connection) -> None:
    lost = "SELECT count(*) FROM outcome_ids LEFT JOIN records ON id = record WHERE id IS NULL"
    (count,) = connection.execute(lost).fetchone()
    if count:
        raise LogDamaged(f"{count} commands are remembered whose outcomes are not there")


def _check_consumed(connection: sqlite3.Connection, layout: Layout, ends: Mapping[Partition, int]) -> None:
    consumed = dict(connection.execute("SELECT partition, next FROM consumed"))
    for lane in (Partition(topic, shard) for topic in (COMMANDS_PEOPLE, COMMANDS_SYSTEM) for shard in range(layout.shards)):
        offset = consumed.get(layout.first_id(lane), layout.first_id(lane)) - layout.first_id(lane)
        if not 0 <= offset <= ends[lane]:
            raise LogDamaged(f"{lane.topic}/{lane.shard} ends at {ends[lane]} and is consumed up to {offset}")


def _unfinished_runs(connection: sqlite3.Connection, layout: Layout) -> list[str]:
    # A record's key is its stream; its type stands in the headers, as `layout.packed` writes them.
    typed = "SELECT key FROM records WHERE id >= ? AND id < ? AND instr(headers, CAST(? AS BLOB))"
    found: list[str] = []
    for runs in (Partition("runs", shard) for shard in range(layout.shards)):
        bounds = (layout.first_id(runs), layout.end_id(runs))
        requested, finished = '["ce_type","RunRequested"]', '["ce_type","RunFinished"]'
        rows = connection.execute(f"{typed} EXCEPT {typed} ORDER BY key", (*bounds, requested, *bounds, finished))
        found += [str(key, "utf-8") for (key,) in rows]
    return found
