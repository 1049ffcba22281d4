"""Postgres that takes requests and answers nothing: does everybody who asks it give up in time, and come back?"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

import infra.sql.read_store
from api.problem_details import Problem
from api.read_models import ReadModels
from infra.deploy.services.native_process import ServiceUnavailable, children_of
from infra.deploy.services.postgres import PostgresServer
from infra.sql.engine import open_engine, open_reader
from infra.sql.read_store import SqlReadStore
from projections.read_store import StoreUnavailable
from tests.support.eventually import eventually_async
from tests.support.frozen import freeze
from tests.support.services import missing, scratch_folder

pytestmark = pytest.mark.services

WITHIN_S = 0.5
ASKED = 30
"""More than there are threads and connections."""

MUCH_LATER_S = 20 * WITHIN_S
"""In less all have given up, however slow the machine; one after the other they would need longer."""


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with scratch_folder() as folder:
        server = PostgresServer(home=folder)
        try:
            server.start()
        except ServiceUnavailable as absent:
            missing("postgres", absent)
        yield server
        thaw(server)
        server.stop()


def silence(server: PostgresServer) -> None:
    """The server first, which begets no more then; each of its children serves a connection or works behind the scenes."""
    freeze(server.pid)
    for pid in children_of(server.pid):
        freeze(pid)


def thaw(server: PostgresServer) -> None:
    """A child may end before its turn: the server clears away its dead once it runs."""
    for pid in [*children_of(server.pid), server.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar() or 0)


async def test_queries_are_answered_503_in_time_and_answered_again_once_it_speaks(postgres: PostgresServer) -> None:
    engine, threads = open_reader(postgres.address), ThreadPoolExecutor(16)
    models = ReadModels(engine, threads, WITHIN_S)
    assert await asyncio.gather(*[models.ask(one) for _ in range(ASKED)]) == [1] * ASKED
    silence(postgres)
    began = time.monotonic()
    told = await asyncio.gather(*[models.ask(one) for _ in range(ASKED)], return_exceptions=True)
    assert time.monotonic() - began < MUCH_LATER_S
    assert {getattr(problem, "code", problem) for problem in told} == {"read_models_unavailable"}
    thaw(postgres)

    async def answers() -> bool:
        try:
            return await asyncio.gather(*[models.ask(one) for _ in range(ASKED)]) == [1] * ASKED
        except Problem:
            return False

    await eventually_async(answers)
    engine.dispose()
    threads.shutdown()


async def test_projecting_is_given_up_in_time_and_goes_on_once_it_speaks(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given up holds on to the right to project as long as its connection lives."""
    monkeypatch.setattr(infra.sql.read_store, "_LONGEST_TRANSACTION_S", WITHIN_S)
    engine = open_engine(postgres.address)
    store = SqlReadStore(engine)
    assert await store.transact(one) == 1
    silence(postgres)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="silent"):
            await store.transact(one)
        assert time.monotonic() - began < MUCH_LATER_S
    thaw(postgres)

    async def projects() -> bool:
        try:
            return await store.transact(one) == 1
        except StoreUnavailable:
            return False

    await eventually_async(projects)
    await store.close()
    engine.dispose()
