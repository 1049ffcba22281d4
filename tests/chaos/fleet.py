"""Which jobs run, and what do their steps leave on their targets? One line when a step begins and one when it ends by itself.

A line names the attempt by its mark, as a target sees it. It is appended by one write of the shell itself: whole or not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.roles.fleet import GROUPS, IDEMPOTENT, STEPS, Fleet

SLOW_S, NEVER_S = 1.2, 40
"""How long a slow step takes; and one that is killed before it ends."""


class Line(NamedTuple):
    """A target's word: `what` is `begin` or the status a step ended with, `at` seconds since 1970, `line` counts in its file."""

    what: str
    mark: str
    at: float
    run: str
    step: str
    target: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of job: what its steps do between their two lines, how often it is asked for, and what differs in its definition."""

    weight: int
    does: dict[str, str]
    steps: dict[str, dict[str, Any]]
    more: dict[str, Any]


_SLOW = dict.fromkeys(STEPS, f"sleep {SLOW_S}")
_FLAKY = "(( RANDOM % 3 )) || false"

KINDS = {
    "quick": Kind(weight=6, does={}, steps={}, more={}),
    "slow": Kind(weight=6, does=_SLOW, steps={}, more={}),
    "batched": Kind(weight=3, does={}, steps={}, more={"strategy": {"batch_size": 2, "max_failures": 1}}),
    "lose": Kind(weight=2, does=_SLOW, steps={}, more={"on_executor_loss": "lose"}),
    "flaky": Kind(
        weight=3,
        does=dict.fromkeys(STEPS, _FLAKY),
        steps={"first": {"retries": {"max": 2, "backoff_s": 0.3}}, "second": {"on_failure": "continue"}},
        more={},
    ),
    "over": Kind(weight=1, does={"second": f"sleep {NEVER_S}"}, steps={"second": {"timeout_s": 1}}, more={}),
    "queued": Kind(weight=1, does={}, steps={}, more={"concurrency": "queue"}),
    "alone": Kind(weight=1, does={"first": f"sleep {SLOW_S}"}, steps={}, more={"concurrency": "forbid"}),
    "newest": Kind(weight=1, does={"first": f"sleep {SLOW_S}"}, steps={}, more={"concurrency": "replace"}),
    "endless": Kind(weight=1, does={"first": f"sleep {NEVER_S}"}, steps={}, more={"timeout_s": 3}),
}
"""Jobs by name; a run of each lies in a shard by its job's name. All resume after an executor's loss but `lose`."""


class ChaosFleet(Fleet):
    """The fleet with these jobs."""

    def jobs(self) -> list[dict[str, object]]:
        """One of each kind."""
        return [self._job(name, kind) for name, kind in KINDS.items()]

    def _job(self, name: str, kind: Kind) -> dict[str, object]:
        steps = [
            {
                "name": step, "kind": "script", "shell": "bash", "timeout_s": 60, "idempotent": step == IDEMPOTENT,
                "body": self._body(step, kind.does.get(step, ":")), **kind.steps.get(step, {}),
            }
            for step in STEPS
        ]  # fmt: skip
        return {"name": name, "targets": "set=fleet", "steps": steps, **kind.more}

    def _body(self, step: str, does: str) -> str:
        said = (
            f"$OPS_STEP_MARK $EPOCHREALTIME {{{{ run.id }}}} {step} {{{{ target.name }}}} >> {self.traces}/{{{{ target.name }}}}"
        )
        return f"echo begin {said}\n{does}\nended=$?\necho $ended {said}\necho output of {step}\nexit $ended\n"

    def told(self) -> Iterator[Line]:
        """Every line there is, each target's in their order."""
        for file in sorted(self.traces.iterdir()):
            for number, line in enumerate(file.read_text().splitlines()):
                what, mark, at, run, step, target = line.split()
                assert target == file.name, line
                yield Line(what, mark.rstrip(":"), float(at), run, step, target, number)


def narrowed(group: int) -> str:
    """The selector of one group of targets."""
    return f"group={group % GROUPS}"
