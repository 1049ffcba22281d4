"""Do the targets' files say what the log says? Pure: from their lines and the read model of steps to what does not fit.

The read model is held against the log by `tests.support.checker` (`rows_say_what_the_log_says`); here it stands for it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.identity import job_of
from domain.run.messages import StepStarted
from schemas.position import Partition
from tests.chaos.fleet import KINDS, Line
from tests.roles.fleet import IDEMPOTENT
from tests.support.evidence import Start, mark_of

BEGIN = "begin"
KILLED = ("timed_out", "cancelled")
FAILED = ("failed", "timed_out", "unreachable", "cancelled")
Broken = Iterator[str]
Row = Mapping[str, Any]


@dataclass(slots=True)
class Witness:
    """Every line of every target, by mark where that helps; rows of the read model of steps, one an attempt."""

    lines: Sequence[Line]
    rows: Sequence[Row]
    begun: dict[str, list[Line]] = field(init=False)
    ended: dict[str, list[Line]] = field(init=False)

    def __post_init__(self) -> None:
        self.begun, self.ended = {}, {}
        for line in self.lines:
            (self.begun if line.what == BEGIN else self.ended).setdefault(line.mark, []).append(line)


def mark(row: Row) -> str:
    """The mark of the attempt that a row is of."""
    return mark_of(row["run"], StepStarted(row["step"], row["target"], row["attempt"], 0))


def _named(row: Row) -> str:
    return f"attempt {row['attempt']} of {row['step']} of {row['run']} on {row['target']} ({row['state']})"


def no_attempt_begins_twice(witness: Witness) -> Broken:
    """An attempt has one line of its begin and at most one of its end, after it."""
    for known, lines in witness.begun.items():
        if len(lines) > 1:
            yield f"{known} began {len(lines)} times: {lines}"
    for known, lines in witness.ended.items():
        if len(lines) > 1 or not any(line.line < lines[0].line for line in witness.begun.get(known, ())):
            yield f"{known} ended {len(lines)} times, begun {len(witness.begun.get(known, ()))} times: {lines}"


def every_line_is_of_an_attempt(witness: Witness) -> Broken:
    """No target saw anything that is not an attempt in the log."""
    attempts = {mark(row): (row["run"], row["step"], row["target"]) for row in witness.rows if row["started_at"] is not None}
    for line in witness.lines:
        if attempts.get(line.mark) != (line.run, line.step, line.target):
            yield f"no attempt in the log is that of {line}"


def what_ended_by_itself_wrote_so(witness: Witness) -> Broken:
    """A step told as succeeded, or failed with a status, wrote that it began and that it ended with that status."""
    for row in witness.rows:
        if row["exit_code"] is None:
            continue
        statuses = [line.what for line in witness.ended.get(mark(row), ())]
        if len(witness.begun.get(mark(row), ())) != 1 or statuses != [str(row["exit_code"])]:
            yield f"{_named(row)} is told with status {row['exit_code']}; its target has {statuses or 'no end'}"


def what_is_told_as_killed_did_not_go_on(witness: Witness) -> Broken:
    """A step told as over its time or cancelled was dead by then: its target has no end of it from after that.

    It may have ended by itself just before. Both clocks are one machine's.
    """
    for row in witness.rows:
        if row["state"] in KILLED and row["finished_at"] is not None:
            told = datetime.fromisoformat(row["finished_at"]).timestamp()
            late = [line for line in witness.ended.get(mark(row), ()) if line.at > told]
            yield from (f"{_named(row)} was told as ended at {told:.3f}, and its target has {line}" for line in late)


def what_never_started_wrote_nothing(witness: Witness) -> Broken:
    """A step told as skipped, cancelled before it started or unreachable left nothing on its target."""
    for row in witness.rows:
        never = row["started_at"] is None or row["state"] == "unreachable"
        seen = [*witness.begun.get(mark(row), ()), *witness.ended.get(mark(row), ())]
        if never and seen:
            yield f"{_named(row)} did not start, and its target has {seen}"


def steps_follow_each_other(witness: Witness) -> Broken:
    """On one target, nothing of a run's later steps begins before the end of the earlier ones that succeeded."""
    begins: dict[tuple[str, str], list[tuple[int, Line]]] = defaultdict(list)
    for row in witness.rows:
        begins[row["run"], row["target"]] += [(row["step_index"], line) for line in witness.begun.get(mark(row), ())]
    for row in witness.rows:
        if row["state"] != "succeeded":
            continue
        for end in witness.ended.get(mark(row), ()):
            early = [
                line for index, line in begins[row["run"], row["target"]] if index > row["step_index"] and line.line < end.line
            ]
            yield from (f"{_named(row)} ended after a later step began: {line}" for line in early)


