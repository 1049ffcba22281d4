"""Is a fault counted only when it bites, and a crash point only when an owner fell there?"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tests.jepsen.faults
from infra.deploy.services.kafka import KafkaCluster
from tests.jepsen.faults import KINDS, Fault, Trouble
from tests.jepsen.proxy import Proxies
from tests.jepsen.world import OWNERS, World
from tests.roles.harness import Installation
from tests.support.eventually import eventually

ONE_EACH = [Fault(kind, {"k": "api", "f": "api"}.get(kind[0], "commands-1"), 0.0, 0.1) for kind in KINDS if "broker" not in kind]


class Sleeping(Installation):
    """Roles that do nothing."""

    def role(self, name: str) -> list[str]:
        return ["sleep", "60"]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    roles, proxies = Sleeping(tmp_path / "home", {name: {} for name in ("api", *OWNERS)}, {}), Proxies()
    roles.start()
    yield World(KafkaCluster([]), proxies, roles, tmp_path)
    roles.end_all()
    proxies.close()


Troubled = Callable[[list[Fault]], Trouble]


@pytest.fixture
def troubled(there: World, monkeypatch: pytest.MonkeyPatch) -> Troubled:
    monkeypatch.setattr(tests.jepsen.faults, "MET_WITHIN_S", 0.05)
    monkeypatch.setattr(tests.jepsen.faults, "ALONE_FOR_S", 0.1)
    monkeypatch.setattr(tests.jepsen.faults, "ARMED_FOR_S", 0.5)

    def made(faults: list[Fault]) -> Trouble:
        monkeypatch.setattr(tests.jepsen.faults, "drawn", lambda *_: iter(faults))
        return Trouble(there, lambda _: None, 1, (0.0, 0.0))

    return made


def test_what_comes_to_a_living_process_counts_and_what_meets_nobody_does_not(troubled: Troubled) -> None:
    trouble = troubled([fault for fault in ONE_EACH if not fault.kind.startswith("kill")])
    trouble.draw("7")
    assert set(trouble.met) == {"freeze owner", "freeze reader", "clock"}
    assert set(trouble.met_nothing) == {fault.kind for fault in ONE_EACH} - {*trouble.met, "kill owner", "kill reader"}


def test_what_met_nothing_is_tried_once_more_after_the_next(there: World, troubled: Troubled) -> None:
    there.kill("api")
    eventually(lambda: not there.is_up("api"))
    trouble = troubled([Fault("kill reader", "api", 0.0), *[Fault("freeze owner", "commands-1", 0.0)] * 3])
    trouble.draw("7")
    assert (trouble.met, trouble.met_nothing) == ({"freeze owner": 3}, {"kill reader": 2})


def test_an_owner_can_be_armed_while_its_clock_is_set(there: World) -> None:
    def often(rig: Callable[[int], object]) -> None:
        for number in range(500):
            rig(number)

    with ThreadPoolExecutor(2) as threads:
        arming = threads.submit(often, lambda n: there.arm("commands-1", f"point-{n}", "kill"))
        setting = threads.submit(often, lambda n: there.set_clock("commands-1", n))
        arming.result(60)
        setting.result(60)
    assert (there.rig / "commands-1.armed").read_text() == "point-499 kill"
    assert (there.rig / "commands-1.clock").read_text() == "499"


def falls(there: World, who: str) -> None:
    """This owner comes by where it is armed, once it is."""
    file = there.rig / f"{who}.armed"
    eventually(file.exists)
    file.unlink()


def test_a_point_counts_when_an_owner_fell_there_and_none_stays_armed(there: World, troubled: Troubled) -> None:
    trouble = troubled([])
    trouble._fall("commands-1", "after take, before decide", "kill", 0.0)
    assert not trouble.fallen
    other = threading.Thread(target=falls, args=(there, "commands-2"))
    other.start()
    trouble._fall("commands-1", "after take, before decide", "kill", 0.0)
    other.join()
    assert trouble.fallen == {"after take, before decide": 1}
    assert not list(there.rig.glob("*.armed"))
