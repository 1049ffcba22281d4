"""Which ends of a role are foreseen? Those that were ordered, and those by which its design asks a supervisor to start it again.

Every other one is a role that crashed by itself: a violation, whatever became of its work.
"""

import re
import signal
from dataclasses import dataclass

NO_ROLE_ENDS_BY_ITSELF = "no_role_ends_by_itself"
"""The name of the violation."""

KILLED, HUNG, FAILED = -signal.SIGKILL, 70, 1
IN_ORDER = (0, -signal.SIGTERM)
"""How a role ends that was asked to: in order, or by the signal itself when it had not come so far as to catch it."""

_SAID_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class End:
    """A role's process ended: its status, whether somebody had asked it to end, and the end of what that process had logged."""

    name: str
    status: int
    ordered: bool
    said: str

    @property
    def role(self) -> str:
        """What kind of process it was."""
        return self.name.rstrip("-0123456789")

    @property
    def last_word(self) -> str:
        """The sentence with which it said why it cannot run; empty when it said none."""
        said: list[str] = re.findall(r"^\w+ cannot run: (.*)", self.said, re.MULTILINE)
        return said[-1] if said else ""


_ASKS_TO_BE_STARTED = (
    # started while no broker answers, as the topics are asked for or a moment later
    r"the brokers do not describe the topics: .*(_TRANSPORT|_TIMED_OUT|_ALL_BROKERS_DOWN|no answer in time)",
    r"executor ended: KafkaConnectionError: Unable to bootstrap from",
    # started while Postgres does not answer, or goes
    r".*(connection failed|connection timeout expired|server closed the connection|terminating connection due to administrator)",
    r"commands ended: .*the owner's client has lost all brokers",  # confluentinc/librdkafka#5301
    r"api ended: the vault does not answer: (OperationalError|TimeoutError)",  # started as Postgres went, for long
    r"executor ended: .* waits, and the committed position \d+ does not move",  # its consumer is stuck (HAZARDS R22)
)


def unforeseen(end: End) -> str | None:
    """Why this end is a violation, or None where it is foreseen. Nobody but us kills here."""
    if end.status == KILLED or (end.ordered and end.status in IN_ORDER):
        return None
    if end.status == HUNG and end.role == "commands" and "hangs since" in end.said:
        return None  # the watchdog: librdkafka waits for ever (HAZARDS R3)
    if end.status == FAILED and any(re.match(reason, end.last_word) for reason in _ASKS_TO_BE_STARTED):
        return None
    return f"{end.name} ended by itself with status {end.status}: …{end.said[-_SAID_CHARACTERS:]}"
