"""The last packets of a command come while its reader looks away: the end of its output, its status, the end of its channel."""

import time

from infra.ssh.confirmation import Traces
from infra.ssh.settings import SshSettings
from infra.ssh.step import Machinery, StepRun, Stopper
from infra.ssh.transport import Inbox
from processors.executor.connector import Endpoint, Exited, Invocation, Login


class OneThatEndsWhileItsOutputIsTaken:
    """The output has ended; status and close arrive during the first `take`."""

    def __init__(self):
        self.inbox = Inbox()
        self.exit_code, self.over, self.closed = None, True, False

    def take(self):
        self.exit_code, self.closed = 0, True
        self.inbox.set()
        return []


def test_a_status_that_comes_while_output_is_taken_is_not_a_lost_connection():
    run = StepRun(
        Machinery(SshSettings(), None, None),
        Endpoint("web-01", "127.0.0.1", 22, None),
        Login("key@1", "ops"),
        Invocation("sh", "true", {}, 5, "ops-mark"),
        lambda stream, data: None,
        Stopper(),
    )
    run._greeting = type("Greeted", (), {"traces": Traces("ops-mark", 1, 2), "noise": b""})()

    assert run._followed(OneThatEndsWhileItsOutputIsTaken(), time.monotonic() + 2) == Exited(0, None)
