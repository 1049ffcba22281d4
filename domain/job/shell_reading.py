"""How does a shell read a script, and what stands where?

The word grammar of POSIX and bash: quotes, escapes and continued lines, comments, here-documents, command substitution with
`case` in it, backquotes, arithmetic, `[[ ]]`, subscripts and compound assignments. One pass from left to right with a stack of
what is open; what one step has read no later one reads again, so the work grows as the text does, and it is bounded.

What cannot be followed for certain, because it is not closed, shells differ or it is too deep, ends the pass: every placeholder
from the command that is open there to the end of the script is refused. A script is refused rather than misread.
"""

import re
from collections.abc import Callable

from domain.job.placement import IN_EXPANSION, IN_HERE_DOCUMENT, Reason, unread
from domain.job.shell_nesting import (
    backquotes,
    dollar,
    double_quotes,
    escape,
    read_braced,
    read_nested,
    read_quoted,
    single_quotes,
)
from domain.job.shell_state import ARITHMETIC, ARRAY, CONDITION, HERE, LIST, NAMES, PATTERN, SUBSCRIPT, Reading, Unread
from domain.job.shell_words import Word

_RUN = re.compile(r"[^ \t\n\"'\\$`<>|&;()#{}\[\]*?]+")
_BLANKS = re.compile(r"[ \t]+")
_REDIRECTION = re.compile(r"<<<|<<-|<<|<>|<&|<\(|>\(|>>|>\||>&|<|>")
_DELIMITER = re.compile(r"[ \t]*((?:[A-Za-z0-9_.!%+,/:=@^~-]+|\\[^\n]|'[^'\n]*'|\"[^\"\\$`\n]*\")+)(?=[ \t\n;&|<>)]|$)")
_QUOTING = re.compile(r"\\(.)|['\"]")
_NO_WORDS = re.compile(r"\([ \t]*\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_BEFORE_A_COMMAND = frozenset(
    ("if", "then", "elif", "else", "do", "while", "until", "{", "!", "time", "-p", "--", "fi", "done", "}")
)
_DECLARING = frozenset(("declare", "typeset", "local", "export", "readonly"))
_MOST_DOCUMENTS = 16
"""How many here-documents one line may begin; bash knows no more."""


def refused_ranges(r: Reading) -> list[tuple[int, int, Reason]]:
    """Read the script; the ranges of refused placeholders, first and one past the last, with the reason of each."""
    index = 0
    try:
        while index < r.end or r.top.kind == HERE:
            r.step()
            if index == r.next:
                index = r.placeholder()
            elif index >= r.end:
                index = _close_document(r)
            else:
                index = _READERS[r.top.kind](r, index)
        _ended(r)
    except Unread as why:
        _give_up(r, str(why), index)
    return r.judge.refusals(r.count)


def _give_up(r: Reading, why: str, index: int) -> None:
    r.judge.refuse(r.stack[0].began, r.count, unread(why, r.text.count("\n", 0, index) + 1))


def _ended(r: Reading) -> None:
    if r.top.kind == CONDITION:
        _end_word(r)
    if len(r.stack) == 1:
        _end_command(r)
    if len(r.stack) > 1:
        raise Unread(f"{NAMES[r.top.kind]} is not closed")
    if r.documents or r.top.cases:
        raise Unread("a here-document has no body" if r.documents else "a case is not closed")


def _read_words(r: Reading, index: int) -> int:
    """Read on outside of quotes."""
    if run := _RUN.match(r.text, index, min(r.end, r.next)):
        r.literal(run[0], quoted=False)
        return run.end()
    if blanks := _BLANKS.match(r.text, index, r.end):
        _end_word(r)
        return blanks.end()
    return _OUTSIDE_QUOTES[r.text[index]](r, index)


def _hash(r: Reading, index: int) -> int:
    top = r.top
    if top.word is not None:
        top.word.add("#", quoted=False)
        return index + 1
    if top.kind == CONDITION:
        raise Unread("a # begins a word in [[")
    end = r.text.find("\n", index, r.end)
    return r.skip(r.end if end < 0 else end, None)


def _brace(r: Reading, index: int) -> int:
    word = r.word()
    word.add(r.text[index], quoted=False)
    if r.text[index] == "{" and r.text[index + 1 : index + 2] not in ("}", " ", "\t", "\n", ";", ""):
        word.loose = True
    return index + 1


