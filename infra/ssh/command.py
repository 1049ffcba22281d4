"""How does one command run on an open transport, with every wait bounded? Channel, request, input, output, status."""

import time
from collections.abc import Callable

from paramiko import Channel, Message
from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.ssh_exception import ChannelException, SSHException

from infra.ssh.transport import Inbox, LeanTransport, give_back_window
from schemas.run_output import StreamName

_LONGEST_ANSWER = 65536


class Refused(Exception):
    """The server answered, and opens no further channel on this connection (MaxSessions)."""


class Broken(Exception):
    """The connection is over or no longer answers. Nothing was started by the call that raised it."""


class RemoteCommand:
    """One command on one channel. Its output comes by `take`, its end by `exit_code`; `close` ends it from any thread."""

    def __init__(self, transport: LeanTransport, answer_timeout_s: float) -> None:
        self._bound = answer_timeout_s
        self.inbox = Inbox()
        try:
            self._channel: Channel = transport.open_session(timeout=answer_timeout_s)
        except ChannelException as error:
            raise Refused(str(error)) from None
        except (SSHException, EOFError, OSError) as error:
            raise Broken(f"no channel: {type(error).__name__}") from None
        self._channel.inbox = self.inbox
        self._channel.settimeout(answer_timeout_s)
        self._channel.in_buffer.set_event(self.inbox)

    def start(self, command: str) -> None:
        """Ask for the command. Raises `Refused` or `Broken`."""
        channel = self._channel
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        channel._event_pending()
        try:
            channel.transport._send_user_message(message)
        except (SSHException, EOFError, OSError) as error:
            raise Broken(f"no request: {type(error).__name__}") from None
        if not channel.event.wait(self._bound):
            raise Broken("the server does not answer")
        if not channel.event_ready:
            raise (Refused if channel.transport.is_active() else Broken)("the server runs no command")

    def send(self, data: bytes) -> None:
        """Send input. Raises `Broken`: then the last byte has not left, whatever came before."""
        rest = data
        try:
            while rest:
                sent = self._channel.send(rest)
                if not sent:
                    raise Broken("the channel is closed")
                rest = rest[sent:]
        except (SSHException, EOFError, OSError) as error:
            raise Broken(f"no input: {type(error).__name__}") from None

    def take(self) -> list[tuple[StreamName, bytes]]:
        """The output since the last call, in the order it came."""
        chunks = self.inbox.take()
        if chunks:
            try:
                give_back_window(self._channel, sum(len(data) for _, data in chunks))
            except (SSHException, EOFError, OSError):
                self._channel._unlink()
        return chunks

    @property
    def over(self) -> bool:
        """Whether no more output can come."""
        return bool(self._channel.closed or self._channel.eof_received)

    @property
    def exit_code(self) -> int | None:
        """The status the target gave, 128 + n for a death by signal n, None as long as there is none."""
        code: int = self._channel.exit_status
        return None if code < 0 else code

    @property
    def closed(self) -> bool:
        """Whether the channel is closed: no exit status can come any more."""
        return bool(self._channel.closed)

    def end_input(self) -> None:
        """Tell what runs on the target that no input follows; its output keeps coming. Raises `Broken`."""
        try:
            self._channel.shutdown_write()
        except (SSHException, EOFError, OSError) as error:
            raise Broken(f"no end of input: {type(error).__name__}") from None

    def close(self) -> None:
        """Close the channel. What runs on the target sees the end of its input, which needs no message of its own."""
        self._channel.eof_sent = True
        try:
            self._channel.close()
        except (SSHException, EOFError, OSError):
            self._channel._unlink()


def answer_of(command: RemoteCommand, within_s: float, meanwhile: Callable[[], object]) -> bytes:
    """What a short command writes on stdout until its end, or until the time is over. `meanwhile` is called now and then."""
    ends = time.monotonic() + within_s
    answer = b""
    while True:
        finished = command.over
        answer += b"".join(data for stream, data in command.take() if stream == "stdout")
        left = ends - time.monotonic()
        if finished or left <= 0 or len(answer) > _LONGEST_ANSWER:
            return answer
        meanwhile()
        command.inbox.wait(min(left, 0.1))
