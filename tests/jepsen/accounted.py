"""Which commands in the log are whose? What clients wrote, what the harness did, and what a sign-in leaves; nothing else is.

Every request of a client goes under a correlation id of its own, and what it makes the API write bears it.
"""

from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

from domain.user.messages import RecordSignIn
from schemas.command_envelope import CommandEnvelope
from schemas.outcome import Accepted
from schemas.topics import COMMANDS_PEOPLE
from tests.jepsen.collect import WholeLog
from tests.jepsen.history import History, Write
from tests.roles.harness import Installation
from tests.support.evidence import Told


def told(history: History, log: WholeLog, there: Installation) -> list[Told]:
    """Every command in the log that somebody is known to have asked for, and what clients were told of theirs."""
    found: dict[UUID, list[CommandEnvelope]] = defaultdict(list)
    for at in log.commands:
        if at.position.topic == COMMANDS_PEOPLE:
            found[at.body.command_id].append(at.body)
    results = {at.body.command_id: at.body.result for at in reversed(log.outcomes)}
    own = [Told(command) for command in _of_the_harness(history, found, there)]
    for write in history.writes:
        if write.command_id in found:
            own += _of_a_client(write, found[write.command_id], results.get(write.command_id))
    return own


def _of_a_client(write: Write, records: list[CommandEnvelope], result: object) -> Iterator[Told]:
    """A record is of a write when it is under its id and under the correlation id of one of its tries."""
    tries = {one.correlation for one in write.tries if not one.asked}
    its = [record for record in records if record.correlation_id in tries]
    yield from map(Told, its)
    for one in write.definite if its else ():
        if one.rejected is not None:
            yield Told(its[0], one.rejected)
        elif isinstance(result, Accepted) and one.version is not None:
            yield Told(its[0], Accepted(one.version, result.event_ids))


def _of_the_harness(history: History, found: dict[UUID, list[CommandEnvelope]], there: Installation) -> Iterator[CommandEnvelope]:
    """What the harness was acknowledged; a sign-in for each time somebody signed in, and as many more as the command line did."""
    acknowledged = {UUID(done.command_id) for rest in there.rests for done in rest.acknowledged}
    sign_ins = {*history.sign_ins, *(correlation for rest in there.rests for correlation in rest.sign_ins)}
    unnamed = there.logins
    for command_id, records in found.items():
        first = records[0]
        if command_id in acknowledged:
            yield from records
        elif first.type != RecordSignIn.__name__:
            continue
        elif first.correlation_id in sign_ins:
            sign_ins.remove(first.correlation_id)
            yield from records
        elif unnamed:
            unnamed -= 1
            yield from records
