"""How are histories broken in what people asked for and were told? Each function breaks one invariant of a sound history."""

from dataclasses import replace

from schemas.actor import Actor, system
from schemas.outcome import REUSED, Accepted, Rejected
from tests.simulation.changed import accepted, alone, altered, answered, never_came
from tests.support.evidence import Evidence, Told


def told_what_became_of_another(evidence: Evidence) -> Evidence:
    """Who used an id again is told what became of its first command."""
    reused = next(told for told in evidence.told if told.result == REUSED)
    first = next(o.result for o in evidence.outcomes if o.command_id == reused.command.command_id)
    again = [told for told in evidence.told if told.command == reused.command]  # it may have been sent more than once
    return replace(evidence, told=[replace(told, result=first) if told in again else told for told in evidence.told])


def told_reused_by_nobody(evidence: Evidence) -> Evidence:
    refused = next(told for told in evidence.told if isinstance(told.result, Rejected) and told.result != REUSED)
    unheard = replace(evidence, outcomes=[o for o in evidence.outcomes if o.command_id != refused.command.command_id])
    unheard = never_came(unheard, refused.command.command_id)
    kept = [told for told in unheard.told if told.command.command_id != refused.command.command_id]
    return replace(unheard, told=[*kept, Told(refused.command, REUSED)])


def asked_by_nobody(evidence: Evidence) -> Evidence:
    """A run was requested that no client asked for."""
    done = next(told for told in evidence.told if told.command.type == "RequestRun" and isinstance(told.result, Accepted))
    kept = [told for told in evidence.told if told.command.command_id != done.command.command_id]
    return replace(evidence, told=kept)


def sent_otherwise(evidence: Evidence) -> Evidence:
    """A client asked for something else under this id."""
    done = accepted(evidence)
    other = replace(done.command, payload=b"{}")
    return replace(evidence, told=[Told(other, t.result) if t.command == done.command else t for t in evidence.told])


def by_another_actor(evidence: Evidence) -> Evidence:
    return altered(evidence, alone(evidence), actor=system("another"))


def on_behalf_of_somebody(evidence: Evidence) -> Evidence:
    return altered(evidence, alone(evidence), on_behalf_of=Actor("user", "mallory"))


def outcome_of_another_actor(evidence: Evidence) -> Evidence:
    mute = next(o for o in evidence.outcomes if o.actor.kind == "system")
    return answered(evidence, mute.command_id, lambda outcome: replace(outcome, actor=system("another")))
