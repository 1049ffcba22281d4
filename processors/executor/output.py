"""How does what a step writes get to its readers? Decoded, masked, capped, in chunks, in order, while the step runs.

The connector's threads write into a `StepOutput`, which never blocks and never raises; a publisher in the event loop sends what
has gathered every fifth of a second, or at once when a step has ended. Memory is bounded twice: a stream of an attempt is cut at
its cap, and while the log cannot be reached the executor keeps a stated amount; both cuts are said in the output itself.
"""

import asyncio
import threading
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from domain.identity import RUN, stream_of
from processors.delivery import Sleep
from processors.executor.masking import Forms, Masker
from processors.processor import Clock
from schemas.log import LogUnavailable, RecordSender, ResultUnknown
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.run_output import OutputChunk, StreamName
from schemas.topics import RUN_OUTPUT

CAP_BYTES = 10 * 1024 * 1024
"""How much of each stream of one attempt of a step is kept."""

KEPT_BYTES = 256 * 1024 * 1024
"""How much an executor keeps that is not published yet, over all its steps."""

CHUNK_CHARACTERS = 32_768
"""The longest text of one chunk; at most 64 kB as UTF-8 but for rare scripts and control characters."""

BATCH_CHARACTERS = 262_144
"""How much text is published at a time."""

SHOW_EVERY_S = 0.2
RETRY_S = 0.5
STREAMS: tuple[StreamName, ...] = ("stdout", "stderr")


class OutputUnpublished(Exception):
    """The publisher ended before a step's output was published."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whose output it is."""

    run: str
    target: str
    step: str
    step_index: int
    attempt: int


class _Stream:
    """One stream on its way from bytes to text that may be shown."""

    def __init__(self, forms: Forms, cap: int) -> None:
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._masker = Masker(forms)
        self._cap = cap
        self._room = cap
        self._is_cut = False

    def feed(self, data: bytes) -> str:
        kept, self._room = data[: self._room], max(0, self._room - len(data))
        shown = self._masker.feed(_storable(self._decode(kept))) if kept else ""
        return shown if len(kept) == len(data) else shown + self.cut(f"capped at {self._cap} bytes")

    def cut(self, why: str) -> str:
        """End the stream early, saying why; nothing when it is cut already. A held-back tail is not shown: it has no end."""
        if self._is_cut:
            return ""
        self._is_cut, self._room = True, 0
        return f"\n[output {why}]\n"

    def end(self) -> str:
        """What is left when the step has ended."""
        return "" if self._is_cut else self._masker.feed(_storable(self._decode(b"", True))) + self._masker.end()


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd")


@dataclass(slots=True)
class _Piece:
    stream: StreamName
    time: datetime
    parts: list[str]
    length: int


class StepOutput:
    """What one attempt of a step writes. `write` is the connector's sink."""

    def __init__(self, attempt: Attempt, forms: Forms, cap: int, publisher: "OutputPublisher") -> None:
        self._attempt = attempt
        self._publisher = publisher
        self._lock = threading.Lock()
        self._streams = {name: _Stream(forms, cap) for name in STREAMS}
        self._pieces: deque[_Piece] = deque()
        self._sequence = 0
        self._ended = False

    def write(self, stream: StreamName, data: bytes) -> None:
        """Take what was read; from any thread, one at a time."""
        with self._lock:
            if self._ended:
                return
            self._put(stream, self._streams[stream].feed(data))
            if self._publisher.is_full:
                for name, each in self._streams.items():
                    self._put(name, each.cut("cut: the log could not be reached in time"))
        self._publisher.wake(self)

    async def finish(self) -> int | None:
        """Let go of held-back tails and publish everything; the offset after the last chunk, or None when nothing was written.

        Raises `OutputUnpublished` when the publisher was closed meanwhile.
        """
        with self._lock:
            self._ended = True
            for name, stream in self._streams.items():
                self._put(name, stream.end())
        return await self._publisher.drain(self)

    def _put(self, stream: StreamName, text: str) -> None:
        if not text:
            return
        self._publisher.count(len(text))
        last = self._pieces[-1] if self._pieces else None
        if last and last.stream == stream and last.length + len(text) <= CHUNK_CHARACTERS:
            last.parts.append(text)
            last.length += len(text)
            return
        time = self._publisher.clock.now()
        for at in range(0, len(text), CHUNK_CHARACTERS):
            part = text[at : at + CHUNK_CHARACTERS]
            self._pieces.append(_Piece(stream, time, [part], len(part)))

    def take(self, limit: int) -> list[OutputChunk]:
        """The next chunks, up to about `limit` characters."""
        chunks: list[OutputChunk] = []
        a = self._attempt
        with self._lock:
            while self._pieces and limit > 0:
                piece = self._pieces.popleft()
                self._sequence += 1
                limit -= piece.length
                chunks.append(
                    OutputChunk(
                        run=a.run,
                        target=a.target,
                        step=a.step,
                        step_index=a.step_index,
                        attempt=a.attempt,
                        stream=piece.stream,
                        sequence=self._sequence,
                        time=piece.time,
                        text="".join(piece.parts),
                    )
                )
        return chunks

    @property
    def shard_key(self) -> str:
        """The stream whose shard the chunks live in."""
        return stream_of(RUN, self._attempt.run)


