"""How does a record get into the log outside of transactions?"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.settings import KafkaLogSettings, producer
from schemas.log import LogError, LogUnavailable, RecordTooLarge, ResultUnknown
from schemas.position import Partition
from schemas.topics import MAX_RECORD_BYTES
from schemas.wire import WireRecord

_LOG = logging.getLogger(__name__)

_FRAMING_BYTES = 1024
_HEADER_NAME_BYTES = 32
"""More than the name of any header of ours takes."""

_REACH_S = 1.0

_NOT_WRITTEN = frozenset(
    {
        KafkaError._PURGE_QUEUE,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.INVALID_RECORD,
    }
)
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

Acknowledged = asyncio.Future[int]
"""Resolves to a record's offset, or to one of the log's errors."""


def check_size(record: WireRecord) -> None:
    """Raises `RecordTooLarge` when the record, framed as a batch of its own, would exceed the topics' limit."""
    about = len(record.key) + len(record.value) + sum([_HEADER_NAME_BYTES + len(value) for _, value in record.headers])
    if about + _FRAMING_BYTES <= MAX_RECORD_BYTES:
        return  # every record of every transaction comes by here
    size = len(record.key) + len(record.value) + sum(len(name) + len(value) for name, value in record.headers)
    if size + _FRAMING_BYTES > MAX_RECORD_BYTES:
        raise RecordTooLarge(f"{size} bytes; the limit is {MAX_RECORD_BYTES - _FRAMING_BYTES}")


def error_for(error: KafkaError) -> LogError:
    """What a failed delivery means to the sender."""
    if error.code() in _TOO_LARGE:
        return RecordTooLarge(error.str())
    if error.code() in _NOT_WRITTEN:
        return LogUnavailable(error.str())
    return ResultUnknown(error.str())


class PlainProducer:
    """An idempotent producer and the thread that serves its delivery reports.

    While no broker can be reached nothing new is accepted, so that those who come then hear that nothing was written; only what
    was under way when the connection went is in doubt. A client may lose its brokers for good and not say so
    (confluentinc/librdkafka#5301): who finds none after a record was not acknowledged in time is replaced, and else who finds
    none for as long as a send may take. What it still has then is told to be in doubt, or not written where it never left.
    """

    def __init__(self, settings: KafkaLogSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._reports: deque[tuple[Acknowledged, KafkaError | None, int]] = deque()
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._down = False
        self._broken = False
        self._overdue = False
        self._looking_since: float | None = None
        self._closing = False
        self._producer = self._made()
        self._thread = threading.Thread(target=self._serve, name="kafka-deliveries", daemon=True)
        self._thread.start()

    async def put(self, partition: Partition, records: Sequence[WireRecord]) -> int:
        """Append in order, durably; the offset after the last record.

        Raises `RecordTooLarge` (nothing of the group was written), `LogUnavailable` or, as soon as one of several records may
        have been written, `ResultUnknown`.
        """
        for record in records:
            check_size(record)
        await self._await_reachable()
        pending: list[Acknowledged] = []
        try:
            for record in records:
                pending.append(self._produce(partition, record))
        except (BufferError, KafkaException) as error:
            if not pending:
                raise LogUnavailable(str(error)) from error
            await asyncio.gather(*pending, return_exceptions=True)
            raise ResultUnknown(f"{len(pending)} of {len(records)} records were sent: {error}") from error
        return await _all_acknowledged(pending)

    async def close(self) -> None:
        """Send what waits, within the bound of a send, and stop."""
        self._closing = True
        await asyncio.to_thread(self._thread.join)

    def _made(self) -> Producer:
        return Producer({**producer(self._settings), "error_cb": self._on_error})

    def _produce(self, partition: Partition, record: WireRecord) -> Acknowledged:
        acknowledged: Acknowledged = self._loop.create_future()
        self._producer.produce(
            self._settings.topic(partition.topic),
            record.value,
            record.key,
            partition.shard,
            on_delivery=partial(self._delivered, acknowledged),
            headers=list(record.headers),
        )
        return acknowledged

    def _delivered(self, acknowledged: Acknowledged, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() == KafkaError._MSG_TIMED_OUT:
            self._down = self._overdue = True
        self._reports.append((acknowledged, error, message.offset() or 0))

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._broken = True
        if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = True

    async def _await_reachable(self) -> None:
        if self._closing:
            raise LogUnavailable("closed")
        try:
            async with asyncio.timeout(_REACH_S):
                await self._reachable.wait()
        except TimeoutError:
            raise LogUnavailable("no broker can be reached") from None

    def _serve(self) -> None:
        """The thread: delivery reports go to the loop together; a broken producer is replaced, a lost broker asked for."""
        while not self._closing:
            self._producer.poll(0.1)
            self._hand_over()
            if self._down:
                self._tell_loop(self._reachable.clear)
                self._find_broker()
        self._producer.flush(self._settings.send_s)
        self._producer.purge()
        self._producer.flush(1)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._reports:
            reports = list(self._reports)
            self._reports.clear()
            self._tell_loop(partial(_resolve, reports))

    def _find_broker(self) -> None:
        if self._looking_since is None:
            self._looking_since = time.monotonic()
        if self._broken:
            self._replace("broke")
        try:
            self._producer.list_topics(self._settings.topic("outcomes"), timeout=0.5)
        except KafkaException:
            if self._overdue or time.monotonic() - self._looking_since > self._settings.send_s:
                self._replace("finds no broker")
            return
        self._down, self._overdue, self._looking_since = False, False, None
        self._tell_loop(self._reachable.set)

    def _replace(self, why: str) -> None:
        _LOG.warning("the producer of commands and records %s and is replaced", why)
        self._producer.purge()
        self._producer.flush(1)
        self._producer, self._looking_since = self._made(), time.monotonic()
        self._broken = self._overdue = False

    def _tell_loop(self, what: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)  # type: ignore[arg-type]


def _resolve(reports: Sequence[tuple[Acknowledged, KafkaError | None, int]]) -> None:
    for acknowledged, error, offset in reports:
        if acknowledged.done():
            continue
        if error is None:
            acknowledged.set_result(offset)
        else:
            acknowledged.set_exception(error_for(error))


async def _all_acknowledged(pending: Sequence[Acknowledged]) -> int:
    if len(pending) == 1:
        return await pending[0] + 1
    results = await asyncio.gather(*pending, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if not failures:
        return max(result for result in results if isinstance(result, int)) + 1
    if len(failures) == len(results) and all(isinstance(failure, LogUnavailable) for failure in failures):
        raise failures[0]
    raise ResultUnknown(f"{len(failures)} of {len(results)} records failed: {failures[0]}")
