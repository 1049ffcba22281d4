"""Does each question to the witness find what breaks it? One true story, and for each question one that breaks just that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.position import Partition
from tests.chaos.fleet import Line
from tests.chaos.run import longest_stall
from tests.chaos.witness import QUESTIONS, Witness, looked_at, mark, starts, unfitting, written

RUN = "slow.1"
TOLD_S = 100.0
"""When all that ended is told as ended, in the clock in which a line is written each second."""


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass
class Story:
    """What one target saw of one run: the first step succeeded, the second was lost and repeated, the third was skipped."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def row(self, step: str, attempt: int, state: str, exit_code: int | None = None, started: bool = True) -> dict[str, Any]:
        index = ("first", "second", "third").index(step)
        self.rows.append(
            {
                "run": RUN, "target": "a-01", "step": step, "step_index": index, "attempt": attempt, "state": state,
                "exit_code": exit_code, "started_at": "then" if started else None, "finished_at": at(TOLD_S),
            }
        )  # fmt: skip
        return self.rows[-1]

    def writes(self, row: dict[str, Any], *what: str) -> None:
        for word in what:
            number = len(self.lines)
            self.lines.append(Line(word, mark(row), float(number), row["run"], row["step"], row["target"], number))

    def found(self) -> set[str]:
        return {name for name, _ in unfitting(Witness(self.lines, self.rows))}


def told() -> Story:
    story = Story()
    story.writes(story.row("first", 1, "succeeded", 0), "begin", "0")
    story.writes(story.row("second", 1, "lost"), "begin")
    story.writes(story.row("second", 2, "failed", 3), "begin", "3")
    story.row("third", 1, "skipped", started=False)
    return story


def let_the_second_succeed(story: Story) -> None:
    """So that the third may begin."""
    story.lines[-1] = story.lines[-1]._replace(what="0")
    story.rows[-2].update(state="succeeded", exit_code=0)


def killed(state: str, told_s: float) -> Story:
    """The third step was killed: it began, and wrote its end all the same; `told_s` is when it was told as over."""
    story = told()
    let_the_second_succeed(story)
    story.rows.pop()
    story.writes(story.row("third", 1, state), "begin", "0")
    story.rows[-1]["finished_at"] = at(told_s)
    return story


def begins_again(story: Story) -> None:
    story.writes(story.rows[1], "begin")


def ends_without_a_begin(story: Story) -> None:
    story.lines = [line._replace(line=9) if line.what == "3" else line for line in story.lines if line.what != "begin"]
    story.rows = [
        {**row, "exit_code": None, "state": "lost"} for row in story.rows if row["attempt"] == 2 or row["step"] == "first"
    ]


def sees_what_nobody_intended(story: Story) -> None:
    story.writes(story.row("third", 2, "running"), "begin")
    story.rows.pop()


def is_told_without_an_end(story: Story) -> None:
    story.lines = [line for line in story.lines if line.what != "3"]


def ends_otherwise_than_told(story: Story) -> None:
    story.lines = [line._replace(what="4") if line.what == "3" else line for line in story.lines]


def runs_what_is_told_as_unreachable(story: Story) -> None:
    let_the_second_succeed(story)
    story.writes(story.row("third", 2, "unreachable"), "begin")


def begins_before_the_step_before_it_ends(story: Story) -> None:
    story.lines = [line._replace(line=7) if line.what == "0" else line for line in story.lines]


def goes_on_when_told_as_cancelled(story: Story) -> None:
    story.rows[:], story.lines[:] = (late := killed("cancelled", told_s=5.5)).rows, late.lines


def goes_on_after_a_failure(story: Story) -> None:
    story.writes(story.row("third", 2, "succeeded", 0), "begin", "0")


def repeats_what_is_not_idempotent(story: Story) -> None:
    let_the_second_succeed(story)
    story.writes(story.row("third", 2, "lost"), "begin")
    story.rows[-2].update(state="lost", started_at="then")


STORIES: list[tuple[Callable[[Story], None], str]] = [
    (begins_again, "no_attempt_begins_twice"),
    (ends_without_a_begin, "no_attempt_begins_twice"),
    (sees_what_nobody_intended, "every_line_is_of_an_attempt"),
    (is_told_without_an_end, "what_ended_by_itself_wrote_so"),
    (ends_otherwise_than_told, "what_ended_by_itself_wrote_so"),
    (runs_what_is_told_as_unreachable, "what_never_started_wrote_nothing"),
    (begins_before_the_step_before_it_ends, "steps_follow_each_other"),
    (goes_on_when_told_as_cancelled, "what_is_told_as_killed_did_not_go_on"),
    (goes_on_after_a_failure, "nothing_follows_a_failure"),
    (repeats_what_is_not_idempotent, "what_is_lost_is_not_repeated"),
]


def test_a_true_story_fits() -> None:
    assert told().found() == set()


@pytest.mark.parametrize(("broken", "question"), STORIES, ids=[broken.__name__ for broken, _ in STORIES])
def test_a_target_that_saw_otherwise_breaks_the_question_that_asks_for_it(broken: Callable[[Story], None], question: str) -> None:
    story = told()
    broken(story)
    assert story.found() == {question}


@pytest.mark.parametrize("state", ["timed_out", "cancelled"])
def test_a_killed_step_may_have_ended_just_before_but_not_after_it_was_told_dead(state: str) -> None:
    assert killed(state, told_s=6.5).found() == set()
    assert killed(state, told_s=5.5).found() == {"what_is_told_as_killed_did_not_go_on"}
    assert killed("lost", told_s=5.5).found() == set(), "of what is lost nobody says that it is dead"


def test_each_question_counts_what_it_looked_at() -> None:
    assert looked_at(Witness(told().lines, told().rows)) == {
        "no_attempt_begins_twice": 3, "every_line_is_of_an_attempt": 5, "what_ended_by_itself_wrote_so": 2,
        "what_is_told_as_killed_did_not_go_on": 0, "what_never_started_wrote_nothing": 1, "steps_follow_each_other": 1,
        "nothing_follows_a_failure": 1, "what_is_lost_is_not_repeated": 2,
    }  # fmt: skip


def test_every_question_is_broken_by_a_story() -> None:
    assert {question for _, question in STORIES} == set(QUESTIONS)


def test_an_intent_counts_as_readable_only_from_when_it_was_written() -> None:
    story, partition = told(), Partition("events.run", 0)
    found = starts(Witness(story.lines, story.rows), {partition: [(0.0, 5), (2.0, 6), (9.0, 7)]})
    assert [start.visible[partition] for start in found] == [6, 7, 7]
    assert starts(Witness(story.lines[:1], story.rows), {partition: [(9.0, 7)]})[0].visible == {partition: 0}


def test_the_longest_stall_is_between_two_begins() -> None:
    assert longest_stall(told().lines) == 2.0
    assert longest_stall([]) == 0.0


def test_what_ended_by_itself_wrote_its_last_deed_and_what_only_began_nothing() -> None:
    story = told()
    said = written(Witness(story.lines, story.rows))
    assert [said.get(mark(row)) for row in story.rows] == ["output of first\n", "", "output of second\n", None]
