"""What the read models say to the executor: on real databases, projected from a real run."""

from collections.abc import Callable, Iterator

import pytest

from domain.credential import RevokeCredential
from domain.identity import CREDENTIAL, RUN, TARGET, stream_of
from domain.job.definition import Strategy
from domain.run.messages import ClaimRun
from domain.selector import parse_selector
from domain.target import ChangeTarget, RequestTargetCheck, RetireTarget
from infra.memory.state_store import MemoryStateStores
from infra.sql.engine import open_reader
from infra.sql.inventory import SqlInventory
from processors.executor.inventory import InventoryUnavailable, UnfinishedRun
from tests.commands.owning import running
from tests.processors.world import World, working
from tests.projections.tables_seen import Database, following
from tests.support.eventually import eventually_async


@pytest.fixture
def inventory(database: Database) -> Iterator[SqlInventory]:
    made = SqlInventory(database.reader)
    yield made
    made.close()


async def projected(world: World, database: Database) -> None:
    async def reached() -> bool:
        return database.reached(world.log)

    await eventually_async(reached)


async def test_it_says_what_the_events_say(database: Database, inventory: SqlInventory):
    world = World()
    async with running(world.log, MemoryStateStores()), following(world.log, database):
        await world.furnish(targets=4)
        await world.tell(ChangeTarget(labels={"role": "db"}), stream_of(TARGET, "web-001"))
        await world.tell(RetireTarget(), stream_of(TARGET, "web-002"))
        await world.tell(RequestTargetCheck("c1"), stream_of(TARGET, "web-000"))
        first, second = await world.request(1), await world.request(2)
        await world.tell(ClaimRun("executor-1", 1), stream_of(RUN, first))
        await projected(world, database)

        found = await inventory.targets(parse_selector("env=prod,role!=db"))
        assert [(t.name, t.version, t.labels) for t in found] == [
            ("web-000", 2, {"env": "prod"}),
            ("web-003", 1, {"env": "prod"}),
        ]
        assert found[1] == (await world.read_model.target("web-003")) == (await inventory.target("web-003"))
        assert [t.name for t in await inventory.targets(parse_selector("name=web-001"))] == ["web-001"]
        assert await inventory.target("web-002") is None and await inventory.target("web-009") is None
        assert await inventory.credential("key") == await world.read_model.credential("key")
        assert await inventory.job("backup", 1) == await world.read_model.job("backup", 1)
        assert await inventory.job("backup", 2) is None
        expected = [UnfinishedRun(first, 2, "executor-1", 1), UnfinishedRun(second, 1, None, 0)]
        assert sorted(await inventory.unfinished_runs(), key=str) == sorted(expected, key=str)
        assert await inventory.open_checks() == [("web-000", "c1")]
        assert await inventory.history(stream_of(RUN, first)) == await world.read_model.history(stream_of(RUN, first))
        assert not await inventory.are_final([first]) and await inventory.are_final([])

        await world.tell(RevokeCredential(), stream_of(CREDENTIAL, "key"))
        await projected(world, database)
        assert await inventory.credential("key") is None


async def test_an_executor_works_from_it(database: Database, inventory: SqlInventory):
    world = World()
    world.fleet.seconds = 0.01
    async with following(world.log, database), working(world, inventory=inventory):
        await world.furnish(targets=20, strategy=Strategy(parallelism=5))
        await projected(world, database)
        run = await world.request()
        end = await world.finished(run)
        assert (end.state, end.targets) == ("succeeded", {"succeeded": 20})
        await projected(world, database)
        assert await inventory.are_final([run]) and await inventory.unfinished_runs() == []
        await world.sound(run)


async def test_a_database_that_cannot_be_asked_is_said_to_be_unavailable(new_url: Callable[[], str]):
    inventory = SqlInventory(open_reader(new_url()))
    with pytest.raises(InventoryUnavailable):
        await inventory.unfinished_runs()
    inventory.close()
