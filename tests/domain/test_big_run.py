"""Ten thousand targets in one run: is it planned and done in little time, and does every message fit into the log?"""

import time
from typing import Any

from domain.run.messages import PlannedTarget, PlanRun
from domain.run.progress import startable
from domain.run.state import Unknown, fold, is_finished
from domain.target import SshConnection
from processors.executor.plan_parts import parts_of
from schemas.payload import to_json
from schemas.topics import MAX_PAYLOAD_BYTES
from tests.domain.runs import RUN, StepRule, claimed, end, finished, report, requested, rules
from tests.support.specification import decided

TARGETS, AT_ONCE = 10_000, 500
WITHIN_S = 15.0
"""Of the processor: two are enough where no event costs more for what was done before it."""


def many() -> list[PlannedTarget]:
    labels = {f"label-{n}": "x" * 20 for n in range(8)}
    return [PlannedTarget(f"web-{n:05}", 1, f"web-{n:05}.example.org", labels, SshConnection("deploy")) for n in range(TARGETS)]


class Run:
    """The run's state, and the largest message that led there."""

    def __init__(self) -> None:
        self.state: Any = fold(Unknown(), [requested(rules(StepRule("one"), parallelism=AT_ONCE)), claimed()])
        self.last: Any = None
        self.largest = 0

    def told(self, command: Any) -> None:
        events = decided(RUN, command, self.state)
        self.state, self.last = fold(self.state, events), events[-1]
        self.largest = max(self.largest, len(to_json(command)), *(len(to_json(event)) for event in events))


def test_ten_thousand_targets_are_planned_and_done_in_bounded_time_and_messages() -> None:
    began, run, targets = time.process_time(), Run(), many()
    parts = parts_of(targets)
    assert [target for part in parts for target in part] == targets
    for number, part in enumerate(parts, 1):
        run.told(PlanRun("e1", 1, number, len(parts), part))
    reports = 0
    while not is_finished(run.state):
        starts = startable(run.state)
        assert len(starts) == AT_ONCE
        run.told(report(*starts))
        run.told(report(*[end(f"{start.target}:one") for start in starts]))
        reports += 1
    assert (reports, run.last) == (TARGETS // AT_ONCE, finished("succeeded", succeeded=TARGETS))
    assert run.largest < MAX_PAYLOAD_BYTES
    assert time.process_time() - began < WITHIN_S
