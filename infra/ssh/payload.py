"""What does a step look like on its way over stdin? Quoted assignments that a POSIX shell reads back byte by byte."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.ssh.remote import SMALL, bootstrap, is_variable
from processors.executor.connector import Invocation

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MARK = re.compile(r"[A-Za-z0-9_.@%+=,/-]+", re.ASCII)

_STEERS_A_PROGRAM = re.compile(
    r"(_ops_|LD_|DYLD_|BASH_|PYTHON|PERL|RUBY|NODE_|JAVA_TOOL_|GCONV_|SSH_).*"
    r"|PATH|IFS|ENV|PS[0-4]|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|BASHPID|CDPATH|GLOBIGNORE|POSIXLY_CORRECT"
    r"|UID|EUID|PPID|GROUPS|PWD|OLDPWD|SHLVL|HOME|SHELL|USER|LOGNAME|OPTIND|FUNCNAME|DIRSTACK|LINENO|RANDOM|SECONDS|_",
    re.ASCII,
)
"""Names by which a shell, the loader or an interpreter would run or find something else than the script asks for."""


class NameRefused(ValueError):
    """This name must not be set for a step. The message holds the name, never the value."""


def checked_names(environment: Mapping[str, str]) -> None:
    """Raise `NameRefused` unless every name is a shell identifier that steers no program."""
    for name in environment:
        if not _NAME.fullmatch(name) or _STEERS_A_PROGRAM.fullmatch(name):
            raise NameRefused(f"a step's environment may not set {name!r}")


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """What is sent. Has no repr: it holds the script and every value."""

    data: bytes


def payload(step: Invocation) -> Payload:
    """The bytes that the target's `RUN_STEP` reads.

    Raises `NameRefused`, or ValueError for a mark that is no plain word, or for NUL.
    """
    checked_names(step.environment)
    if not _MARK.fullmatch(step.mark):
        raise ValueError("a step's mark is one plain word")
    if any("\0" in value for value in (step.script, *step.environment.values())):
        raise ValueError("no shell takes NUL")
    in_variable = is_variable(step.shell, step.script.encode("utf-8", "surrogateescape"))
    needed, reader, start = bootstrap(step.shell, in_variable)
    values = {**step.environment, "_ops_t": step.script} if in_variable else step.environment
    lines = [" ".join(["export", *(f"{name}={quoted(value)}" for name, value in values.items())])] if values else []
    lines += [f"_ops_b={quoted(start)}"] if start is not None else []
    lines += [] if in_variable else [f"_ops_s={quoted(step.script)}"]
    body = "\n".join([*lines, "_ops_k=1"]).encode("utf-8", "surrogateescape")
    head = f"{step.mark} {needed} {reader}".encode()
    if len(body) > SMALL or b"." in body.split(b"\n"):
        return Payload(b"%s %d\n%s" % (head, len(body), body))
    return Payload(b"%s 0\n%s\n.\n" % (head, body))


def quoted(value: str) -> str:
    """`value` as one word of a POSIX shell, whatever it holds."""
    return "'" + value.replace("'", "'\\''") + "'"
