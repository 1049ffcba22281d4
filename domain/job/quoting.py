"""How does a value reach a script without ever becoming its syntax?

As a reference to an environment variable, written as the shell writes it. A placeholder inside the author's own quotes would
not be seen as one argument, or not at all, so it is refused when the job is defined. The scan knows quotes, escapes, comments and
command substitution; safety from quoting errors does not rest on it, since the value itself is never part of the text.

Arithmetic is the exception: `$(( ))` and `(( ))` evaluate a variable's value as an expression, in which bash runs command
substitutions. A placeholder there is refused as well.
"""

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


def inside_quotes(shell: Shell, text: str, position: int) -> bool:
    """Whether `position` in `text` stands inside quotes, or arithmetic, of `shell`: where no placeholder may stand."""
    if shell == "python":
        return _inside_python_quotes(text, position)
    return _inside_shell_quotes(text, position, "`" if shell == "powershell" else "\\")


def _inside_shell_quotes(text: str, position: int, escape: str) -> bool:
    contexts = [""]
    index = 0
    while index < position:
        char, context = text[index], contexts[-1]
        if context == "'":
            if char == "'":
                contexts.pop()
        elif char == escape:
            index += 1
        elif text.startswith("$(", index):
            index = _opened(text, index + 1, contexts)
        elif char == '"':
            contexts.pop() if context == '"' else contexts.append('"')
        elif context != '"':
            index = _outside_double_quotes(text, index, contexts)
        index += 1
    return "((" in contexts or contexts[-1] in ("'", '"')


def _opened(text: str, index: int, contexts: list[str]) -> int:
    arithmetic = text.startswith("((", index)
    contexts.append("((" if arithmetic else "(")
    return index + 1 if arithmetic else index


def _closed(text: str, index: int, contexts: list[str]) -> int:
    if contexts[-1] == "(":
        contexts.pop()
    elif contexts[-1] == "((" and text.startswith("))", index):
        contexts.pop()
        return index + 1
    elif contexts[-1] == "((":
        contexts[-1] = "("  # one parenthesis alone: it was a subshell in a subshell
    return index


def _outside_double_quotes(text: str, index: int, contexts: list[str]) -> int:
    char = text[index]
    if char == "'":
        contexts.append("'")
    elif char == "(":
        return _opened(text, index, contexts)
    elif char == ")":
        return _closed(text, index, contexts)
    elif char == "#" and (index == 0 or text[index - 1] in " \t\n;|&("):
        end = text.find("\n", index)
        return len(text) if end < 0 else end
    return index


def _inside_python_quotes(text: str, position: int) -> bool:
    quote, index = "", 0
    while index < position:
        char = text[index]
        if quote:
            if char == "\\":
                index += 1
            elif text.startswith(quote, index):
                index += len(quote) - 1
                quote = ""
        elif char in "'\"":
            quote = char * 3 if text.startswith(char * 3, index) else char
            index += len(quote) - 1
        elif char == "#":
            end = text.find("\n", index)
            index = len(text) if end < 0 else end
        index += 1
    return bool(quote)
