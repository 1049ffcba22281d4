"""Which words of a command are values, and which are names, expressions or code?

A value may stand where the command takes a value. Builtins that take names or code, shells that are handed a script, and
programs that run what they are given are known here by name; every other program gets arguments, and what it makes of them is its
own (`mysql -e`, `python -c`, `sed`): no scan can tell that.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from domain.job.placement import AS_CODE, AS_COMMAND, EVALUATED, IN_EXPANSION, TYPED, UNCLEAR, Reason
from domain.job.shell_words import Word

_EVALUATED_VARIABLE = re.compile(
    r"RANDOM|SRANDOM|SECONDS|HISTCMD|OPTIND|LINENO|EPOCH\w+|DIRSTACK|FUNCNAME|GROUPS|MAPFILE|PIPESTATUS|COPROC"
    r"|PS[0-4]|PROMPT_COMMAND|ENV|BASH\w*|(?:DY)?LD_\w+|PATH|SHELL|IFS"
)
"""Variables whose values bash evaluates, from which a shell or the loader takes code, or that say how the script is read."""

_SHELLS = frozenset(
    ("sh", "bash", "rbash", "dash", "ash", "ksh", "ksh93", "mksh", "pdksh", "lksh", "zsh", "yash", "fish", "csh", "tcsh")
)
_TAKES_CODE = frozenset(
    (
        "eval",
        ".",
        "source",
        "trap",
        "alias",
        "bind",
        "compgen",
        "complete",
        "enable",
        "fc",
        "hash",
        "history",
        "jobs",
        "watch",
        "parallel",
    )
)
_TAKES_NAMES = frozenset(("read", "unset", "mapfile", "readarray", "getopts", "wait", "let", "shift", "ulimit", "in", "vared"))
_DECLARES = frozenset(("declare", "typeset", "local"))
_EXPORTS = frozenset(("export", "readonly"))
_READS_CODE = frozenset((".", "source", "su", "at", "batch"))
_REMOTE = frozenset(("ssh", "slogin", "rsh", "autossh", "dbclient"))
_SHELL_FILES = frozenset(("rcfile", "init-file"))
_SHELL_LONG = frozenset(
    (
        "debugger",
        "login",
        "noediting",
        "noprofile",
        "norc",
        "posix",
        "protected",
        "restricted",
        "verbose",
        "wordexp",
        *_SHELL_FILES,
    )
)
"""Long options of bash, which it takes with one `-` as well."""

_CODE_AFTER_C = frozenset(("su", "runuser", "script"))
_NUMERIC = frozenset(("-eq", "-ne", "-lt", "-le", "-gt", "-ge"))
_COMPARING = frozenset(("=", "==", "!=", "<", ">", "-nt", "-ot", "-ef"))
_ASKING = frozenset(f"-{letter}" for letter in "abcdefghknprstuwxzGLNOS")
_EXECUTING = frozenset(("-exec", "-execdir", "-ok", "-okdir"))


class _Before(NamedTuple):
    """A command that runs another one: its options with a value, without one, how many words stand before the command."""

    valued: str = ""
    plain: str = ""
    long_valued: frozenset[str] = frozenset()
    operands: int = 0
    harmless: str = ""
    """Options after which nothing is run."""


_WRAPPERS = {
    "command": _Before(plain="p", harmless="vV"),
    "builtin": _Before(),
    "exec": _Before(plain="cl"),
    "env": _Before(valued="uC", plain="i0v", long_valued=frozenset(("--unset", "--chdir"))),
    "sudo": _Before("ughpCrtTUDR", "AbBEHiKknPSsNl", frozenset(("--user", "--group", "--host", "--prompt", "--chdir"))),
    "doas": _Before("uC", "nLs"),
    "nohup": _Before(),
    "setsid": _Before(plain="cfw"),
    "nice": _Before("n", "0123456789", frozenset(("--adjustment",))),
    "ionice": _Before("cnpP", "t", frozenset(("--class", "--classdata"))),
    "timeout": _Before("ks", "v", frozenset(("--kill-after", "--signal")), operands=1),
    "stdbuf": _Before("ioe", "", frozenset(("--input", "--output", "--error"))),
    "chroot": _Before(operands=1, long_valued=frozenset(("--userspec", "--groups"))),
    "xargs": _Before(
        "adEILnPs", "0rtxpoei", frozenset(("--max-args", "--max-procs", "--delimiter", "--arg-file", "--max-lines", "--replace"))
    ),
    "busybox": _Before(),
    "time": _Before("fo", "apqv"),
    "flock": _Before("wE", "sxeunoFv", frozenset(("--timeout", "--wait", "--conflict-exit-code")), operands=1),
    "sshpass": _Before("fdpP", "ev"),
    "taskset": _Before(plain="ac", operands=1),
    "strace": _Before("aebEoOpPsSuI", "cCdfFiknqrtTvVwxyzZ"),
    **dict.fromkeys(("gosu", "su-exec", "setuidgid"), _Before(operands=1)),
    **dict.fromkeys(("eatmydata", "unbuffer", "fakeroot", "chronic"), _Before()),
}

_LONG_PLAIN = frozenset(
    "--" + name
    for name in (
        *("ignore-environment", "null", "foreground", "preserve-status", "no-run-if-empty", "verbose", "login", "preserve-env"),
        *("non-interactive", "set-home", "shared", "exclusive", "nonblock", "nb", "no-fork", "close", "wait", "fork"),
    )
)
"""Long options of those that have no value."""


class Judge:
    """Collects the ranges of placeholders that may not stand where they do, command by command."""

    def __init__(self, is_bash: bool, typed: bool, arrays: bool) -> None:
        self._is_bash, self._typed, self._arrays = is_bash, typed, arrays
        """Whether variables of the script may be integers or references, so that assigning to one evaluates the value, and
        whether they may be arrays: what `declare` assigns to one is read as words."""
        self._refused: list[tuple[int, int, Reason]] = []
        self._assigned: list[tuple[int, int]] = []
        self._declared: list[tuple[int, int]] = []

    def refuse(self, first: int, last: int, reason: Reason) -> None:
        """Refuse placeholders from `first` up to, not including, `last`."""
        if last > first:
            self._refused.append((first, last, reason))

    def refusals(self, count: int) -> list[tuple[int, int, Reason]]:
        """All ranges that are refused of `count` placeholders."""
        if self._typed:
            self._refused += [(first, last, TYPED) for first, last in self._assigned if first < count]
        if self._arrays:
            self._refused += [(first, last, EVALUATED) for first, last in self._declared]
        return self._refused

    def redirected(self, operator: str, word: Word) -> None:
        """The word after a redirection: a file's name, or for `<<<` its text. Bash expands what follows `>&` twice."""
        if operator in (">&", "<&"):
            self.refuse(word.first, word.last, UNCLEAR)
        elif operator == "<<<":
            self._assigned.append((word.first, word.last))

    def named(self, function: Word) -> None:
        """The name of a function that is defined."""
        self.refuse(function.first, function.last, AS_COMMAND)

    def fed(self, words: Sequence[Word], text: Word) -> None:
        """A command whose standard input is `text`."""
        begin = next((index for index, word in enumerate(words) if word.variable is None), 0)
        name = words[begin].name
        is_login = name in _REMOTE and _host(words, begin + 1) >= len(words) - 1
        is_shell = any(word.name in _SHELLS and _options(words, index + 1).input_is_code for index, word in enumerate(words))
        if is_login or is_shell or name in _READS_CODE:
            self.refuse(text.first, text.last, AS_CODE)
        elif name == "read" and any(_EVALUATED_VARIABLE.fullmatch(word.lead) for word in words[begin:]):
            self.refuse(text.first, text.last, TYPED)

    def condition(self, words: Sequence[Word]) -> None:
        """A term of `[[ ]]`."""
        if words and words[0].first < words[-1].last and any(w.reserved in _NUMERIC or w.reserved in ("-v", "-R") for w in words):
            self.refuse(words[0].first, words[-1].last, EVALUATED)

    def command(self, words: Sequence[Word]) -> None:
        """A simple command, `for`, `select`, or what else begins with a name."""
        if any(word.has_options_in_braces for word in words):
            self.refuse(words[0].first, words[-1].last, UNCLEAR)
        at = 0
        while at < len(words) and words[at].variable is not None:
            at += 1
        splits = at < len(words) and words[at].name == "read"
        for word in words[:at]:
            self._assignment(word, "" if splits and word.variable == "IFS" else word.variable or "")
        while at < len(words):
            at = self._from(words, at)

    def _assignment(self, word: Word, variable: str) -> None:
        if not word.has_placeholders:
            return
        if _EVALUATED_VARIABLE.fullmatch(variable):
            self.refuse(word.first, word.last, TYPED)
        self._assigned.append((word.first, word.last))

    def _from(self, words: Sequence[Word], at: int) -> int:
        """Judge the command that begins at `at`; returns where one begins that it runs, or the end."""
        name, last = words[at].name, words[-1].last
        if name in _DECLARES:
            self._declaration(words, at)
        elif words[at].has_placeholders:
            self.refuse(words[at].first, last, AS_COMMAND)
        elif words[at].first < last or name in _WRAPPERS:
            return self._with_placeholders(words, at, name)
        return len(words)

    def _with_placeholders(self, words: Sequence[Word], at: int, name: str | None) -> int:
        if name in _WRAPPERS:
            return self._wrapped(words, at, _WRAPPERS[name])
        if name is None or words[at].lead[:1] == "-":
            self.refuse(words[at].first, words[-1].last, UNCLEAR)
        elif name in _TAKES_CODE:
            self.refuse(words[at].first, words[-1].last, AS_CODE)
        elif name in _TAKES_NAMES:
            self.refuse(words[at].first, words[-1].last, EVALUATED)
        elif name in _SHELLS:
            self._shell(words, at + 1)
        else:
            self._arguments(words, at, name)
        return len(words)

    def _arguments(self, words: Sequence[Word], at: int, name: str) -> None:
        if name in ("test", "["):
            closed = name == "[" and words[-1].literal == "]"
            self._test(words[at + 1 : -1] if closed else words[at if name == "[" else at + 1 :])
        elif name in _EXPORTS:
            self._export(words, at + 1)
        elif name in ("for", "select"):
            self._loop(words, at)
        elif name == "printf":
            self._printf(words, at + 1)
        elif name == "set":
            self._set(words, at + 1)
        elif name in _CODE_AFTER_C:
            self._code_after_c(words, at + 1)
        elif name in _REMOTE:
            self._ssh(words, at + 1)
        elif name == "find":
            self._find(words, at + 1)
        elif name not in ("echo", ":", "cd"):
            self._program(words, at + 1)

    def _wrapped(self, words: Sequence[Word], at: int, wrapper: _Before) -> int:
        """Past the wrapper's options and operands to the command it runs."""
        at, operands = at + 1, wrapper.operands
        while at < len(words):
            word = words[at]
            lead = word.lead
            if lead == "--" and not word.expands:
                at += 1
                break
            if word.loose and not lead:
                break
            if len(lead) > 1 and lead[0] == "-":
                width = self._option(word, wrapper)
                if width == 0:
                    if any(letter in wrapper.harmless for letter in lead[1:]):
                        return len(words)
                    self.refuse(word.first, words[-1].last, UNCLEAR)
                    return len(words)
                at += width
            elif (variable := word.variable) is not None:
                self._assignment(word, variable)
                at += 1
            elif operands:
                operands -= 1
                at += 1
            else:
                break
        return at + operands if operands and at < len(words) else at

    def _option(self, word: Word, wrapper: _Before) -> int:
        """How many words the option takes; 0 if that is not known."""
        lead = word.lead
        if lead.startswith("--"):
            if "=" in lead:
                return 0 if "--split-string".startswith(lead.partition("=")[0]) else 1
            return 2 if lead in wrapper.long_valued else 0 if word.expands else 1 if lead in _LONG_PLAIN else 0
        for index, letter in enumerate(lead[1:], 2):
            if letter in wrapper.valued:
                return 2 if index == len(lead) and not word.expands else 1
            if letter not in wrapper.plain:
                return 0
        return 0 if word.expands else 1

    def _shell(self, words: Sequence[Word], at: int) -> None:
        """A shell: the first word that is no option is its script, or with -s an argument already."""
        options = _options(words, at)
        if options.end >= len(words):
            return
        operand = words[options.end]
        if options.has_code or not options.reads_input:
            self.refuse(operand.first, words[options.end if operand.is_operand else -1].last, AS_CODE)
        elif not options.ended and (operand.held or not operand.is_operand):
            self.refuse(operand.first, words[-1].last, AS_CODE)

    def _program(self, words: Sequence[Word], at: int) -> None:
        """Any other program: among its arguments may be a shell and its script, as in `docker exec web sh -c …`."""
        for index in range(at, len(words) - 1):
            is_shell = words[index].name in _SHELLS and words[index - 1].literal not in ("-s", "--shell")
            if is_shell and _options(words, index + 1).has_code:
                self._shell(words, index + 1)

    def _find(self, words: Sequence[Word], at: int) -> None:
        """What stands after `-exec`, up to the `;` or `+`, is a command."""
        part: list[Word] | None = None
        for word in words[at:]:
            if word.literal in _EXECUTING:
                part = self._ended(part, [])
            elif part is not None and word.literal in (";", "+"):
                part = self._ended(part, None)
            elif part is not None:
                part.append(word)
        self._ended(part, None)

    def _ended(self, command: list[Word] | None, begun: list[Word] | None) -> list[Word] | None:
        at = 0
        while command and at < len(command):
            at = self._from(command, at)
        return begun

    def _code_after_c(self, words: Sequence[Word], at: int) -> None:
        for index in range(at, len(words)):
            lead = words[index].lead
            if lead.startswith("--command") or (lead[:1] == "-" and "c" in lead and lead[:2] != "--"):
                self.refuse(words[index].first, words[min(index + 1, len(words) - 1)].last, AS_CODE)

    def _ssh(self, words: Sequence[Word], at: int) -> None:
        """The other side's shell reads all that follows the host as one line."""
        at = _host(words, at)
        self.refuse(words[0].first, words[at].first if at < len(words) else words[-1].last, UNCLEAR)
        if at < len(words):
            if not words[at].lead and words[at - 1].literal != "--":
                self.refuse(words[at].first, words[at].last, UNCLEAR)
            self.refuse(words[at].last, words[-1].last, AS_CODE)

    def _test(self, words: Sequence[Word]) -> None:
        """The forms of `test` in which each word's part is certain."""
        if not words or words[0].first == words[-1].last:
            return
        begin = 0
        while begin < len(words) - 1 and words[begin].literal == "!":
            begin += 1
        first, last, rest = words[0].first, words[-1].last, words[begin:]
        if len(rest) == 3 and rest[1].literal in _NUMERIC:
            if not self._is_bash:
                for word in (rest[0], rest[2]):
                    self._hold(word, EVALUATED)
        elif not (
            len(rest) == 1
            or (len(rest) == 2 and rest[0].literal in _ASKING)
            or (len(rest) == 3 and rest[1].literal in _COMPARING)
        ) or any(word.loose for word in rest):
            self.refuse(first, last, UNCLEAR)

    def _hold(self, word: Word, reason: Reason) -> None:
        if word.held:
            self.refuse(word.first, word.last, reason)

    def _printf(self, words: Sequence[Word], at: int) -> None:
        if at < len(words) - 1 and words[at].literal == "--":
            at += 1
        if at >= len(words):
            return
        form = words[at]
        if form.literal == "-v" and at + 2 < len(words):
            self.refuse(words[at + 1].first, words[at + 1].last, EVALUATED)
            variable = words[at + 1].literal
            if variable is None or _EVALUATED_VARIABLE.fullmatch(variable):
                self.refuse(words[at].first, words[-1].last, TYPED)
            self._assigned.append((words[at].first, words[-1].last))
            form = words[at + 2]
        if form.held or form.loose or not form.lead or form.lead[0] == "-":
            self.refuse(words[at].first, words[-1].last, UNCLEAR)

    def _set(self, words: Sequence[Word], at: int) -> None:
        while at < len(words) and not words[at].has_placeholders:
            if words[at].literal == "--":
                return
            at += 1
        self.refuse(words[0].first, words[-1].last, UNCLEAR)

    def _export(self, words: Sequence[Word], at: int) -> None:
        for word in words[at:]:
            variable = word.variable
            if word.lead[:1] == "-" and word.lead != "--":
                self.refuse(words[at].first, words[-1].last, UNCLEAR)
            elif variable is None or word.array:
                self.refuse(word.first, word.last, EVALUATED if not word.array else UNCLEAR)
            else:
                self._assignment(word, variable)

    def _declaration(self, words: Sequence[Word], at: int) -> None:
        """`declare`, `typeset`, `local`: an array's value is read as words again, an integer's as an expression."""
        plain = True
        for word in words[at + 1 :]:
            variable = word.variable
            options = word.lead if word.lead[:1] in ("-", "+") and word.literal is not None else ""
            if not options and (word.lead[:1] in ("-", "+") or (variable is None and word.lead[:1] in ("", "{"))):
                options = "inaA"  # what only the run will tell
            self._typed = self._typed or not set("in").isdisjoint(options)
            self._arrays = self._arrays or not set("aA").isdisjoint(options)
            plain = plain and set("inaA").isdisjoint(options)
            if variable is None:
                self.refuse(word.first, word.last, EVALUATED)
            elif word.array or not plain:
                self.refuse(word.first, word.last, UNCLEAR if word.array else EVALUATED)
            else:
                self._declared.append((word.first, word.last))
                self._assignment(word, variable)

    def _loop(self, words: Sequence[Word], at: int) -> None:
        if len(words) < at + 3 or words[at + 2].reserved != "in":
            self.refuse(words[at].first, words[-1].last, UNCLEAR)
        elif words[at + 1].literal is None or _EVALUATED_VARIABLE.fullmatch(words[at + 1].lead):
            self.refuse(words[at].first, words[-1].last, IN_EXPANSION if words[at + 1].literal is None else TYPED)
        self._assigned.append((words[at].first, words[-1].last))


class _Options(NamedTuple):
    """The options of a shell: where they end, whether `--` ends them, and what they say."""

    end: int
    ended: bool
    has_code: bool
    reads_input: bool
    input_is_code: bool


def _options(words: Sequence[Word], at: int) -> _Options:
    reads_input = has_code = ended = False
    while at < len(words) and not ended and (option := words[at].literal) and option[0] in "-+":
        ended = option in ("-", "--")
        is_short = not option.startswith("--") and option[1:] not in _SHELL_LONG
        at += 2 if option.lstrip("-") in _SHELL_FILES or (is_short and ("o" in option or "O" in option)) else 1
        has_code = has_code or (is_short and "c" in option)
        reads_input = reads_input or (is_short and "s" in option)
    has_operand = at < len(words) and words[at].is_operand
    return _Options(at, ended, has_code, reads_input, reads_input or not has_operand)


def _host(words: Sequence[Word], at: int) -> int:
    """Which word is the host that ssh logs in to."""
    while at < len(words) and words[at].lead[:1] == "-":
        at += 2 if words[at].lead[1:] in tuple("BbcDEeFIiJLlmOopQRSWw") else 1
    return at
