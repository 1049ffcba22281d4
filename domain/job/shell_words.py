"""What is a word of a shell command, as far as it can be told without running it?"""

import re

_KEPT = 256
"""How much of a word is looked at, in characters: longer than every name, and a bound on the work for each piece of it."""

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[\])?\+?=", re.ASCII)
_VERSION = re.compile(r"(?<=[a-z])[-.0-9]+$", re.ASCII)


class Word:
    """One word while it is read: what is written out at its beginning and its end, and the numbers of its placeholders.

    `lead` is the text up to the first expansion, quotes removed; a subscript is `[]` there. `first` to `last` are the
    placeholders from its beginning to its end, with those in command substitutions; `held` those that are part of the word.
    """

    __slots__ = ("array", "bare", "expands", "first", "held", "last", "lead", "loose", "many", "tail")

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.lead = self.tail = ""
        self.bare = -1
        """How much of `lead` stands before the first quote; -1 for all of it."""
        self.expands = False
        self.loose = False
        """Whether braces or a pattern may make other words of it."""
        self.many = False
        """Whether it may become no word or several, as what is not in quotes and `"$@"` may."""
        self.array = False
        self.held: list[int] = []

    def add(self, text: str, quoted: bool) -> None:
        """Take in literal text."""
        if self.expands:
            self.tail = (self.tail + text)[-_KEPT:]
            return
        if quoted and self.bare < 0:
            self.bare = len(self.lead)
        self.lead = (self.lead + text[:_KEPT])[:_KEPT]

    def expand(self, many: bool = False) -> None:
        """Take in something of which only the run will tell what it becomes, and with `many` even how many words."""
        self.expands = True
        self.many = self.many or many
        self.tail = ""

    @property
    def literal(self) -> str | None:
        """What the word is for certain, quotes removed; None if that is not known."""
        if self.expands or len(self.lead) >= _KEPT or (self.loose and self.lead not in ("[", "[[")):
            return None
        return self.lead

    @property
    def reserved(self) -> str | None:
        """The same for a word without any quotes, as a reserved word has to be."""
        return self.literal if self.bare < 0 else None

    @property
    def name(self) -> str | None:
        """The command's name, or what it ends with as in `./run-$x.sh`, without folder and version; None if it is not known."""
        literal = self.literal
        if literal is None and self.expands and not self.held:
            is_known = "/" in self.tail or ("/" in self.lead and self.tail[:1] == ".")
            literal = self.tail if is_known else None
        return None if literal is None else _VERSION.sub("", literal.rpartition("/")[2])

    @property
    def variable(self) -> str | None:
        """The variable that the word assigns to, if it is an assignment."""
        found = _ASSIGNMENT.match(self.lead)
        return found[1] if found and (self.bare < 0 or found.end() <= self.bare) else None

    @property
    def is_operand(self) -> bool:
        """Whether it is there for certain, and nothing says that it may be an option."""
        if self.lead:
            return self.lead[0] not in "-+" and not (self.loose and self.lead[0] in "{[*?")
        return not self.many or "/" in self.tail

    @property
    def has_options_in_braces(self) -> bool:
        """Whether braces make options of it, as `{-e,-c}` does."""
        return self.loose and self.lead[:1] == "{" and ("{-" in self.lead or ",-" in self.lead)

    @property
    def has_placeholders(self) -> bool:
        """Whether there are any, those in command substitutions included."""
        return self.last > self.first
