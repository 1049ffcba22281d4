"""How does a shell read what is not words: quotes, expansions, arithmetic, subscripts and patterns?"""

import re
from collections.abc import Callable

from domain.job.placement import IN_EXPANSION, IN_QUOTES
from domain.job.shell_state import (
    ARITHMETIC,
    ARRAY,
    BRACED,
    CONDITION,
    HERE,
    LIST,
    OLD_ARITHMETIC,
    PATTERN,
    QUOTED,
    SUBSCRIPT,
    Reading,
    Unread,
)

_QUOTED_RUN = re.compile(r'[^"\\$`{]+')
_HERE_RUN = re.compile(r"[^\\$`{]+")
_EXPANSION_RUN = re.compile(r"[^\"'\\$`{}]+")
_NESTED_RUN = re.compile(r"[^\"'\\$`{}()\[\]#;<\n]+")
_BACKQUOTED = re.compile(r"`[^`\\]*(?:\\.[^`\\]*)*`", re.DOTALL)
_ANSI_QUOTED = re.compile(r"\$'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL)
_PLAIN_EXPANSION = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])", re.ASCII)
_BRACED = re.compile(r"\$\{(?:[#!]?(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*])|[!#]?[#?$!-])", re.ASCII)
_ONE_WORD = re.compile(r"\$\{(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[*#?$!-])\}", re.ASCII)
"""An expansion that is one word in quotes; others may be `"${list[@]}"`."""

_HARMLESS_QUOTES = re.compile(r"'[^'\"\\$`{}\n]*'")
_OF_PATTERN = re.compile(r"\$\{(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*])[#%]", re.ASCII)
_OF_PATTERN_IN_BASH = re.compile(r"\$\{(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*])[#%/^,]", re.ASCII)
"""Where single quotes quote in `${ }` in double quotes, too; elsewhere shells differ."""


def escape(r: Reading, index: int) -> int:
    """A backslash outside of quotes; before the end of a line it is nothing, not even the end of a word."""
    escaped = r.text[index + 1 : index + 2]
    if escaped != "\n":
        r.literal(escaped, quoted=True)
    r.not_into_placeholder(index + 2)
    return index + 2


def single_quotes(r: Reading, index: int) -> int:
    """Single quotes in a word, to their end."""
    close = r.text.find("'", index + 1, r.end)
    if close < 0:
        raise Unread("a ' is not closed")
    r.literal(r.text[index + 1 : close], quoted=True)
    return r.skip(close + 1, IN_QUOTES)


def double_quotes(r: Reading, index: int) -> int:
    """Double quotes begin in a word."""
    top = r.top
    word = r.word() if top.kind in (LIST, CONDITION, ARRAY) else None
    if word is not None:
        word.add("", quoted=True)
    r.push(QUOTED, top.reason or IN_QUOTES, word).like_quotes = True
    return index + 1


def dollar(r: Reading, index: int) -> int:
    """`$` outside of single quotes."""
    text, following = r.text, r.text[index + 1 : index + 2]
    if r.text.startswith("\\\n", index + 1):
        raise Unread("a line is continued after $")
    if r.top.kind in (LIST, CONDITION, ARRAY):
        r.word()
    if following in _OPENED_BY_DOLLAR:
        if r.top.word is not None:
            r.top.word.expand(many=not _in_quotes(r) or (following == "{" and not _ONE_WORD.match(text, index, r.end)))
        return _OPENED_BY_DOLLAR[following](r, index)
    if following == "'" and not _in_quotes(r):
        return _ansi_quotes(r, index)
    if following == "'" and r.top.kind == BRACED:
        raise Unread("a $' in ${ } in double quotes")
    if found := _PLAIN_EXPANSION.match(text, index, r.end):
        if r.top.word is not None:
            r.top.word.expand(many=not _in_quotes(r) or following == "@")
        return found.end()
    if r.top.word is not None and not (following == '"' and not _in_quotes(r)):
        r.top.word.add("$", quoted=False)
    return index + 1


def _bracket_of_dollar(r: Reading, index: int) -> int:
    r.push(OLD_ARITHMETIC, r.inherited() or IN_EXPANSION).like_quotes = True
    return index + 2


def _in_quotes(r: Reading) -> bool:
    return r.top.like_quotes


def _ansi_quotes(r: Reading, index: int) -> int:
    found = _ANSI_QUOTED.match(r.text, index, r.end)
    if not found or (not r.is_bash and "\\'" in found[0]):
        raise Unread("a $' is not closed" if not found else "not every sh knows $' with a quote in it")
    if r.top.word is not None:
        r.top.word.add("", quoted=True)
        if "\\" in found[0]:
            r.top.word.expand()
        else:
            r.top.word.add(found[0][2:-1], quoted=True)
    return r.skip(found.end(), IN_QUOTES)


def _parenthesis_of_dollar(r: Reading, index: int) -> int:
    r.not_continued(index + 2)
    if r.text.startswith("((", index + 1):
        r.push(ARITHMETIC, r.inherited() or IN_EXPANSION).in_word = True
        r.top.like_quotes = True
        return index + 3
    r.push(LIST, r.inherited()).in_word = True
    return index + 2


