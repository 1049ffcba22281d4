"""Both databases of the read models, fresh for each test."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from infra.sql.engine import create_all, open_engine, open_reader
from tests.projections.tables_seen import Database


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def new_url(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes the address of a database that nobody has used."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('models')}/models.db"
        return
    shared = make_url(request.getfixturevalue("postgres_url"))
    server = create_engine(shared.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")

    def made() -> str:
        name = f"models_{uuid4().hex}"
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return shared.set(database=name, drivername="postgresql").render_as_string(hide_password=False)

    yield made
    server.dispose()


@pytest.fixture
def database(new_url: Callable[[], str]) -> Iterator[Database]:
    """The read models' tables, empty."""
    url = new_url()
    writer = open_engine(url)
    create_all(writer)
    made = Database(url, writer, open_reader(url))
    yield made
    made.reader.dispose()
    made.writer.dispose()
