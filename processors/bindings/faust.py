"""How does the executor get its events in the cluster? By a Faust application, started as an object in our own event loop.

Faust is given as little as possible (HAZARDS D3, D4, R21 to R31): it reads raw bytes, committed records only, one at a time; a
record is acknowledged only after the executor has taken it over (known there, and brought again by its sweep should the process
die). It has no tables, timers, leader, web server or folder; we produce by our own client. A watchdog ends the process when Faust
is stuck.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import faust
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver

from processors.bindings.watchdog import Watchdog
from processors.delivery import Sleep
from processors.processor import Clock
from schemas.event_envelope import EventEnvelope
from schemas.log import EventReader, Undecodable
from schemas.position import Partition
from schemas.wire import WireRecord, decode

TOPICS = ("runs", "targets")
READ_COMMITTED = "read_committed"

_log = logging.getLogger(__name__)

Offer = Callable[[EventEnvelope], Awaitable[None]]


class BindingEnded(Exception):
    """The Faust application ended by itself; the process must be started anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaustSettings:
    """Where Kafka is, the prefix of our topics, how many shards they have, and times in seconds.

    `group` is the consumer group: stable, and the same for all executors of a deployment.
    """

    bootstrap: str
    prefix: str
    shards: int
    group: str
    session_s: float = 10.0
    commit_every_s: float = 1.0
    stuck_after_s: float = 60.0


class _CommittedOnlyThread(driver.AIOKafkaConsumerThread):
    """Faust reads uncommitted records unless it is told "exactly once", which it is unreliable at: set the level ourselves."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = READ_COMMITTED
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        level = self._consumer._fetcher._isolation_level
        if level != 1:
            raise BindingEnded(f"the consumer reads at isolation level {level}, not {READ_COMMITTED}")


class _CommittedOnlyConsumer(driver.Consumer):
    def _new_consumer_thread(self) -> Any:
        return _CommittedOnlyThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _CommittedOnlyConsumer


class _App(faust.App):
    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing of ours is kept in files."""


class FaustBinding:
    """Offers every committed event of runs and targets, at least once, to one executor."""

    def __init__(self, settings: FaustSettings, offer: Offer, reader: EventReader) -> None:
        self._settings = settings
        self._offer = offer
        self._watchdog = Watchdog(reader, self.committed, settings.stuck_after_s)
        self._started = False
        self.app: Any = None

    async def run(self, clock: Clock, sleep: Sleep) -> None:
        """Work until cancelled. Raises `BindingEnded` or `Stuck` when the process must be started anew."""
        self.app = app = self._application()
        watching = asyncio.create_task(self._watchdog.watch(clock, sleep))
        ended = asyncio.create_task(self._ended(app))
        try:
            await app.start()
            self._started = True
            await asyncio.wait([watching, ended], return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, ended):
                if task.done():
                    task.result()
        finally:
            for task in (watching, ended):
                task.cancel()
            await asyncio.gather(watching, ended, return_exceptions=True)
            await app.stop()

    @property
    def trouble(self) -> str | None:
        """Why no events come: the consumer has not begun, or the log cannot be read; or None."""
        return self._watchdog.trouble if self._started else "the consumer of events has not begun yet"

    def committed(self) -> Mapping[Partition, int | None]:
        """The partitions this member has, with the positions committed for them."""
        consumer, cut = self.app.consumer, len(self._settings.prefix) + 1
        known = consumer._committed_offset
        try:
            assigned = consumer.assignment()
        except ConsumerNotStarted:
            return {}
        return {Partition(tp.topic[cut:], tp.partition): known.get(tp) for tp in assigned}

    async def _ended(self, app: Any) -> None:
        await app.wait_until_stopped()
        raise BindingEnded(f"the Faust application ended: {app.crash_reason!r}")

    def _application(self) -> Any:
        settings = self._settings
        app = _App(
            settings.group,
            broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
            key_serializer="raw",
            value_serializer="raw",
            consumer_auto_offset_reset="latest",
            broker_session_timeout=settings.session_s,
            broker_heartbeat_interval=settings.session_s / 4,
            broker_commit_interval=settings.commit_every_s,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            stream_wait_empty=False,
            table_standby_replicas=0,  # else Faust's own assignor gives some members nothing
            store="memory://",
        )
        names = [f"{settings.prefix}.{topic}" for topic in TOPICS]
        topic = app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False)
        app.agent(topic, name="events", concurrency=1)(self._agent)
        return app

    async def _agent(self, stream: Any) -> None:
        acknowledged = stream.noack()
        async for event in acknowledged.events():
            body = self._decoded(event.message)
            if isinstance(body, EventEnvelope):
                await self._offer(body)
            await acknowledged.ack(event)

    def _decoded(self, message: Any) -> Any:
        headers = tuple((name, value) for name, value in _pairs(message.headers))
        record = WireRecord(message.key or b"", message.value or b"", headers)
        topic = message.topic[len(self._settings.prefix) + 1 :]
        body = decode(topic, message.partition, self._settings.shards, record)
        if isinstance(body, Undecodable):
            _log.error("%s/%s/%s is no event: %s", topic, message.partition, message.offset, body.reason)
        return body


def _pairs(headers: Any) -> Any:
    return headers.items() if isinstance(headers, Mapping) else headers or ()