def nothing_follows_a_failure(witness: Witness) -> Broken:
    """On one target, no later step of a run begins when one failed or ran out of time, unless the job goes on then."""
    last: dict[tuple[str, str, str], Row] = {}
    for row in witness.rows:
        key = (row["run"], row["target"], row["step"])
        last[key] = max(last.get(key, row), row, key=lambda each: each["attempt"])
    begun = {(row["run"], row["target"], row["step_index"]) for row in witness.rows if mark(row) in witness.begun}
    for (run, target, step), row in last.items():
        if row["state"] in FAILED and KINDS[job_of(run)].steps.get(step, {}).get("on_failure") != "continue":
            late = sorted(index for r, t, index in begun if (r, t) == (run, target) and index > row["step_index"])
            yield from (f"{_named(row)}, and step {index} began after it" for index in late)


def what_is_lost_is_not_repeated(witness: Witness) -> Broken:
    """A step that is not idempotent and has no retries is not started again once it is lost; and none after a success."""
    attempts = Counter((row["run"], row["step"], row["target"]) for row in witness.rows if row["started_at"] is not None)
    for row in witness.rows:
        once = ("succeeded",) if _may_run_twice(row) else ("succeeded", "lost")
        if row["state"] in once and row["attempt"] < attempts[row["run"], row["step"], row["target"]]:
            yield f"{_named(row)} was followed by another attempt"


def _may_run_twice(row: Row) -> bool:
    return row["step"] == IDEMPOTENT or "retries" in KINDS[job_of(row["run"])].steps.get(row["step"], {})


QUESTIONS: Mapping[str, Callable[[Witness], Broken]] = {
    question.__name__: question
    for question in (
        no_attempt_begins_twice,
        every_line_is_of_an_attempt,
        what_ended_by_itself_wrote_so,
        what_is_told_as_killed_did_not_go_on,
        what_never_started_wrote_nothing,
        steps_follow_each_other,
        nothing_follows_a_failure,
        what_is_lost_is_not_repeated,
    )
}


def unfitting(witness: Witness) -> list[tuple[str, str]]:
    """Everything that does not fit, each with the name of what it breaks."""
    return [(name, what) for name, question in QUESTIONS.items() for what in question(witness)]


def looked_at(witness: Witness) -> dict[str, int]:
    """How many facts each question had: lines of targets, or rows of attempts."""
    states = Counter(row["state"] for row in witness.rows)
    told = Counter(row["exit_code"] is not None for row in witness.rows)
    counts = (
        len(witness.begun),
        len(witness.lines),
        told[True],
        sum(states[state] for state in KILLED),
        sum(row["started_at"] is None for row in witness.rows) + states["unreachable"],
        states["succeeded"],
        sum(states[state] for state in FAILED),
        states["succeeded"] + states["lost"],
    )
    return dict(zip(QUESTIONS, counts, strict=True))


def starts(witness: Witness, decided: Mapping[Partition, Sequence[tuple[float, int]]]) -> list[Start]:
    """The begins as the checker wants them. `decided`: when each offset of a partition was about to be committed, in their order.

    So an intent that could be read was written at the latest when its step began; both clocks are one machine's.
    """
    found = []
    for lines in witness.begun.values():
        for line in lines:
            visible = {partition: _visible(offsets, line.at) for partition, offsets in decided.items()}
            found.append(Start(line.mark, line.target, visible))
    return found


def written(witness: Witness) -> Mapping[str, str]:
    """By mark what an attempt that began wrote to its standard output: its step's last deed, once it wrote that it ended."""
    return {known: f"output of {lines[0].step}\n" if known in witness.ended else "" for known, lines in witness.begun.items()}


def _visible(offsets: Sequence[tuple[float, int]], at: float) -> int:
    low, high = 0, len(offsets)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if offsets[middle][0] <= at else (low, middle)
    return offsets[low - 1][1] + 1 if low else 0
