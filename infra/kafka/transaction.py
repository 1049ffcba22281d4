"""How do events, outcomes and consumed offsets become visible together, or not at all?"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.kafka.settings import KafkaLogSettings, transactional_producer
from infra.kafka.verdict import InstanceInUse, Verdict, is_fenced, verdict_of
from schemas.log import CommitAborted, OwnershipLost
from schemas.position import Partition
from schemas.wire import WireRecord

_LOG = logging.getLogger(__name__)
_TWICE_WITHIN_S = 60.0
_CALLS_BEFORE_LOST = 4
"""For as long as so many calls may take a new producer is given to find its coordinator."""

Produced = Sequence[tuple[Partition, WireRecord]]
Membership = Callable[[], bytes]


class Reports:
    """The delivery reports of one transaction; the callbacks only write down (HAZARDS R12)."""

    def __init__(self, expected: int) -> None:
        self.offsets: list[int | None] = [None] * expected
        self.failure: KafkaError | None = None

    def delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        """What the client tells of the record of this number."""
        if error is None:
            self.offsets[index] = message.offset()
        else:
            self.failure = error

    def all(self) -> list[int]:
        """The offsets. Raises `CommitAborted` unless every record was acknowledged (HAZARDS R7)."""
        known = [offset for offset in self.offsets if offset is not None]
        if self.failure is not None or len(known) != len(self.offsets):
            raise CommitAborted(f"{len(known)} of {len(self.offsets)} records were acknowledged: {self.failure}")
        return known


class Transactions:
    """The transactional producer. Used by one thread.

    Whenever a result is in doubt the producer is thrown away; the next one, under the same transactional id, ends whatever the
    old one left and fences its stragglers (HAZARDS D1, R1, R2).
    """

    def __init__(self, settings: KafkaLogSettings) -> None:
        self._settings = settings
        self._producer: Producer | None = None
        self._initialised = False
        self._undecided = False
        self._doubtful = False
        self._fenced = False
        self._fenced_at: float | None = None
        self._began = self._made_at = 0.0

    def ready(self, within_s: float) -> bool:
        """Whether there is a producer for the next transaction, made now if need be."""
        if self._initialised and self._lost_a_broker():
            self._count_fencing()
            self._throw_away()
        if self._producer is None:
            self._producer = Producer({**transactional_producer(self._settings), "error_cb": self._on_error})
            self._initialised, self._made_at = False, time.monotonic()
        if not self._initialised:
            self._initialise(self._producer, within_s)
        return self._initialised

    def commit(self, records: Produced, consumed: list[TopicPartition], membership: Membership) -> list[int]:
        """The offsets of the records, in their order, once they and the consumed positions are committed.

        1. begin; 2. produce; 3. flush, and every record must be acknowledged; 4. send the consumed positions with the group's
        fresh view of us; 5. commit. Raises `CommitAborted` (nothing is visible) or `OwnershipLost` (fenced or in doubt).
        """
        if self._producer is None or not self._initialised or self._lost_a_broker():
            raise CommitAborted("there is no producer that can be trusted yet")
        self._undecided, self._began = True, time.monotonic()
        reports = Reports(len(records))
        try:
            self._producer.begin_transaction()
            self._produce(self._producer, records, reports)
            offsets = reports.all()
            # Not once more when it ran out of time: with its coordinator gone the second call was seen to hang for ever (R3).
            self._producer.send_offsets_to_transaction(consumed, self._joined(membership), self._settings.call_s)
            self._decided(self._producer.commit_transaction)
        except KafkaException as failed:
            self._give_up(failed.args[0])
        except SystemError as failed:
            self._lost(str(failed), failed)
        except (CommitAborted, BufferError) as failed:
            self._abort(str(failed))
        self._undecided = False
        if self._doubtful:
            self._throw_away()
        return offsets

    def _lost_a_broker(self) -> bool:
        """Whether a connection went since the last transaction: in the next one such a producer was seen to hang for ever."""
        if self._producer is not None:
            try:
                self._producer.poll(0)
            except (KafkaException, SystemError):  # a fatal error that was waiting to be told; see `_was_fenced`
                self._doubtful, self._fenced = True, self._fenced or self._was_fenced()
        return self._doubtful

    def close(self) -> None:
        """Let go of the producer, and leave no transaction undecided that would hold up every reader."""
        if self._undecided:
            self.ready(self._settings.call_s)
        self._throw_away()

    def _initialise(self, producer: Producer, within_s: float) -> None:
        try:
            producer.init_transactions(within_s)
            self._initialised, self._undecided, self._doubtful = True, False, False
        except KafkaException as failed:
            error: KafkaError = failed.args[0]
            _LOG.warning("no transactions yet: %s", error)
            if verdict_of(error) is not Verdict.RETRY or self._has_lost_its_brokers():
                self._throw_away()
        except SystemError as failed:
            _LOG.warning("no transactions yet: %s", failed)
            self._throw_away()

    def _has_lost_its_brokers(self) -> bool:
        """A client told of no brokers when it asked first never asks again (confluentinc/librdkafka#5301). While they are
        away it looks the same, and to make another one does no harm: it has begun nothing.
        """
        return time.monotonic() - self._made_at > _CALLS_BEFORE_LOST * self._settings.call_s

    def _joined(self, membership: Membership) -> object:
        """The group may have expelled us since the transaction began; then its end is ours to say, and it is: abort."""
        try:
            return membership()
        except OwnershipLost as lost:
            try:
                self._abort(str(lost))
            except CommitAborted:
                raise lost from None

    def _produce(self, producer: Producer, records: Produced, reports: Reports) -> None:
        for index, (partition, record) in enumerate(records):
            producer.produce(
                self._settings.topic(partition.topic),
                record.value,
                record.key,
                partition.shard,
                on_delivery=partial(reports.delivered, index),
                headers=list(record.headers),
            )
        producer.flush(self._settings.call_s)

    def _again(self, call: Callable[[float], object]) -> None:
        """The call; once more when it says that it may be repeated (HAZARDS R4)."""
        try:
            call(self._settings.call_s)
        except KafkaException as failed:
            if verdict_of(failed.args[0]) is not Verdict.RETRY:
                raise
            _LOG.warning("once more: %s", failed.args[0])
            self._doubtful = True
            call(self._settings.call_s)

    def _decided(self, call: Callable[[float], object]) -> None:
        """Commit or abort; slow means that a request may have been sent twice and the second be still under way."""
        began = time.monotonic()
        self._again(call)
        if time.monotonic() - began > self._settings.doubtful_commit_s:
            self._doubtful = True

    def _give_up(self, error: KafkaError) -> NoReturn:
        if verdict_of(error) is Verdict.ABORT:
            self._abort(error.str())
        self._fenced = self._fenced or is_fenced(error)
        self._lost(error.str(), KafkaException(error))

    def _abort(self, why: str) -> NoReturn:
        assert self._producer is not None
        try:
            self._decided(self._producer.abort_transaction)
        except KafkaException as failed:
            self._fenced = self._fenced or is_fenced(failed.args[0])
            self._lost(f"{why}; the abort failed: {failed.args[0]}", failed)
        except SystemError as failed:
            self._lost(f"{why}; the abort failed: {failed}", failed)
        self._undecided = False
        if self._doubtful:
            self._throw_away()
        raise CommitAborted(why)

    def _lost(self, why: str, failed: Exception) -> NoReturn:
        """Whatever the call that failed told, the producer is asked whether it was fenced: else that would not be counted."""
        self._fenced = self._fenced or self._was_fenced()
        self._count_fencing()
        self._throw_away()
        raise OwnershipLost(why) from failed

    def _was_fenced(self) -> bool:
        """A producer with a fatal error refuses to begin, naming it. What it begins otherwise is thrown away with it.

        confluent-kafka raises a fatal error out of whichever call serves its callbacks. There it may be lost: the call ends with
        a `SystemError`, and no later one tells of it.
        """
        try:
            if self._producer is not None:
                self._producer.begin_transaction()
        except KafkaException as told:
            return is_fenced(told.args[0])
        except SystemError:
            pass
        return False

    def _count_fencing(self) -> None:
        """Being fenced once happens; twice within a minute means that another process lives under our name (HAZARDS R10).

        A transaction that outlasted its time-out was ended by the brokers, which fence its producer, too: that says nothing.
        """
        now, before = time.monotonic(), self._fenced_at
        if not self._fenced or (self._undecided and now - self._began > self._settings.transaction_s):
            return
        self._fenced_at = now
        if before is not None and now - before < _TWICE_WITHIN_S:
            self._throw_away()
            raise InstanceInUse(
                f"fenced twice within a minute: another process runs under the instance name {self._settings.instance!r}"
            )

    def _throw_away(self) -> None:
        if self._producer is not None:
            self._producer.purge()
        self._producer, self._initialised, self._doubtful, self._fenced = None, False, False, False

    def _on_error(self, error: KafkaError) -> None:
        told = logging.DEBUG if error.code() == KafkaError._TRANSPORT else logging.WARNING
        _LOG.log(told, "the owner's producer: %s", error)
        self._doubtful = True
        self._fenced = self._fenced or is_fenced(error)
