"""Does anything of a step still live on its target? Asked on another channel than the step's own, and ended if so."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from infra.ssh.command import Broken, Refused, RemoteCommand, answer_of
from infra.ssh.remote import CONFIRM_GONE
from infra.ssh.settings import SshSettings
from infra.ssh.transport import LeanTransport

Verdict = Literal["gone", "alive", "no_room", "no_answer"]


@dataclass(frozen=True, slots=True)
class Traces:
    """By what a step's processes are known: the mark in their environment, their process group, the watcher that is none."""

    mark: str
    group: int
    watcher: int


def verdict(transport: LeanTransport, traces: Traces, settings: SshSettings, meanwhile: Callable[[], object]) -> Verdict:
    """What the target says of the step's processes; those that live are killed after a grace of 2 s, before it answers.

    `meanwhile` is called now and then while the answer is waited for.
    """
    try:
        command = RemoteCommand(transport, settings.answer_timeout_s)
    except Refused:
        return "no_room"
    except Broken:
        return "no_answer"
    try:
        command.start(CONFIRM_GONE)
        command.send(f"{traces.mark} {traces.group} {traces.watcher}\n".encode())
        answer = answer_of(command, settings.confirm_timeout_s, meanwhile)
    except Refused:
        return "no_room"
    except Broken:
        return "no_answer"
    finally:
        command.close()
    if b"ops-gone" in answer:
        return "gone"
    return "alive" if b"ops-alive" in answer else "no_answer"
