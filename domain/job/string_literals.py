"""Where are the strings of a Python or PowerShell script?"""

import re
from collections.abc import Iterator

_PYTHON = re.compile(r"'''|\"\"\"|['\"#]")
_PYTHON_ENDS = {
    quote: re.compile(r"\\.|" + quote + (r"|\n" if quote == "#" else ""), re.DOTALL) for quote in ("'", '"', "'''", '"""')
}

_SINGLE, _DOUBLE = "'\u2018\u2019\u201a\u201b", '"\u201c\u201d\u201e'
"""What PowerShell takes for quotes, those of word processors included."""

_POWERSHELL = re.compile(rf"`.|<#|(?<![^\s;|&(){{}}])#|@[{_SINGLE}{_DOUBLE}][ \t]*\r?\n|[{_SINGLE}{_DOUBLE}()]", re.DOTALL)
_AFTER_SINGLE = re.compile(rf"[{_SINGLE}]{{2}}|[{_SINGLE}]")
_AFTER_DOUBLE = re.compile(rf"`.|[{_DOUBLE}]{{2}}|[{_DOUBLE}]|\$\(", re.DOTALL)
_HERE_ENDS = {True: re.compile(rf"\n[{_SINGLE}]@"), False: re.compile(rf"\n[{_DOUBLE}]@")}


def python_strings(text: str) -> Iterator[tuple[int, int]]:
    """Where each string begins and ends, in order; one that is not closed goes to the end.

    What else is looked at, such as a comment, is told as an empty one, so that the work can be counted.
    """
    index = 0
    while found := _PYTHON.search(text, index):
        if found[0] == "#":
            index = _end_of_line(text, found.end())
            yield index, index
            continue
        index = found.end()
        while (end := _PYTHON_ENDS[found[0]].search(text, index)) and end[0] != found[0]:
            index = end.end()
        index = end.end() if end else len(text)
        yield found.start(), index


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def powershell_strings(text: str) -> Iterator[tuple[int, int]]:
    """The same for PowerShell; a `$( )` in a string is none, and what a backquote stands before counts as part of one."""
    index = 0
    parentheses = [-1]
    """How many are open in each `$( )` of a string; -1 outside of all."""
    while found := _POWERSHELL.search(text, index):
        begin, index, what = found.start(), found.end(), found[0]
        yield begin, begin
        if what == "(":
            parentheses[-1] += parentheses[-1] >= 0
        elif what == ")":
            if parentheses[-1] == 0:
                parentheses.pop()
                index = _rest_of_double(text, index, parentheses)
                yield begin + 1, index
            parentheses[-1] -= parentheses[-1] > 0
        elif what in ("#", "<#"):
            index = _end_of_line(text, index) if what == "#" else _after(text, "#>", index)
        elif what[0] == "@":
            end = _HERE_ENDS[what[1] in _SINGLE].search(text, index - 1)
            index = end.end() if end else len(text)
            yield begin, index
        elif what[0] == "`":
            yield begin + 1, index
        elif what in _SINGLE:
            index = _rest_of_single(text, index)
            yield begin, index
        else:
            index = _rest_of_double(text, index, parentheses)
            yield begin, index


def _after(text: str, what: str, index: int) -> int:
    found = text.find(what, index)
    return len(text) if found < 0 else found + len(what)


def _rest_of_single(text: str, index: int) -> int:
    while end := _AFTER_SINGLE.search(text, index):
        index = end.end()
        if len(end[0]) == 1:
            return index
    return len(text)


def _rest_of_double(text: str, index: int, parentheses: list[int]) -> int:
    """Where a string in double quotes ends, or is interrupted by `$(`."""
    while end := _AFTER_DOUBLE.search(text, index):
        index = end.end()
        if end[0] == "$(":
            parentheses.append(0)
            return index
        if len(end[0]) == 1:
            return index
    return len(text)
