"""Where do the simulation's read models live? In a database in memory, or in a file behind real engines; both can be down."""

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from infra.sql.engine import create_all, open_engine, open_reader
from tests.support.quick_engine import QuickEngine
from tests.support.simulated_process import Fault


@dataclass
class Databases:
    """The read models: what the projections keep, and later what is built anew beside it."""

    is_real: bool
    down: Fault | None = None

    def open(self, name: str) -> tuple[Any, Any]:
        """An empty database: its writing and its reading engine."""
        if self.is_real:
            return self._real(name)
        engine = QuickEngine(_engines(name)[1].dialect, _memory_template(), self._may_begin)
        return engine, engine

    def _real(self, name: str) -> tuple[Engine, Engine]:
        file, writer, reader = _engines(name)
        for engine in (writer, reader):
            engine.dispose()
            engine.dialect.may_begin = self._may_begin
        for rest in file.parent.glob(f"{file.name}*"):
            rest.unlink()
        shutil.copyfile(_template(), file)
        return writer, reader

    def _may_begin(self) -> None:
        if self.down is not None and self.down.bites():
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("the simulated database is down"))


def _begin(connection: Any) -> None:
    connection.dialect.may_begin()


@cache
def _engines(name: str) -> tuple[Path, Engine, Engine]:
    """Opened once: an engine keeps its compiled statements, and they take longer than what they do."""
    file = _folder() / f"{name}.db"
    writer, reader = open_engine(f"sqlite:///{file}"), open_reader(f"sqlite:///{file}")
    event.listen(writer, "connect", _unsafe_but_quick)
    for engine in (writer, reader):
        event.listen(engine, "begin", _begin)
    return file, writer, reader


def _unsafe_but_quick(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF").close()


@cache
def _folder() -> Path:
    """For the databases of all seeds, one after the other; erased when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="opsconductor-simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _template() -> Path:
    """A database file with all tables, made once."""
    file = _folder() / "template.db"
    engine = open_engine(f"sqlite:///{file}")
    create_all(engine)
    engine.dispose()
    return file


@cache
def _memory_template() -> bytes:
    """The same tables as bytes for a database in memory, which knows no write-ahead log."""
    with closing(sqlite3.connect(_template())) as file, closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript("\n".join(file.iterdump()))
        return memory.serialize()
