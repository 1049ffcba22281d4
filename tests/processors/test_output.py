"""What a step writes reaches the log decoded, masked, capped and in order, and is there before its end is told."""

import asyncio
import threading
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.executor.masking import Forms
from processors.executor.output import CHUNK_CHARACTERS, Attempt, OutputPublisher, StepOutput
from processors.processor import Clock
from schemas.log import LogUnavailable, ResultUnknown
from schemas.run_output import OutputChunk
from tests.processors.fake_time import START, FakeClock, simulated
from tests.support.builders import run_of

ATTEMPT = Attempt(run_of(), "web-01", "say", 0, 1)


class Records:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.chunks: list[OutputChunk] = []
        self.times: list[float] = []

    async def publish(self, partition: Any, records: Any) -> int:
        await asyncio.sleep(0.001)
        if self.failures:
            raise self.failures.pop(0)
        self.chunks += records
        self.times += [asyncio.get_running_loop().time()] * len(records)
        return len(self.chunks)


def publisher(records: Records, kept: int = 100_000_000, clock: Clock | None = None) -> OutputPublisher:
    return OutputPublisher(records, 4, clock or FakeClock(), asyncio.sleep, kept)


class Stopped(FakeClock):
    """For threads, which have no event loop."""

    def now(self) -> datetime:
        return START


def shown(records: Records, stream: str = "stdout") -> str:
    return "".join(chunk.text for chunk in records.chunks if chunk.stream == stream)


def written(*data: bytes, secrets: tuple[str, ...] = (), cap: int = 10_000_000) -> Records:
    """What is published when a step writes these pieces to its stdout."""

    async def story() -> Records:
        records = Records()
        output = publisher(records).open(ATTEMPT, Forms(secrets), cap)
        for piece in data:
            output.write("stdout", piece)
        assert await output.finish() == (len(records.chunks) or None)
        return records

    return simulated(story())


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=10))
@settings(max_examples=200, deadline=None)
def test_bytes_are_decoded_alike_however_they_are_cut(data: bytes, cuts: list[int]):
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    assert shown(written(*pieces)) == data.decode("utf-8", "replace").replace("\x00", "\ufffd")


def test_undecodable_bytes_and_nul_are_shown_as_replacement_characters():
    assert shown(written(b"\xff\xfe caf\xc3", b"\xa9 \x00.\xc3")) == "\ufffd\ufffd caf\u00e9 \ufffd.\ufffd"


def test_the_two_streams_are_kept_apart_and_in_order():
    async def story() -> None:
        records = Records()
        output = publisher(records).open(ATTEMPT, Forms([]))
        for number in range(200):
            output.write("stderr" if number % 3 == 0 else "stdout", f"{number}\n".encode())
        await output.finish()
        assert [chunk.sequence for chunk in records.chunks] == list(range(1, len(records.chunks) + 1))
        assert "".join(chunk.text for chunk in records.chunks) == "".join(f"{number}\n" for number in range(200))

    simulated(story())


def test_what_is_written_shows_within_a_second_and_a_possible_secret_waits_for_its_end():
    async def story() -> None:
        records = Records()
        output = publisher(records).open(ATTEMPT, Forms(["hunter2"]))
        output.write("stdout", b"Password: hunter")
        await asyncio.sleep(0.9)
        assert shown(records) == "Password: "
        await asyncio.sleep(60)
        assert shown(records) == "Password: "
        output.write("stdout", b"2")
        await asyncio.sleep(0.9)
        assert shown(records) == "Password: ***"
        output.write("stdout", b"hunt")
        await output.finish()
        assert shown(records) == "Password: ***hunt"

    simulated(story())


def test_an_ended_step_does_not_wait_for_the_next_time_to_publish():
    async def story() -> None:
        records = Records()
        output = publisher(records).open(ATTEMPT, Forms([]))
        output.write("stdout", b"ok\n")
        assert await output.finish() == 1
        assert asyncio.get_running_loop().time() < 0.05

    simulated(story())


async def test_many_threads_that_have_written_go_one_way_into_the_loop(monkeypatch: pytest.MonkeyPatch):
    records, ways = Records(), list[object]()
    publishes = publisher(records, clock=Stopped())
    outputs = [publishes.open(replace(ATTEMPT, target=f"web-{number:02}"), Forms([])) for number in range(20)]
    loop = asyncio.get_running_loop()
    into = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (ways.append(call), into(*call)))
    threads = [threading.Thread(target=output.write, args=("stdout", b"ok\n")) for output in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # the loop stands still meanwhile
    assert len(ways) == 1
    await asyncio.gather(*(output.finish() for output in outputs))
    assert sorted(chunk.target for chunk in records.chunks) == [f"web-{number:02}" for number in range(20)]


def test_a_step_that_wrote_nothing_has_no_output_end():
    assert written().chunks == []


def test_a_stream_is_cut_at_its_cap_and_says_so_and_the_other_goes_on():
    async def story() -> None:
        records = Records()
        output = publisher(records).open(ATTEMPT, Forms([]), 100_000)
        for _ in range(40):
            output.write("stdout", b"x" * 10_000)
        output.write("stderr", b"still here\n")
        await output.finish()
        assert shown(records) == "x" * 100_000 + "\n[output capped at 100000 bytes]\n"
        assert shown(records, "stderr") == "still here\n"
        assert max(len(chunk.text) for chunk in records.chunks) <= CHUNK_CHARACTERS

    simulated(story())


def test_a_secret_that_lies_across_the_cap_is_not_shown_in_part():
    assert shown(written(b"x" * 95 + b"hunter2-hunter2", secrets=("hunter2-hunter2",), cap=100)) == (
        "x" * 95 + "\n[output capped at 100 bytes]\n"
    )


def test_publishing_that_fails_is_tried_again_and_nothing_is_lost():
    async def story() -> None:
        records = Records(LogUnavailable("no"), ResultUnknown("perhaps"), LogUnavailable("no"))
        output = publisher(records).open(ATTEMPT, Forms([]))
        output.write("stdout", b"hello")
        assert await output.finish() == 1
        assert shown(records) == "hello"

    simulated(story())


def test_while_the_log_cannot_be_reached_memory_is_bounded_and_the_cut_is_said():
    async def story() -> None:
        records = Records(*[LogUnavailable("no")] * 20)
        output = publisher(records, kept=50_000).open(ATTEMPT, Forms([]))
        for _ in range(100):
            output.write("stdout", b"x" * 10_000)
            await asyncio.sleep(0.01)
        await output.finish()
        assert 50_000 < len(shown(records)) < 70_000
        assert shown(records).endswith("\n[output cut: the log could not be reached in time]\n")

    simulated(story())


async def test_threads_may_write_while_the_loop_publishes():
    records = Records()
    many = publisher(records, clock=Stopped())

    def write(output: StepOutput) -> None:
        for number in range(2_000):
            output.write("stdout", f"{number}\n".encode())

    outputs = [many.open(Attempt(run_of(number=n), "web-01", "say", 0, 1), Forms([])) for n in range(4)]
    threads = [threading.Thread(target=write, args=(output,)) for output in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await asyncio.gather(*(output.finish() for output in outputs))
    for number in range(4):
        mine = "".join(chunk.text for chunk in records.chunks if chunk.run == run_of(number=number))
        assert mine == "".join(f"{line}\n" for line in range(2_000))
