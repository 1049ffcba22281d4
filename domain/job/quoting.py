"""How does a value reach a script without ever becoming its syntax?

As a reference to an environment variable, written as the shell writes it. A placeholder inside the author's own quotes would
not be seen as one argument, or not at all, so it is refused when the job is defined. The scan knows quotes, escapes, comments and
command substitution; safety from quoting errors does not rest on it, since the value itself is never part of the text.

Arithmetic is the exception: `$(( ))`, `(( ))`, `$[ ]`, a subscript, an offset inside `${ }` and the numeric operators of `[[ ]]`
evaluate a variable's value as an expression, in which bash runs command substitutions. A placeholder there is refused as well.
The same holds for builtins that take an argument for code: `eval`, `let`, `declare -i`, `test -v`. What no scan can see is a
program that does so, such as `sh -c`: an author who hands it a value means it.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

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


def refused_places(shell: Shell, text: str, positions: Sequence[int]) -> set[int]:
    """Which of these `positions`, in ascending order, stand where no placeholder of `shell` may: in quotes or arithmetic.

    One pass over `text`, however many there are.
    """
    scan = _PythonScan(text) if shell == "python" else _ShellScan(text, is_powershell=shell == "powershell")
    refused: set[int] = set()
    index = 0
    for position in positions:
        while index < position:
            index = scan.after(index)
        if scan.refuses(position):
            refused.add(position)
    return refused


_NUMERIC = r"-(?:eq|ne|lt|le|gt|ge|v)"
_AFTER_OPERATOR = re.compile(rf"{_NUMERIC}[\s\\]+\S*$")
_BEFORE_OPERATOR = re.compile(rf"(?:\{{\{{[^{{}}]*\}}\}}|\S)\S{{0,80}}[\s\\]{{1,80}}{_NUMERIC}\s")
_TAKEN_FOR_CODE = re.compile(
    r"(?:^|[;&|({\n]|\b(?:then|do|else|elif|if|while|until)\b|!)[ \t]*"
    r"(?:(?:builtin|command)[ \t]+)*"
    r"(?:(?:eval|let|(?:declare|typeset|local)[ \t]+-\w*i\w*)[ \t][^;&|\n]*|(?:printf|test|\[)[ \t]+-v[ \t]+\S*)$"
)
_BESIDE = 200
"""How far before a placeholder an operator or a builtin is looked for, in characters."""

_EVALUATING = frozenset({"((", "[", "${"})
_WORD_BEGINS_AFTER = " \t\n;|&("


class _ShellScan:
    """Reads a script from left to right and knows what is open where it stands, outermost first."""

    def __init__(self, text: str, is_powershell: bool) -> None:
        self._text = text
        self._is_powershell = is_powershell
        self._escape = "`" if is_powershell else "\\"
        self._open = [""]

    def refuses(self, position: int) -> bool:
        """Whether no placeholder may stand at `position`, which has been reached."""
        if self._open[-1] in ("'", '"') or not _EVALUATING.isdisjoint(self._open):
            return True
        before = self._text[max(0, position - _BESIDE) : position]
        if not self._is_powershell and _TAKEN_FOR_CODE.search(before):
            return True
        return "[[" in self._open and self._is_compared(before, position)

    def _is_compared(self, before: str, position: int) -> bool:
        return bool(_AFTER_OPERATOR.search(before) or _BEFORE_OPERATOR.match(self._text, position))

    def after(self, index: int) -> int:
        """Take in what stands at `index`; returns where to go on."""
        char, context = self._text[index], self._open[-1]
        if context == "'":
            if char == "'":
                self._open.pop()
        elif char == self._escape:
            return index + 2
        elif self._text.startswith("$(", index):
            return self._parenthesis(index + 1)
        elif char == '"':
            self._open.pop() if context == '"' else self._open.append('"')
        elif context != '"' and char == "'":
            self._single_quote()
        elif not self._is_powershell and self._expansion(index):
            return index + 2
        elif context not in ('"', "${"):
            return self._unquoted(index)
        return index + 1

    def _single_quote(self) -> None:
        # in "${x:-it's}" it is an ordinary character
        if not (self._open[-1] == "${" and self._open[-2] == '"'):
            self._open.append("'")

    def _expansion(self, index: int) -> bool:
        """Open `${` and `$[`, close `${`; whether two characters are taken."""
        if self._text.startswith(("${", "$["), index):
            self._open.append("${" if self._text[index + 1] == "{" else "[")
            return True
        if self._text[index] == "}" and self._open[-1] == "${":
            self._open.pop()
        return False

    def _unquoted(self, index: int) -> int:
        char = self._text[index]
        if char == "(":
            return self._parenthesis(index)
        if char == ")":
            return self._closed(index)
        if char in "[]\n" and not self._is_powershell:
            return self._bracket(index)
        if char == "#" and self._begins_word(index):
            end = self._text.find("\n", index)
            return len(self._text) if end < 0 else end
        return index + 1

    def _begins_word(self, index: int) -> bool:
        return index == 0 or self._text[index - 1] in _WORD_BEGINS_AFTER

    def _parenthesis(self, index: int) -> int:
        arithmetic = self._text.startswith("((", index)
        self._open.append("((" if arithmetic else "(")
        return index + 2 if arithmetic else index + 1

    def _closed(self, index: int) -> int:
        if self._open[-1] == "(":
            self._open.pop()
        elif self._open[-1] == "((" and self._text.startswith("))", index):
            self._open.pop()
            return index + 2
        elif self._open[-1] == "((":
            self._open[-1] = "("  # one parenthesis alone: it was a subshell in a subshell
        return index + 1

    def _bracket(self, index: int) -> int:
        """`[[ ]]`, and a subscript: a bracket right after a name, until it is closed or the line ends."""
        char, context = self._text[index], self._open[-1]
        if self._text.startswith("[[", index) and self._begins_word(index):
            self._open.append("[[")
            return index + 2
        if self._text.startswith("]]", index) and context == "[[":
            self._open.pop()
            return index + 2
        before = self._text[index - 1] if index else ""
        if char in "]\n" and context == "[":
            self._open.pop()
        elif char == "[" and (before.isalnum() or before == "_"):
            self._open.append("[")
        return index + 1


class _PythonScan:
    """As `_ShellScan`, for Python."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._quote = ""

    def refuses(self, position: int) -> bool:
        """Whether `position`, which has been reached, stands in a string."""
        return bool(self._quote)

    def after(self, index: int) -> int:
        """Take in what stands at `index`; returns where to go on."""
        text, char = self._text, self._text[index]
        if self._quote:
            if char == "\\":
                return index + 2
            if text.startswith(self._quote, index):
                width, self._quote = len(self._quote), ""
                return index + width
        elif char in "'\"":
            self._quote = char * 3 if text.startswith(char * 3, index) else char
            return index + len(self._quote)
        elif char == "#":
            end = text.find("\n", index)
            return len(text) if end < 0 else end
        return index + 1
