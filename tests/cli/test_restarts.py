"""When does a supervisor start again what has ended, and what does it say?"""

from infra.cli.restarts import STEADY_S, Restarts
from infra.deploy.services.native_process import ServiceFailed


class Process:
    """One that ends when a test says so."""

    def __init__(self) -> None:
        self.pid, self.ended, self.launched, self.refuses = 1, False, 0, False

    def has_ended(self) -> bool:
        return self.ended

    def launch(self) -> None:
        self.launched += 1
        if self.refuses:
            raise ServiceFailed("no room")
        self.ended = False


def test_what_ended_is_said_and_started_again_a_second_later_and_nothing_else_is() -> None:
    said: list[str] = []
    redis, kafka = Process(), Process()
    restarts = Restarts({"redis": redis, "kafka": kafka}, 30, said.append)
    assert restarts.look(100.0) == [] and said == []
    redis.ended = True
    assert [restarts.look(now) for now in (100.0, 100.5, 101.0, 101.5)] == [[], [], ["redis"], []]
    assert (redis.launched, kafka.launched, said) == (1, 0, ["redis ended; starting it again"])


def waits(process: Process, restarts: Restarts, begin: float, times: int) -> list[float]:
    """How long each start took to come, of a process that ends as soon as it is started."""
    found, now = [], begin
    for _ in range(times):
        process.ended, ended = True, now
        while not restarts.look(now):
            now += 0.5
        found.append(now - ended)
    return found


def test_what_ends_again_and_again_is_started_ever_later_until_it_has_run_for_a_while() -> None:
    said: list[str] = []
    process = Process()
    restarts = Restarts({"redis": process}, 10, said.append)
    assert waits(process, restarts, 0.0, 6) == [1, 2, 4, 8, 10, 10]
    assert said[-1] == "redis ended; starting it again in 10 s"
    assert waits(process, restarts, 35.0 + STEADY_S, 2) == [1, 2]


def test_what_cannot_be_started_says_why_is_tried_again_and_is_in_nobody_s_way() -> None:
    said: list[str] = []
    stuck, other = Process(), Process()
    stuck.refuses = stuck.ended = other.ended = True
    restarts = Restarts({"postgres": stuck, "redis": other}, 30, said.append)
    restarts.look(0.0)
    assert restarts.look(1.0) == ["redis"]
    assert "postgres could not be started: no room" in said
    stuck.refuses = False
    assert [restarts.look(now) for now in (1.2, 3.0, 3.2)] == [[], [], ["postgres"]]