def _brace_of_dollar(r: Reading, index: int) -> int:
    text, top = r.text, r.top
    if r.next == index + 1:
        raise Unread("a $ stands before a placeholder")
    if text[index + 2 : index + 3] in (" ", "\t", "\n", "|"):
        raise Unread("commands in ${ } are not known everywhere")
    found = _BRACED.match(text, index, r.end)
    end = found.end() if found else index + 2
    if text.startswith("}", end) and end < r.end:
        return end + 1
    literal_quotes = top.like_quotes and not (_OF_PATTERN_IN_BASH if r.is_bash else _OF_PATTERN).match(text, index, r.end)
    opened = r.push(BRACED, r.inherited() or IN_EXPANSION)
    opened.like_quotes, opened.literal_quotes = top.like_quotes, literal_quotes
    return end


def backquotes(r: Reading, index: int) -> int:
    """Backquotes, to their end: what stands in them is read by rules of its own, so no placeholder may."""
    found = _BACKQUOTED.match(r.text, index, r.end)
    if not found:
        raise Unread("a ` is not closed")
    if r.top.kind in (LIST, CONDITION, ARRAY):
        r.word()
    if r.top.word is not None:
        r.top.word.expand(many=not _in_quotes(r))
    return r.skip(found.end(), r.inherited() or IN_EXPANSION)


def read_quoted(r: Reading, index: int) -> int:
    """Read on in double quotes or a here-document."""
    text, top = r.text, r.top
    is_here = top.kind == HERE
    if run := (_HERE_RUN if is_here else _QUOTED_RUN).match(text, index, min(r.end, r.next)):
        if top.word is not None:
            top.word.add(run[0], quoted=True)
        return run.end()
    char = text[index]
    if char == "\\":
        return _escape_in_quotes(r, index)
    if char == "$":
        return dollar(r, index)
    if char == "`":
        return backquotes(r, index)
    if char == '"':
        r.pop()
    elif top.word is not None:
        top.word.add(char, quoted=True)
    return index + 1


def _escape_in_quotes(r: Reading, index: int) -> int:
    escaped, word = r.text[index + 1 : index + 2], r.top.word
    if r.next == index + 1:
        return index + 1
    if word is not None and escaped != "\n":
        word.add(escaped if escaped in '$`"\\' else "\\" + escaped, quoted=True)
    return min(index + 2, r.end)


def read_braced(r: Reading, index: int) -> int:
    """Read on in `${ }`."""
    text, top = r.text, r.top
    if run := _EXPANSION_RUN.match(text, index, min(r.end, r.next)):
        return run.end()
    char = text[index]
    if char == "}":
        r.pop()
        return index + 1
    if char == "'" and top.like_quotes and top.literal_quotes:
        return _skip_doubtful_quotes(r, index)
    if char == "'":
        return _skip_single_quotes(r, index)
    return _read_nested_character(r, index)


def _skip_doubtful_quotes(r: Reading, index: int) -> int:
    """Single quotes in `${ }` in double quotes: bash wants them in pairs, others take each for itself."""
    found = _HARMLESS_QUOTES.match(r.text, index, min(r.end, r.next))
    if not found:
        raise Unread("a ' in ${ } in double quotes")
    return found.end()


def _skip_single_quotes(r: Reading, index: int) -> int:
    close = r.text.find("'", index + 1, r.end)
    if close < 0:
        raise Unread("a ' is not closed")
    return r.skip(close + 1, r.top.reason)


def _read_nested_character(r: Reading, index: int) -> int:
    """A character that means the same in everything that is neither words nor quotes."""
    char = r.text[index]
    if char == "\\":
        r.not_into_placeholder(index + 2)
        return index + 2
    if char == "$":
        return dollar(r, index)
    if char == "`":
        return backquotes(r, index)
    if char == '"':
        if any(opened.kind == HERE for opened in r.stack[-2:]):
            raise Unread('a " in an expansion in a here-document')
        r.push(QUOTED, r.top.reason).like_quotes = True
    return index + 1


def read_nested(r: Reading, index: int) -> int:
    """Read on in arithmetic, a subscript or a pattern, counting what opens and closes."""
    text, top = r.text, r.top
    if run := _NESTED_RUN.match(text, index, min(r.end, r.next)):
        return run.end()
    char = text[index]
    opening, closing = ("[", "]") if top.kind in (OLD_ARITHMETIC, SUBSCRIPT) else ("(", ")")
    if char == opening:
        top.depth += 1
        return index + 1
    if char == closing:
        return _close_nested(r, index)
    if char == "'" and top.kind != PATTERN and top.kind != SUBSCRIPT:
        raise Unread("a ' in arithmetic")
    if char == "'":
        return _skip_single_quotes(r, index)
    if char == "\n" and top.kind == SUBSCRIPT:
        raise Unread("a subscript is not closed")
    if char == "#" and text[index - 1] in " \t\n;(" and top.kind != PATTERN:
        raise Unread("a # in arithmetic")
    if char == "<" and text.startswith("<<", index) and not top.in_word and not r.is_bash:
        raise Unread("a << in ((")
    return _read_nested_character(r, index)


def _close_nested(r: Reading, index: int) -> int:
    top = r.top
    if top.depth:
        top.depth -= 1
        return index + 1
    if top.kind == ARITHMETIC and not r.text.startswith("))", index):
        raise Unread("(( is not closed by )); write ( ( if a command in a command is meant")
    r.pop()
    if top.kind == SUBSCRIPT:
        r.word().add("[]", quoted=False)
    return index + (2 if top.kind == ARITHMETIC else 1)


_OPENED_BY_DOLLAR: dict[str, Callable[[Reading, int], int]] = {
    "(": _parenthesis_of_dollar,
    "{": _brace_of_dollar,
    "[": _bracket_of_dollar,
}
