"""How does a value reach a script without ever becoming its syntax?

As a reference to an environment variable, written as the shell writes it. The value is never part of the text, so nothing in it
can end a quote. What remains is where the reference stands: in the author's own quotes it would not be one argument, and some
places are evaluated whatever is quoted there, such as bash's arithmetic, which runs the commands in a variable's subscript. So a
placeholder may stand only where it is known that its value stays a value; everywhere else it is refused when the job is defined.

What no scan can see is what becomes of a variable that was given a value: `n={{ … }}` and later `$(( n + 1 ))` or `${!n}`, or a
program that takes an argument for code. `docs/decisions/0004` and `docs/how-to/write-jobs.md` say so.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal, get_args

from domain.job.placement import IN_QUOTES, Reason, unread
from domain.job.shell_reading import refused_ranges
from domain.job.shell_state import Reading
from domain.job.string_literals import powershell_strings, python_strings
from domain.job.template import Placeholder

Shell = Literal["sh", "bash", "python", "powershell"]
SHELLS: tuple[Shell, ...] = get_args(Shell)


def reference(shell: Shell, variable: str) -> str:
    """The text that stands for an environment variable's value as one word or expression of `shell`."""
    match shell:
        case "sh" | "bash":
            return f'"${{{variable}}}"'
        case "python":
            return f'__import__("os").environ.get("{variable}", "")'
        case "powershell":
            return f"${{env:{variable}}}"


MOST_STEPS = 15_000
"""How many words and signs may be read in all to judge the placeholders of a job."""


def refused_places(
    shell: Shell, text: str, placeholders: Sequence[Placeholder], numbers: Collection[str] = (), most_steps: int = MOST_STEPS
) -> tuple[Mapping[int, Reason], int]:
    """Which of `text`'s placeholders may not stand where they do, by number, and why; and in how many steps that was found.

    `numbers` names the placeholders whose values are digits by their type: they may stand where others would be evaluated. What
    is not read in `most_steps` is refused.
    """
    if not placeholders:
        return {}, 0
    if shell in ("sh", "bash"):
        reading = Reading(text, placeholders, shell == "bash", most_steps)
        return _by_number(refused_ranges(reading), placeholders, numbers), reading.steps
    strings = python_strings(text) if shell == "python" else powershell_strings(text)
    read = list(islice(strings, most_steps + 1))
    ranges = _within(read, placeholders)
    if len(read) > most_steps:
        ranges.append((0, len(placeholders), unread("there is too much of it; take values from the environment", 1)))
    return _by_number(ranges, placeholders, numbers), len(read)


def _within(strings: Iterable[tuple[int, int]], placeholders: Sequence[Placeholder]) -> list[tuple[int, int, Reason]]:
    """The placeholders that begin in one of `strings`, which are in ascending order."""
    ranges: list[tuple[int, int, Reason]] = []
    number = 0
    for begin, end in strings:
        while number < len(placeholders) and placeholders[number].start < begin:
            number += 1
        first = number
        while number < len(placeholders) and placeholders[number].start < end:
            number += 1
        if number > first:
            ranges.append((first, number, IN_QUOTES))
    return ranges


def _by_number(
    ranges: Sequence[tuple[int, int, Reason]], placeholders: Sequence[Placeholder], numbers: Collection[str]
) -> Mapping[int, Reason]:
    """The reason for each placeholder in one of `ranges`, of which many may hold the same ones."""
    refused: dict[int, Reason] = {}
    for is_waived in (False, True):
        reached = 0
        for first, last, reason in sorted((r for r in ranges if r[2].numbers_may is is_waived), key=lambda r: (r[0], -r[1])):
            for number in range(max(first, reached), last):
                if not (is_waived and placeholders[number].name in numbers):
                    refused.setdefault(number, reason)
            reached = max(reached, last)
    return refused
