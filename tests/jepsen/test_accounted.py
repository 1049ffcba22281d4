"""Is every command of people in the log accounted for by somebody who asked for it, and by nobody else?"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from domain.user.messages import RecordSignIn
from schemas.command_envelope import CommandEnvelope
from schemas.position import Position
from schemas.topics import COMMANDS_PEOPLE
from tests.jepsen.accounted import told
from tests.jepsen.collect import At, WholeLog
from tests.jepsen.history import History
from tests.jepsen.test_explain import NEVER, SENT, log_of, write
from tests.support.asked import nothing_nobody_asked_for
from tests.support.evidence import Evidence


def unasked(log: WholeLog, history: History, **there: Any) -> list[str]:
    """What the checker says that nobody asked for."""
    others: Any = SimpleNamespace(**{"rests": [], "logins": 0, **there})
    known = told(history, log, others)
    evidence = Evidence(
        told=known, events=log.events, outcomes=[at.body for at in log.outcomes], commands=log.taken, starts=(),
        still_running=(), live={}, rebuilt={},
    )  # fmt: skip
    return list(nothing_nobody_asked_for(evidence))


def written() -> tuple[WholeLog, History]:
    """Some writes, each sent under the correlation id that its command bears."""
    log, history = log_of(SENT), History()
    for number, at in enumerate(log.outcomes):
        one = write(number, at.body)
        one.tries[0] = replace(one.tries[0], correlation=SENT[number].correlation_id)
        history.writes.append(one)
    return log, history


def put(log: WholeLog, command: CommandEnvelope) -> None:
    log.commands.append(At(Position(COMMANDS_PEOPLE, 0, len(log.commands)), command))


def sign_in(correlation: str) -> CommandEnvelope:
    return replace(SENT[0], command_id=NEVER, type=RecordSignIn.__name__, stream="user/admin", correlation_id=correlation)


def test_what_clients_wrote_is_theirs_however_often_it_was_sent() -> None:
    log, history = written()
    again = replace(SENT[3], correlation_id="again")
    put(log, again)
    history.writes[3].tries.append(replace(history.writes[3].tries[0], correlation="again"))
    assert not unasked(log, history)


def test_what_a_request_makes_the_api_send_under_another_id_is_nobodys() -> None:
    log, history = written()
    put(log, replace(SENT[3], command_id=NEVER))
    assert len(unasked(log, history)) == 1


def test_what_is_under_a_clients_id_and_came_with_no_request_of_it_is_nobodys() -> None:
    log, history = written()
    put(log, replace(SENT[3], correlation_id="never sent"))
    assert len(unasked(log, history)) == 1


def test_a_sign_in_is_accounted_for_once_by_who_signed_in() -> None:
    log, history = written()
    put(log, sign_in("in"))
    assert len(unasked(log, history)) == 1
    assert not unasked(log, history, logins=1)
    history.sign_ins.append("in")
    assert not unasked(log, history)
    put(log, replace(sign_in("in"), command_id=UUID(int=7)))
    assert len(unasked(log, history)) == 1
    assert not unasked(log, history, logins=1)


def test_what_the_harness_was_acknowledged_is_its_own() -> None:
    log, history = written()
    put(log, replace(SENT[3], command_id=NEVER, correlation_id="any"))
    rest = SimpleNamespace(acknowledged=[SimpleNamespace(command_id=str(NEVER))], sign_ins=[])
    assert not unasked(log, history, rests=[rest])