def _pattern_character(r: Reading, index: int) -> int:
    word = r.word()
    if r.text[index] == "[" and _begins_subscript(r, word):
        if not word.lead:
            word.add("x", quoted=False)
        r.push(SUBSCRIPT, r.top.reason or IN_EXPANSION)
        return index + 1
    word.add(r.text[index], quoted=False)
    word.loose = word.loose or r.text[index] != "]"
    return index + 1


def _begins_subscript(r: Reading, word: Word) -> bool:
    """In `name[…]=` where an assignment may stand, and in `[…]=` among the words of a compound one."""
    top = r.top
    if word.expands or word.bare >= 0:
        return False
    if top.kind == ARRAY:
        return not word.lead
    may_assign = top.kind == LIST and not top.commanded and not top.redirection and (not top.cases or top.cases[-1] == "body")
    return may_assign and _NAME.fullmatch(word.lead) is not None


def _end_word(r: Reading) -> None:
    top, word = r.top, r.top.word
    if word is None:
        return
    top.word = None
    word.last = r.number
    if top.redirection:
        r.judge.redirected(top.redirection, word)
        if top.redirection in ("<<<", "<"):
            top.fed = word
        top.redirection = ""
    elif top.kind == CONDITION:
        _end_word_of_condition(r, word)
    elif top.kind == LIST and top.cases and top.cases[-1] != "body":
        _end_word_of_case(r, word)
    elif top.kind == LIST and (top.words or not _is_reserved(r, word)):
        top.words.append(word)
        top.commanded = top.commanded or word.variable is None
        _end_head_of_loop(r)


def _is_reserved(r: Reading, word: Word) -> bool:
    """Whether a command's first word is reserved, and taken in as such."""
    reserved = word.reserved
    if reserved == "case":
        r.top.cases.append("word")
    elif reserved == "esac" and r.top.cases:
        r.top.cases.pop()
    elif reserved == "[[":
        r.push(CONDITION, r.top.reason)
    elif reserved == "coproc":
        raise Unread("coproc")
    else:
        return reserved in _BEFORE_A_COMMAND
    return True


def _end_head_of_loop(r: Reading) -> None:
    """`for x do`, `function x`: what follows is a command again, without a separator."""
    words = r.top.words
    first = words[0].reserved
    if (first in ("for", "select") and len(words) == 3 and words[2].reserved == "do") or (
        first == "function" and len(words) == 2
    ):
        _forget_words(r)


def _forget_words(r: Reading) -> None:
    top = r.top
    top.words = []
    top.commanded = False
    top.fed = None
    if not top.cases:
        top.began = r.number


def _end_word_of_case(r: Reading, word: Word) -> None:
    cases = r.top.cases
    if cases[-1] == "word":
        cases[-1] = "in"
    elif cases[-1] == "in":
        if word.reserved != "in":
            raise Unread("a case has no in")
        cases[-1] = "first"
    elif cases[-1] == "first" and word.reserved == "esac":
        cases.pop()
    else:
        cases[-1] = "pattern"


def _end_word_of_condition(r: Reading, word: Word) -> None:
    if word.reserved == "]]":
        if r.top.depth:
            raise Unread("a ( in [[ is not closed")
        r.judge.condition(r.pop().words)
    else:
        r.top.words.append(word)


def _newline(r: Reading, index: int) -> int:
    _end_word(r)
    top, began = r.top, r.top.began
    _only_in_bash(r)
    if top.kind == LIST and (not top.cases or top.cases[-1] == "body"):
        _end_command(r)
    if r.documents:
        top.began = began
        if r.documents_of is not r.top or r.top.kind != LIST:
            raise Unread("a here-document begins in another command")
        return _open_document(r, index + 1)
    return index + 1


def _end_command(r: Reading) -> None:
    _end_word(r)
    top = r.top
    if top.kind == CONDITION:
        raise Unread("[[ is not closed")
    if top.redirection:
        raise Unread("a redirection leads nowhere")
    if top.words:
        r.judge.command(top.words)
        if top.fed is not None:
            r.judge.fed(top.words, top.fed)
    _forget_words(r)


