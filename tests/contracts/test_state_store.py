"""What every state store promises."""

import asyncio
import sqlite3
from uuid import UUID

import pytest

from commands.state_store import Changes, Found, Kept, Mark, Needs, StateStoreFailed, StateStoreInUse
from infra.memory.state_store import MemoryStateStores
from infra.sqlite.state_store import SqliteStateStores
from schemas.position import Partition

WINDOW = 5
MARK = Mark({Partition("targets", 3): 17, Partition("outcomes", 3): 40}, {"targets": "ab" * 32})


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request, tmp_path):
    opened = MemoryStateStores(WINDOW) if request.param == "memory" else SqliteStateStores(tmp_path, "v1", WINDOW)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_stores(tmp_path):
    opened = SqliteStateStores(tmp_path / "below", "v1", WINDOW)
    yield opened
    await opened.close()


def changes(streams=(), rosters=(), outcomes=(), mark=MARK):
    return Changes(
        {name: Kept(version, state) for name, version, state in streams},
        dict(rosters),
        {UUID(int=number): b"outcome %d" % number for number in outcomes},
        mark,
    )


async def test_a_new_store_is_empty(stores):
    store = await stores.open(3)
    assert await store.mark() == Mark()
    assert await store.load(Needs(["target/a"], ["job/b"], [UUID(int=1)])) == Found()


async def test_what_was_saved_is_found_after_opening_again(stores):
    store = await stores.open(3)
    saved = changes([("target/a", 2, b"{}"), ("run/b.1", 7, b'{"x": "\xc3\xa4"}')], [("job/b", b'["b.1"]')], [1, 2])
    await store.save(saved)
    await store.close()
    store = await stores.open(3)
    assert await store.mark() == MARK
    needs = Needs(["target/a", "target/none", "run/b.1"], ["job/b", "job/none"], [UUID(int=2), UUID(int=9)])
    assert await store.load(needs) == Found(
        {"target/a": Kept(2, b"{}"), "run/b.1": Kept(7, b'{"x": "\xc3\xa4"}')}, {"job/b": b'["b.1"]'}, {UUID(int=2): b"outcome 2"}
    )


async def test_the_newest_state_roster_and_mark_replace_the_older_ones_and_the_first_outcome_stays(stores):
    store = await stores.open(3)
    await store.save(changes([("target/a", 1, b"1")], [("job/b", b"[1]")], [1], Mark({Partition("targets", 3): 1})))
    await store.save(Changes({"target/a": Kept(2, b"2")}, {"job/b": b"[]"}, {UUID(int=1): b"another"}, MARK))
    found = await store.load(Needs(["target/a"], ["job/b"], [UUID(int=1)]))
    assert found == Found({"target/a": Kept(2, b"2")}, {"job/b": b"[]"}, {UUID(int=1): b"outcome 1"})
    assert await store.mark() == MARK


async def test_only_the_newest_outcomes_are_remembered(stores):
    store = await stores.open(3)
    await store.save(changes(outcomes=[9, 8, 7, 6]))
    await store.save(changes(outcomes=[5, 4, 3]))
    found = await store.load(Needs(outcomes=[UUID(int=n) for n in range(10)]))
    assert sorted(i.int for i in found.outcomes) == [3, 4, 5, 6, 7]


async def test_shards_have_stores_of_their_own(stores):
    one, other = await stores.open(1), await stores.open(2)
    await one.save(changes([("target/a", 1, b"1")]))
    assert await other.mark() == Mark()
    assert await other.load(Needs(["target/a"])) == Found()


async def test_a_discarded_store_is_empty_and_usable(stores):
    store = await stores.open(3)
    await store.save(changes([("target/a", 1, b"1")], [("job/b", b"[]")], [1]))
    await store.discard()
    assert await store.mark() == Mark()
    assert await store.load(Needs(["target/a"], ["job/b"], [UUID(int=1)])) == Found()
    await store.save(changes([("target/a", 2, b"2")]))
    assert (await store.load(Needs(["target/a"]))).streams == {"target/a": Kept(2, b"2")}


async def test_thousands_of_streams_are_looked_up_at_once(stores):
    store = await stores.open(3)
    names = [f"target/t-{n}" for n in range(3_000)]
    await store.save(changes([(name, 1, b"{}") for name in names]))
    assert len((await store.load(Needs(names, names, []))).streams) == 3_000


