"""What is open where the reading of a shell script stands?"""

import re
from collections.abc import Sequence

from domain.job.placement import IN_QUOTES, Reason
from domain.job.shell_commands import Judge
from domain.job.shell_words import Word
from domain.job.template import Placeholder

DEEPEST = 100
"""How many things may be open in each other."""

LIST, CONDITION, ARRAY, QUOTED, HERE, BRACED, ARITHMETIC, OLD_ARITHMETIC, PATTERN, SUBSCRIPT = range(10)
"""Commands, `[[`, the words of a compound assignment, double quotes, a here-document, `${`, `((`, `$[`, `@(`, a subscript."""

NAMES = ("a command", "[[", "( of an array", 'a "', "a here-document", "${", "((", "$[", "a pattern's (", "a subscript's [")

_OPTIONS = r"(?:[\s\"'\\]+[-+]\w+)*[\s\"'\\]+[-+]\w*"
_MAY_DECLARE = re.compile(rf"(?<![\w/.-])(?:declare|typeset|local){_OPTIONS}[in]", re.ASCII)
_MAY_HAVE_ARRAYS = re.compile(
    rf"(?<![\w/.-])(?:declare|typeset|local|readonly|export|read){_OPTIONS}[aA]|\w\[|=\(|mapfile|readarray", re.ASCII
)
"""What makes a variable an integer, a reference or an array, wherever it is written, in quotes for `eval`, too."""


class Unread(Exception):
    """The script cannot be followed on; says why."""


class Open:
    """Something that is open, and where the reading stands in it."""

    __slots__ = (
        "began",
        "cases",
        "commanded",
        "depth",
        "end",
        "fed",
        "in_word",
        "kind",
        "like_quotes",
        "literal_quotes",
        "outer_end",
        "reason",
        "redirection",
        "word",
        "words",
    )

    def __init__(self, kind: int, reason: Reason | None, began: int, word: Word | None = None) -> None:
        self.began = began
        """The number of the next placeholder when the command that is being read began, or the `case` around it."""
        self.kind, self.reason, self.word = kind, reason, word
        """`reason` is why no placeholder may stand here, `word` the one that is being read."""
        self.words: list[Word] = []
        self.cases: list[str] = []
        """For each `case` that is open among these commands, what comes next: word, in, first (pattern), pattern, body."""
        self.redirection = ""
        self.fed: Word | None = None
        """What the command gets as standard input by `<<<` or `<`."""
        self.commanded = False
        """Whether the command's name has been read, after which nothing is an assignment any more."""
        self.in_word = False
        """Whether what is open is part of a word of what is around it."""
        self.depth = 0
        self.like_quotes = False
        """Whether a single quote is nothing special, as in double quotes."""
        self.literal_quotes = False
        """Whether that is so in `${ }`, too, at least for some shells: it is not in a pattern."""
        self.outer_end = self.end = 0


class Reading:
    """The reading of one script: what is open, which placeholder comes next and what has been refused."""

    def __init__(self, text: str, placeholders: Sequence[Placeholder], is_bash: bool, most_steps: int) -> None:
        self.text, self.end, self.is_bash = text, len(text), is_bash
        self.placeholders = placeholders
        self.count = len(placeholders)
        self.number = 0
        self.next = placeholders[0].start if placeholders else len(text) + 1
        self.judge = Judge(is_bash, _MAY_DECLARE.search(text) is not None, _MAY_HAVE_ARRAYS.search(text) is not None)
        self.top = Open(LIST, None, 0)
        self.stack = [self.top]
        self.documents: list[tuple[str, bool, bool]] = []
        self.documents_of = self.top
        self.steps, self._most_steps = 0, most_steps
        """How many steps the reading took, and may take: what its work is measured by."""

    def step(self) -> None:
        """Count one more step."""
        if self.steps >= self._most_steps:
            raise Unread("there is too much of it; take values from the environment")
        self.steps += 1

    def push(self, kind: int, reason: Reason | None, word: Word | None = None) -> Open:
        """Something is open from here on."""
        if len(self.stack) >= DEEPEST:
            raise Unread("too much is open in each other")
        self.top = Open(kind, reason, self.number, word)
        self.stack.append(self.top)
        return self.top

    def pop(self) -> Open:
        """What was open last is closed."""
        closed = self.stack.pop()
        self.top = self.stack[-1]
        return closed

    def placeholder(self) -> int:
        """Take in the next placeholder, at which the reading stands; returns where the text goes on."""
        top = self.top
        if top.reason is not None:
            self.judge.refuse(self.number, self.number + 1, top.reason)
        else:
            word = self.word()
            word.held.append(self.number)
            word.expand()
        end = self.placeholders[self.number].end
        self._to_next(self.number + 1)
        return end

    def _to_next(self, number: int) -> None:
        self.number = number
        self.next = self.placeholders[number].start if number < self.count else len(self.text) + 1

    def skip(self, to: int, reason: Reason | None) -> int:
        """Take in everything up to `to` at once; placeholders there are refused for `reason`, if there is one."""
        number = self.number
        while number < self.count and self.placeholders[number].start < to:
            number += 1
        if reason is not None and number > self.number:
            self.judge.refuse(self.number, number, reason)
        if number > self.number:
            self._to_next(number)
        return to

    def word(self) -> Word:
        """The word that is being read, or a new one."""
        if self.top.word is None:
            self.top.word = Word(self.number)
        return self.top.word

    def literal(self, text: str, quoted: bool) -> None:
        """Take in text that means itself."""
        self.word().add(text, quoted)

    def not_into_placeholder(self, to: int) -> None:
        """Raise `Unread` if a placeholder begins before `to`: a backslash would take a part of what becomes of it."""
        if self.next < to:
            raise Unread("a backslash stands before a placeholder")

    def inherited(self) -> Reason | None:
        """Why no placeholder may stand in what is opened here: quotes are no reason inside a command substitution."""
        return None if self.top.reason is IN_QUOTES else self.top.reason

    def not_continued(self, index: int) -> None:
        """Raise `Unread` if the line is continued at `index`, in the midst of what may be one sign."""
        if self.text.startswith("\\\n", index):
            raise Unread("a line is continued after (")