def _separator(r: Reading, index: int) -> int:
    """`;`, `&` and `|`, one or more of them."""
    text, end = r.text, index + 1
    while end < r.end and end - index < 3 and text[end] in ";&|":
        end += 1
    operator = text[index:end]
    _end_word(r)
    top = r.top
    if top.kind == CONDITION:
        return _end_term(r, operator, end)
    if top.kind == ARRAY:
        raise Unread(f"a {operator[0]} in an array")
    if top.cases and top.cases[-1] != "body":
        if operator != "|":
            raise Unread(f"a {operator[0]} in the pattern of a case")
        top.cases[-1] = "pattern"
        return end
    if operator == "&" and text.startswith(">", end):  # &> and &>>
        if not r.is_bash:
            raise Unread("&> is known to bash only, for others the & ends the command; write > file 2>&1")
        return _redirect(r, "&>", end + (2 if text.startswith(">>", end) else 1))
    _end_command(r)
    if operator in (";;", ";&", ";;&"):
        if not top.cases:
            raise Unread("a ;; outside of a case")
        top.cases[-1] = "first"
    return end


def _only_in_bash(r: Reading) -> None:
    """Raise `Unread` for more than words in a `[[ ]]` of sh: other shells know no `[[`, and begin another command."""
    if r.top.kind == CONDITION and not r.is_bash:
        raise Unread("[[ is known to bash only; write [ ]")


def _end_term(r: Reading, operator: str, end: int) -> int:
    _only_in_bash(r)
    if operator not in ("&&", "||", "|"):
        raise Unread(f"a {operator[0]} in [[")
    if operator != "|":
        r.judge.condition(r.top.words)
        r.top.words = []
    return end


def _angle(r: Reading, index: int) -> int:
    found = _REDIRECTION.match(r.text, index, r.end)
    operator = found[0] if found else r.text[index]
    if operator in ("<(", ">("):
        r.word().expand()
        r.not_continued(index + 2)
        r.push(LIST, r.top.reason).in_word = True
        return index + 2
    if r.top.kind == CONDITION and operator[:2] != "<<":
        _only_in_bash(r)
        _end_word(r)
        return index + 1
    if r.top.kind != LIST:
        raise Unread(f"a {operator} in an array or in [[")
    if (word := r.top.word) is not None:
        if word.first < r.number and word.lead[:1] == "{":
            raise Unread("a placeholder stands in the name of a redirection's variable")
        if _is_descriptor(word):
            r.top.word = None
    if operator in ("<<", "<<-"):
        return _heading_of_document(r, index, operator)
    return _redirect(r, operator, index + len(operator))


def _is_descriptor(word: Word) -> bool:
    """Whether the word right before a redirection is the number of what is redirected, or the name of a variable for it."""
    lead = word.lead
    return (
        bool(lead)
        and not word.expands
        and word.bare < 0
        and ((lead.isascii() and lead.isdigit()) or (lead[0] == "{" and lead[-1] == "}"))
    )


def _redirect(r: Reading, operator: str, index: int) -> int:
    _end_word(r)
    if r.top.redirection:
        raise Unread("a redirection leads nowhere")
    r.top.redirection = operator
    return index


def _opening(r: Reading, index: int) -> int:
    """`(` outside of quotes."""
    top, word = r.top, r.top.word
    r.not_continued(index + 1)
    if top.kind == CONDITION:
        return _opening_in_condition(r, index)
    if top.kind == ARRAY:
        if _opens_pattern(r, index):
            return index + 1
        raise Unread("a ( in an array")
    if top.cases and top.cases[-1] == "first" and word is None:
        top.cases[-1] = "pattern"
        return index + 1
    if word is None and not top.words and not top.redirection and (not top.cases or top.cases[-1] == "body"):
        return _opening_of_command(r, index)
    if _opens_array(r):
        r.word().array = True
        r.push(ARRAY, top.reason).in_word = True
        return index + 1
    if _opens_pattern(r, index):
        return index + 1
    return _opening_after_name(r, index)


def _opening_after_name(r: Reading, index: int) -> int:
    """`for ((`, and the parentheses of a function."""
    _end_word(r)
    words = r.top.words
    first = words[0].reserved if words else None
    if first == "for" and len(words) == 1 and r.text.startswith("((", index):
        _forget_words(r)
        r.push(ARITHMETIC, r.top.reason or IN_EXPANSION)
        return index + 2
    name = _NO_WORDS.match(r.text, index, r.end)
    if name is None or len(words) > 1 or r.top.redirection:
        raise Unread("a ( that begins neither a command nor a function")
    for word in words:
        r.judge.named(word)
    _forget_words(r)
    return name.end()


def _opening_in_condition(r: Reading, index: int) -> int:
    _only_in_bash(r)
    if not _opens_pattern(r, index):
        r.top.depth += 1
        _end_word(r)
    return index + 1


