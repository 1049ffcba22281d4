"""Are the queries answered alike by Postgres?"""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from sqlalchemy import create_engine, make_url, text

from api.queries import users
from domain.user.messages import SignInWithProvider
from projections.tables import users as table
from schemas.actor import Actor
from schemas.command_envelope import CommandEnvelope
from schemas.payload import to_json
from tests.api import (
    test_as_of,
    test_audit_trail,
    test_limits,
    test_lists,
    test_personal_data,
    test_roles,
    test_runs,
    test_secrets,
    test_sweeping,
    test_writes,
)
from tests.api.conftest import job, made
from tests.api.server import Server, serving


@pytest_asyncio.fixture
async def server(tmp_path: Path, postgres_url: str) -> AsyncIterator[Server]:
    name, shared = f"api_{uuid.uuid4().hex}", make_url(postgres_url).set(drivername="postgresql+psycopg")
    maintenance = create_engine(shared, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    async with serving(tmp_path, own) as running:
        yield running
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


async def test_lists_page_alike(server):
    await test_lists.test_pages_have_no_gaps_and_no_repeats_in_any_order(server)


async def test_selectors_mean_the_same(server):
    await test_lists.test_selectors_mean_the_same_here_as_in_a_plan(server)


async def test_the_audit_trail_is_searched_alike(server):
    await test_lists.test_the_audit_trail_is_searched_by_who_what_when_and_words(server)


async def test_runs_are_shown_and_followed_alike(server):
    await test_runs.test_a_final_run_is_complete(server)


async def test_writes_are_seen_alike(server):
    await test_writes.test_read_your_own_writes_in_a_list(server)


async def test_what_is_beyond_a_limit_is_left_out_alike(server):
    await test_limits.test_the_audit_trail_shows_the_streams_that_may_be_read(server)


async def test_of_a_run_only_the_targets_within_the_limit_are_shown_alike(server):
    await test_limits.test_of_a_run_only_the_targets_within_the_limit_are_shown(server)


async def test_roles_are_listed_alike(server):
    await test_roles.test_built_in_roles_are_listed_among_the_others_and_cannot_be_touched(server)


async def test_secrets_are_rotated_alike(server):
    await test_secrets.test_rotating_seals_for_the_next_revision_also_when_another_was_first(server)


async def test_a_nul_in_a_filter_or_a_name_is_never_a_5xx(server):
    await made(server, "/jobs", job())
    for path in ("/runs?job=a%00b", "/audit/events?q=a%00b", "/jobs/a%00b", "/targets?selector=a%3D%00", "/runs/a.%00"):
        assert (await server.get(path)).status_code in (404, 422), path
    assert (await server.sign_in("a\x00b", "x")).status_code == 401


async def test_things_and_lists_are_shown_as_they_were_alike(server):
    await test_as_of.test_a_list_is_shown_as_it_was_with_its_filters_and_pages(server)
    await test_as_of.test_runs_are_listed_by_the_state_they_had(server)


async def test_new_events_are_followed_alike(server):
    await test_audit_trail.test_new_events_of_all_shards_are_followed_and_resumed_without_gap_or_repeat(server)


async def test_the_audit_trail_is_exported_alike(server, monkeypatch):
    await test_audit_trail.test_an_export_holds_every_event_once_in_order_and_obeys_the_filters(server, monkeypatch)


async def test_who_is_linked_is_found_alike(server):
    who = SignInWithProvider("carol", "c'1", ("viewer",), "idp-session")
    envelope = CommandEnvelope(
        command_id=uuid.uuid4(),
        type="SignInWithProvider",
        stream="user/carol",
        payload=to_json(who),
        actor=Actor("user", "carol"),
        correlation_id="c",
        time=server.clock.now(),
        fingerprint="f",
    )
    await server.log.sender.send(envelope)
    assert (await server.get("/users/carol", headers={"Ops-Min-Version": "user/carol@4"})).status_code == 200
    with server.given.engine.connect() as connection:
        assert users.name_of_identity(connection, "c'1") == "carol"
        assert users.name_of_identity(connection, "c'2") is None
    before = {"issuer": "https://id.example.org", "subject": "d'1"}
    with server.given.vault._writer.begin() as connection:
        connection.execute(table.update().where(table.c.name == "carol").values(linked=before))
    with server.given.engine.connect() as connection:
        assert users.name_of_linked(connection, "https://id.example.org", "d'1") == "carol"
        assert users.name_of_linked(connection, "https://id.example.org", "d'2") is None
        assert users.name_of_identity(connection, "c'1") is None


async def test_an_erased_user_is_nobody_alike(server):
    await test_personal_data.test_of_an_erased_user_nothing_but_the_name_is_left(server)


async def test_read_models_rebuilt_after_an_erasure_are_alike(server):
    await test_personal_data.test_read_models_rebuilt_after_an_erasure_are_as_they_were(server)


async def test_a_secret_sealed_again_while_it_is_swept_is_there_afterwards(server, monkeypatch):
    assert await test_sweeping.sealed_again_in_the_midst(server, monkeypatch, before=True) == []


async def test_whoever_seals_again_what_is_being_destroyed_waits_and_seals_anew(server, monkeypatch):
    assert await test_sweeping.sealed_again_in_the_midst(server, monkeypatch, before=False) == ["sent twice"]


async def test_sealed_again_it_is_counted_anew(server):
    await test_sweeping.test_a_secret_that_is_sealed_again_is_counted_anew(server)