async def test_shards_asked_at_once_each_get_their_own_answer(stores):
    opened = [await stores.open(shard) for shard in range(4)]
    saves = [store.save(changes([("target/a", shard + 1, b"%d" % shard)])) for shard, store in enumerate(opened)]
    await asyncio.gather(*saves)
    found = await asyncio.gather(*(store.load(Needs(["target/a"])) for store in opened))
    assert [each.streams["target/a"] for each in found] == [Kept(shard + 1, b"%d" % shard) for shard in range(4)]


# --- what only files can do -------------------------------------------------------------------------------------------


async def saved_file(sqlite_stores, tmp_path):
    store = await sqlite_stores.open(3)
    await store.save(changes([("target/a", 1, b"1")]))
    await store.close()
    (file,) = (tmp_path / "below").glob("*.sqlite")
    return file


async def test_another_versions_snapshots_are_thrown_away(sqlite_stores, tmp_path):
    await saved_file(sqlite_stores, tmp_path)
    newer = SqliteStateStores(tmp_path / "below", "v2", WINDOW)
    store = await newer.open(3)
    assert await store.mark() == Mark()
    assert await store.load(Needs(["target/a"])) == Found()
    await store.close()
    await newer.close()


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500])
async def test_a_file_that_is_no_store_is_thrown_away(sqlite_stores, tmp_path, damage):
    file = await saved_file(sqlite_stores, tmp_path)
    file.write_bytes(damage)
    store = await sqlite_stores.open(3)
    assert await store.mark() == Mark()
    await store.save(changes([("target/a", 2, b"2")]))
    await store.close()


async def test_a_file_that_breaks_later_says_so_and_can_be_discarded(sqlite_stores, tmp_path):
    file = await saved_file(sqlite_stores, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:12_288] + b"\xff" * (len(whole) - 12_288))  # the pages after the schema, fingerprint and mark
    store = await sqlite_stores.open(3)
    with pytest.raises(StateStoreFailed):
        await store.load(Needs(["target/a"], ["job/b"], [UUID(int=1)]))
        await store.mark()
        await store.save(changes([("target/a", 2, b"2")]))
    await store.discard()
    assert await store.mark() == Mark()
    await store.close()


async def test_a_failed_save_leaves_nothing_of_itself(sqlite_stores):
    store = await sqlite_stores.open(3)
    await store.save(changes([("target/a", 1, b"1")]))
    with pytest.raises(StateStoreFailed):
        await store.save(Changes({"target/a": Kept(2, b"2")}, {"job/b": None}, {}, Mark()))
    assert (await store.load(Needs(["target/a"]))).streams == {"target/a": Kept(1, b"1")}
    assert await store.mark() == MARK
    await store.close()


async def test_a_save_that_fails_fails_alone_among_those_made_at_once(sqlite_stores):
    one, other = await sqlite_stores.open(1), await sqlite_stores.open(2)
    bad = Changes({"target/a": Kept(1, b"1")}, {"job/b": None}, {}, Mark())
    failed, saved = await asyncio.gather(one.save(bad), other.save(changes([("target/a", 1, b"1")])), return_exceptions=True)
    assert isinstance(failed, StateStoreFailed)
    assert saved is None
    assert (await other.load(Needs(["target/a"]))).streams == {"target/a": Kept(1, b"1")}
    assert await one.load(Needs(["target/a"])) == Found()


async def test_a_save_whose_caller_was_cancelled_ends_before_the_next_call(sqlite_stores):
    store = await sqlite_stores.open(3)
    saving = asyncio.create_task(store.save(changes([("target/a", 1, b"1")])))
    await asyncio.sleep(0)
    saving.cancel()
    assert (await store.load(Needs(["target/a"]))).streams == {"target/a": Kept(1, b"1")}
    assert saving.cancelled()


async def test_a_store_in_use_is_refused_to_a_second_process(sqlite_stores, tmp_path):
    file = await saved_file(sqlite_stores, tmp_path)
    other = sqlite3.connect(file)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StateStoreInUse):
        await sqlite_stores.open(3)
    other.rollback()
    other.close()
    assert file.exists()
