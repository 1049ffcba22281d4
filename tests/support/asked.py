"""Is everything in the log what somebody asked for, in that person's name, and is each told what became of their own command?

Invariants of `tests.support.checker`, each from the evidence to the sentences that say what breaks it.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from schemas.actor import PEOPLE_KINDS
from schemas.command_envelope import CommandEnvelope
from schemas.event_envelope import EventEnvelope
from schemas.outcome import REUSED, Outcome
from schemas.topics import COMMANDS_PEOPLE
from tests.support.evidence import Broken, Evidence


def nothing_nobody_asked_for(evidence: Evidence) -> Broken:
    """Every command of people in the log is one that a client sent, as it was sent; so is what came of it."""
    sent = {told.command for told in evidence.told}
    ids = {command.command_id for command in sent}
    for taken in evidence.commands or ():
        command = taken.body
        if isinstance(command, CommandEnvelope) and taken.position.topic == COMMANDS_PEOPLE and command not in sent:
            yield f"{taken.position}: nobody sent {command.type} {command.command_id} of {command.actor.name} to {command.stream}"
    for recorded in evidence.events:
        event = recorded.event
        if event.actor.kind in PEOPLE_KINDS and event.command_id not in ids:
            yield f"{recorded.position}: {event.type} of {event.stream} came of {event.command_id}, which nobody sent"


def what_is_told_is_of_that_command(evidence: Evidence) -> Broken:
    """What a client is told is the outcome of the very command it sent, or that its id was used before for another one."""
    under: dict[UUID, list[Outcome]] = defaultdict(list)
    for outcome in evidence.outcomes:
        under[outcome.command_id].append(outcome)
    for told in evidence.told:
        if told.result is None:
            continue
        own, others = _whose(told.command), under[told.command.command_id]
        mine = [outcome.result for outcome in others if _whose(outcome) == own]
        if told.result not in mine and (mine or told.result != REUSED or not others):
            yield f"{told.command.type} {told.command.command_id} was told {told.result}; its own outcomes are {mine}"


def _whose(one: CommandEnvelope | Outcome) -> tuple[Any, ...]:
    return one.fingerprint, one.actor, one.stream, one.type


def events_are_of_their_commands(evidence: Evidence) -> Broken:
    """An event and an outcome say who did it, for whom, when and for what cause, as their command does."""
    commands = first_commands(evidence)
    for recorded in evidence.events:
        command = commands.get(recorded.event.command_id)
        if command is not None and (differing := _differing(command, recorded.event)):
            yield f"{recorded.position}: {recorded.event.type} of {recorded.event.stream} differs from its command: {differing}"
    for outcome in evidence.outcomes:
        command = commands.get(outcome.command_id)
        if command is not None and outcome.type and (outcome.type, outcome.actor) != (command.type, command.actor):
            yield f"{command.type} {command.command_id} by {command.actor} has an outcome of {outcome.type} by {outcome.actor}"


def first_commands(evidence: Evidence) -> Mapping[UUID, CommandEnvelope]:
    """By id the command that was decided: the first that came under it."""
    found: dict[UUID, CommandEnvelope] = {}
    for taken in evidence.commands or ():
        if isinstance(taken.body, CommandEnvelope):
            found.setdefault(taken.body.command_id, taken.body)
    return found


_CARRIED = ("actor", "on_behalf_of", "time", "correlation_id", "causation_id", "traceparent")


def _differing(command: CommandEnvelope, event: EventEnvelope) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(event, name), getattr(command, name)) for name in _CARRIED}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
