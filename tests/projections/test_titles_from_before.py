"""Is what stands in clear in an event from before shown until something takes its place?"""

from random import Random
from typing import Any

import pytest

from domain.user import messages as user
from infra.memory.log import MemoryLog
from tests.projections.histories import History, Writer
from tests.projections.tables_seen import Database, project

BOB = "user/bob"
BORN = [user.UserCreated("bob", "pw-1", "Bob"), user.UserLinked("https://id.example.org", "b-1")]


async def row_after(database: Database, *events: Any) -> Any:
    log, history = MemoryLog(2), History(Random(0))
    history.record(BOB, *events)
    Writer(log).write(history.streams[BOB])
    await project(log, database)
    (row,) = database.rows()["users"]
    return row


@pytest.mark.parametrize(
    ("after", "title", "sealed"),
    [
        ([], "Bob", None),
        ([user.UserRetitled("Robert")], "Robert", None),
        ([user.TitleChanged("vault-1")], "", "vault-1"),
        ([user.TitleChanged("vault-1"), user.UserRetitled("Robert")], "Robert", None),
        ([user.TitleChanged(None)], "", None),
        ([user.UserErased()], "", None),
    ],
)
async def test_the_row_has_the_last_title_that_was_given(database: Database, after: list[Any], title: str, sealed: str | None):
    row = await row_after(database, *BORN, *after)
    assert (row["title"], row["sealed_title"]) == (title, sealed)


async def test_whom_a_provider_names_is_a_digest_in_the_row_once_it_is_linked_by_one(database: Database):
    assert (await row_after(database, *BORN))["linked"] == {"issuer": "https://id.example.org", "subject": "b-1"}


async def test_the_digest_takes_the_place_of_what_stood_there_in_clear(database: Database):
    row = await row_after(database, *BORN, user.IdentityLinked("digest", "vault-1"))
    assert row["linked"] == {"identity": "digest", "secret": "vault-1"}


async def test_after_an_erasure_the_row_has_nothing_of_the_person(database: Database):
    row = await row_after(database, *BORN, user.RoleGranted("viewer"), user.UserErased())
    assert (row["password"], row["linked"], row["roles"], row["disabled"], row["erased"]) == (None, None, [], True, True)
