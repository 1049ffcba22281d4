"""How are histories broken in what runs and their output say? Each function breaks one invariant of a sound history."""

from dataclasses import replace
from typing import Any

import orjson

from domain.identity import name_of
from schemas.event_types import event_of
from schemas.outcome import Rejected
from tests.simulation.changed import (
    NOBODY,
    altered,
    answered,
    chained,
    definition_of,
    of_type,
    overlapping,
    recommanded,
    said,
    step_finished,
)
from tests.support.evidence import Evidence, Told, mark_of


def tried_again_after_a_success(evidence: Evidence) -> Evidence:
    again = next(e for e in of_type(evidence, "StepStarted") if said(e.event)["attempt"] == 2)
    first = replace(again, event=replace(again.event, payload=orjson.dumps({**said(again.event), "attempt": 1})))
    return altered(evidence, step_finished(evidence, first), {"state": "succeeded"})


def tried_again_without_a_reason(evidence: Evidence) -> Evidence:
    """Its job says neither that the step may be repeated nor that it may be tried again."""
    again = next(e for e in of_type(evidence, "StepStarted") if said(e.event)["attempt"] == 2)
    defined = definition_of(evidence, again.event.stream)
    definition = said(defined.event)["definition"]
    steps = [{**step, "idempotent": False, "retries": {**step["retries"], "max": 0}} for step in definition["steps"]]
    return altered(evidence, defined, {"definition": {**definition, "steps": steps}})


def waits_for_nobody(evidence: Evidence) -> Evidence:
    return altered(evidence, overlapping(evidence), {"waits_for": [], "replaces": False})


def waits_for_more(evidence: Evidence) -> Evidence:
    request = overlapping(evidence)
    return altered(evidence, request, {"waits_for": [*said(request.event)["waits_for"], "another"]})


def overlaps_though_forbidden(evidence: Evidence) -> Evidence:
    request = overlapping(evidence)
    defined = definition_of(evidence, request.event.stream)
    evidence = altered(evidence, defined, {"definition": {**said(defined.event)["definition"], "concurrency": "forbid"}})
    return altered(evidence, request, {"waits_for": [], "replaces": False})


def claimed_before_those_it_waits_for(evidence: Evidence) -> Evidence:
    """The run that it waits for ends only when all is over."""
    request = overlapping(evidence)
    waited = f"run/{said(request.event)['waits_for'][-1]}"
    claimed = next(e.position.offset for e in of_type(evidence, "RunClaimed") if e.event.stream == request.event.stream)
    end = next(e for e in evidence.events if e.event.stream == waited and e.event.type == "RunFinished")
    late = [e for e in evidence.events if e.event.stream == waited and e.position.offset >= end.position.offset]
    assert late[-1].position.offset < claimed
    return replace(evidence, events=chained([*(e for e in evidence.events if e not in late), *late]))


def refused_for_a_run_that_is_not_there(evidence: Evidence) -> Evidence:
    """The very first run of a job is refused since one of its runs is not finished."""
    first = next(o for o in evidence.outcomes if o.type == "RequestRun")
    command = next(taken for taken in evidence.commands or () if taken.body.command_id == first.command_id)
    result = Rejected("job_is_running", "one of them is not finished")
    sent = replace(command.body, command_id=NOBODY)
    return replace(
        evidence,
        told=[*evidence.told, Told(sent)],
        commands=[*(evidence.commands or ()), replace(command, body=sent)],
        outcomes=[replace(first, command_id=NOBODY, result=result), *evidence.outcomes],
    )


def reported_under_another_epoch(evidence: Evidence) -> Evidence:
    """The report is of an epoch before; what came of it says the one in force."""
    return recommanded(evidence, of_type(evidence, "StepStarted")[-1].event.command_id, epoch=0)


def planned_by_another_executor(evidence: Evidence) -> Evidence:
    return recommanded(evidence, of_type(evidence, "RunPlanned")[-1].event.command_id, executor="another")


def late_report_of_the_holder(evidence: Evidence) -> Evidence:
    """Who tells of it as late holds the run."""
    report = of_type(evidence, "StepStarted")[-1].event.command_id
    commands = [
        replace(taken, body=replace(taken.body, type="RecordLateReport")) if taken.body.command_id == report else taken
        for taken in evidence.commands or ()
    ]
    return answered(replace(evidence, commands=commands), report, lambda outcome: replace(outcome, type="RecordLateReport"))


def started_under_another_epoch(evidence: Evidence) -> Evidence:
    return altered(evidence, of_type(evidence, "StepStarted")[-1], {"epoch": 99})


def with_more_output(evidence: Evidence, **fields: Any) -> Evidence:
    """The first piece is recorded once more, and says something else."""
    position, chunk = (evidence.output or ())[0]
    return replace(evidence, output=[*(evidence.output or ()), (position, replace(chunk, **fields))])


def output_of_nothing(evidence: Evidence) -> Evidence:
    return with_more_output(evidence, step="another")


def output_that_was_never_written(evidence: Evidence) -> Evidence:
    return with_more_output(evidence, sequence=99, text="invented")


def output_twice_and_not_the_same(evidence: Evidence) -> Evidence:
    return with_more_output(evidence, stream="stderr")


def output_that_got_lost(evidence: Evidence) -> Evidence:
    """A step ended by itself, its end says where its output ends, and the last of it is not there."""
    ended = next(e for e in of_type(evidence, "StepFinished") if said(e.event)["exit_code"] == 0)
    mark = mark_of(name_of(ended.event.stream), event_of(ended.event))
    its = [chunk.sequence for _, chunk in evidence.output or () if mark_of(chunk.run, chunk) == mark]
    kept = [(at, c) for at, c in evidence.output or () if mark_of(c.run, c) != mark or c.sequence != max(its)]
    return replace(evidence, output=kept)


def output_told_before_it_was_there(evidence: Evidence) -> Evidence:
    ended = next(e for e in of_type(evidence, "StepFinished") if said(e.event)["exit_code"] == 0)
    return altered(evidence, ended, {"output_end": 0})