def _opening_of_command(r: Reading, index: int) -> int:
    if end := _NO_WORDS.match(r.text, index, r.end):
        return end.end()  # after `function name`
    if r.text.startswith("((", index):
        r.push(ARITHMETIC, r.top.reason or IN_EXPANSION)
        return index + 2
    r.push(LIST, r.top.reason)
    return index + 1


def _opens_array(r: Reading) -> bool:
    top, word = r.top, r.top.word
    if top.kind != LIST or word is None or word.expands or word.variable is None or not word.lead.endswith("=") or word.bare >= 0:
        return False
    return not top.commanded or top.words[0].name in _DECLARING


def _opens_pattern(r: Reading, index: int) -> bool:
    if r.top.word is None or r.text[index - 1] not in "!@?*+" or r.text[index - 2 : index - 1] == "\\":
        return False
    if r.top.word.reserved == "!" and r.top.kind == LIST and not r.top.words:
        raise Unread("a ( stands right after !")
    r.top.word.expand(many=True)
    r.top.word.loose = True
    r.push(PATTERN, r.top.reason or IN_EXPANSION).in_word = True
    return True


def _closing(r: Reading, index: int) -> int:
    """`)` outside of quotes."""
    _end_word(r)
    top = r.top
    if top.kind == CONDITION:
        top.depth -= 1
        return index + 1
    if top.kind == ARRAY:
        r.pop()
        return index + 1
    if top.cases and top.cases[-1] == "pattern":
        top.cases[-1] = "body"
        return index + 1
    if len(r.stack) == 1 or top.cases:
        raise Unread("a ) that closes nothing")
    _end_command(r)
    if r.documents and r.documents_of is top:
        raise Unread("a here-document has no body")
    r.pop()
    return index + 1


def _heading_of_document(r: Reading, index: int, operator: str) -> int:
    _redirect(r, operator, index)
    r.top.redirection = ""
    found = _DELIMITER.match(r.text, index + len(operator), r.end)
    if not found or r.next < found.end():
        raise Unread("the delimiter of a here-document")
    if len(r.documents) >= _MOST_DOCUMENTS or (r.documents and r.documents_of is not r.top):
        raise Unread("a here-document begins in another command")
    r.documents_of = r.top
    delimiter = _QUOTING.sub(lambda quoting: quoting[1] or "", found[1])
    r.documents.append((delimiter, operator == "<<-", _QUOTING.search(found[1]) is not None))
    return found.end()


def _open_document(r: Reading, index: int) -> int:
    """The body of the next here-document begins at `index`."""
    delimiter, is_indented, is_quoted = r.documents.pop(0)
    is_substituted = any(opened.in_word for opened in r.stack)
    begin, joined = index, ""
    while index < r.end:
        r.step()
        end = r.text.find("\n", index, r.end)
        end = r.end if end < 0 else end
        physical = r.text[index:end]
        line = joined + (physical.lstrip("\t") if is_indented else physical)
        if line == delimiter and not joined:
            break
        if line == delimiter or (is_substituted and line.startswith(delimiter) and ")" in line):
            raise Unread("not for every shell the here-document ends here")
        is_joined = not is_quoted and (len(physical) - len(physical.rstrip("\\"))) % 2 == 1
        joined = line[:-1][: len(delimiter) + 1] if is_joined else ""
        index = end + 1
    else:
        raise Unread("a here-document is not closed")
    if is_quoted:
        return _close_quoted_document(r, r.skip(end, IN_HERE_DOCUMENT))
    opened = r.push(HERE, IN_HERE_DOCUMENT)
    opened.like_quotes, opened.outer_end, opened.end = True, r.end, end
    r.end = index
    return begin


def _close_quoted_document(r: Reading, index: int) -> int:
    if r.documents:
        return _open_document(r, min(index + 1, r.end))
    return index


def _close_document(r: Reading) -> int:
    closed = r.pop()
    r.end = closed.outer_end
    return _close_quoted_document(r, closed.end)


_OUTSIDE_QUOTES: dict[str, Callable[[Reading, int], int]] = {
    "\n": _newline,
    "\\": escape,
    "'": single_quotes,
    '"': double_quotes,
    "$": dollar,
    "`": backquotes,
    "#": _hash,
    "(": _opening,
    ")": _closing,
    "<": _angle,
    ">": _angle,
    **dict.fromkeys(";&|", _separator),
    **dict.fromkeys("{}", _brace),
    **dict.fromkeys("[]*?", _pattern_character),
}

_READERS: tuple[Callable[[Reading, int], int], ...] = (
    *[_read_words] * 3,
    *[read_quoted] * 2,
    read_braced,
    *[read_nested] * 4,
)