@dataclass(slots=True)
class _Lane:
    """What waits for one partition."""

    partition: Partition
    waiting: dict[StepOutput, None] = field(default_factory=dict)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    drained: dict[StepOutput, asyncio.Future[None]] = field(default_factory=dict)
    ends: dict[StepOutput, int] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class OutputPublisher:
    """Publishes what all steps of an executor write: one task a partition, so that order holds and one does not stop another."""

    def __init__(self, records: RecordSender, shards: int, clock: Clock, sleep: Sleep, kept: int = KEPT_BYTES) -> None:
        self._records = records
        self._shards = shards
        self.clock = clock
        self._sleep = sleep
        self._kept = kept
        self._lanes: dict[int, _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count_lock = threading.Lock()
        self._unpublished = 0
        self._wake_lock = threading.Lock()
        self._woken: dict[StepOutput, None] = {}

    def open(self, attempt: Attempt, forms: Forms, cap: int = CAP_BYTES) -> StepOutput:
        """A place for one attempt's output; called in the event loop. The clock is also read in the threads that write."""
        self._loop = asyncio.get_running_loop()
        return StepOutput(attempt, forms, cap, self)

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be kept."""
        return self._unpublished > self._kept

    def count(self, characters: int) -> None:
        """That much more is kept (or, negative, less)."""
        with self._count_lock:
            self._unpublished += characters

    def wake(self, output: StepOutput) -> None:
        """There is something to publish; from any thread. All who say so before the loop gets to it go one way there."""
        with self._wake_lock:
            is_first = not self._woken
            self._woken[output] = None
        assert self._loop
        if is_first:
            with suppress(RuntimeError):  # the loop is closed: the process ends, and with it everybody who could publish
                self._loop.call_soon_threadsafe(self._awake)

    def _awake(self) -> None:
        with self._wake_lock:
            woken, self._woken = self._woken, {}
        for output in woken:
            self._lane(output).waiting[output] = None

    def _lane(self, output: StepOutput) -> _Lane:
        shard = shard_of(output.shard_key, self._shards)
        lane = self._lanes.get(shard)
        if lane is None:
            lane = self._lanes[shard] = _Lane(Partition(RUN_OUTPUT, shard))
        if lane.task is None or lane.task.done():
            lane.task = asyncio.get_running_loop().create_task(self._publishing(lane), name=f"run output {shard}")
        return lane

    async def drain(self, output: StepOutput) -> int | None:
        """Return when everything the ended `output` holds is published: the offset after it, or None for nothing ever."""
        lane = self._lane(output)
        lane.waiting[output] = None
        done = lane.drained[output] = asyncio.get_running_loop().create_future()
        lane.hurry.set()
        try:
            await done
        finally:
            lane.drained.pop(output, None)
            end = lane.ends.pop(output, None)
        return end

    async def _publishing(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SHOW_EVERY_S):
                        await lane.hurry.wait()
                lane.hurry.clear()
                await self._publish_all(lane)
        finally:
            for left in lane.drained.values():
                if not left.done():
                    left.set_exception(OutputUnpublished())

    async def _publish_all(self, lane: _Lane) -> None:
        while lane.waiting:
            batch, sources = self._batch(lane)
            if batch:
                end = await self._published(lane.partition, batch)
                lane.ends.update(dict.fromkeys(sources, end))
            for output in [o for o in lane.drained if o not in lane.waiting and not lane.drained[o].done()]:
                lane.drained[output].set_result(None)

    def _batch(self, lane: _Lane) -> tuple[list[OutputChunk], list[StepOutput]]:
        batch: list[OutputChunk] = []
        sources: list[StepOutput] = []
        room = BATCH_CHARACTERS
        for output in list(lane.waiting):
            chunks = output.take(room)
            room -= sum(len(chunk.text) for chunk in chunks)
            if chunks:
                sources.append(output)
                batch += chunks
            del lane.waiting[output]
            if room <= 0:
                lane.waiting[output] = None  # behind the others: it may hold more
                break
        return batch, sources

    async def _published(self, partition: Partition, batch: Sequence[OutputChunk]) -> int:
        characters = sum(len(chunk.text) for chunk in batch)
        while True:
            try:
                end = await self._records.publish(partition, batch)
            except (LogUnavailable, ResultUnknown):
                # Perhaps it was written: then it comes twice, under the same sequence numbers.
                await self._sleep(RETRY_S)
                continue
            self.count(-characters)
            return end

    async def close(self) -> None:
        """Stop publishing; what is not published is given up."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
