"""How does one SSH connection carry many steps cheaply? Output in the order it came, rare wake-ups, one pinned host key."""

import signal
import socket
import threading
from collections import deque
from collections.abc import Sequence

from paramiko import Channel, Message, Transport
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
    cMSG_CHANNEL_WINDOW_ADJUST,
)

from infra.ssh.packetizer import GulpPacketizer
from schemas.run_output import StreamName

MOST_UNREAD_BYTES = 8 * 2**20
"""Four windows. A peer that sends more unasked breaks the protocol, and its connection ends."""


GATHERED_FOR_S = 0.02
"""How long a piece of output waits for more to be taken together with it."""


class Inbox:
    """What a command has written and nobody has taken yet, both streams in one order; wakes its one reader.

    A reader that is woken for each piece costs more than what it does with the piece: so it is woken for the first, and takes
    what comes within a moment together. Stands in for a channel's event too (`set`, `clear`), so that the end of a stream and a
    closed channel wake the reader at once.
    """

    def __init__(self) -> None:
        self._chunks: deque[tuple[StreamName, bytes]] = deque()
        self._woken, self._at_once = threading.Event(), threading.Event()
        self.put_bytes = 0
        self.taken_bytes = 0

    def put(self, stream: StreamName, data: bytes) -> None:
        """Called by the transport's thread."""
        self._chunks.append((stream, data))
        self.put_bytes += len(data)
        self._woken.set()

    def note(self) -> None:
        """Wake the reader: something has happened that more belongs to."""
        self._woken.set()

    def set(self) -> None:
        """Wake the reader at once: something else has happened."""
        self._at_once.set()
        self._woken.set()

    def clear(self) -> None:
        """Nothing: only the reader itself goes back to sleep."""

    def wait(self, seconds: float) -> None:
        """Return once something has happened since the last call, and what belongs to it, or the time is over."""
        left = max(0.0, seconds)
        if self._woken.wait(left):
            self._at_once.wait(min(left, GATHERED_FOR_S))
        self._woken.clear()
        self._at_once.clear()

    def take(self) -> list[tuple[StreamName, bytes]]:
        """Everything that has come so far."""
        chunks = []
        while self._chunks:
            chunks.append(self._chunks.popleft())
        self.taken_bytes += sum(len(data) for _, data in chunks)
        return chunks


def _inbox(channel: Channel) -> Inbox:
    inbox: Inbox = channel.inbox
    return inbox


def _deliver(channel: Channel, stream: StreamName, data: bytes) -> None:
    inbox = _inbox(channel)
    inbox.put(stream, data)
    if inbox.put_bytes - inbox.taken_bytes > MOST_UNREAD_BYTES:
        channel.transport.close()


def _data(channel: Channel, message: Message) -> None:
    _deliver(channel, "stdout", message.get_binary())


def _extended_data(channel: Channel, message: Message) -> None:
    kind = message.get_int()
    if kind == 1:
        _deliver(channel, "stderr", message.get_binary())


def _request(channel: Channel, message: Message) -> None:
    """As paramiko, and a death by signal too, which it overlooks."""
    start = message.packet.tell()
    if message.get_text() == "exit-signal":
        message.get_boolean()
        number = getattr(signal, f"SIG{message.get_text()}", signal.SIGKILL)
        channel.exit_status = 128 + int(number)
        channel.status_event.set()
    else:
        message.packet.seek(start)
        channel._handle_request(message)
    _inbox(channel).note()


def _close(channel: Channel, message: Message) -> None:
    """As paramiko, without telling of the end of an input that nobody reads any more (RFC 4254 §5.3 does not ask for it)."""
    channel.eof_sent = True
    channel._handle_close(message)


class LeanTransport(Transport):
    """A transport that asks for the pinned key's type only, prefers AES-GCM and wakes every few seconds when idle."""

    _active_check_timeout = 5.0
    _preferred_ciphers = (
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
    )
    _preferred_macs = (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    )
    _channel_handler_table = {  # noqa: RUF012 - paramiko's own shape
        **Transport._channel_handler_table,
        MSG_CHANNEL_DATA: _data,
        MSG_CHANNEL_EXTENDED_DATA: _extended_data,
        MSG_CHANNEL_REQUEST: _request,
        MSG_CHANNEL_CLOSE: _close,
    }

    def __init__(self, sock: socket.socket, host_key_algorithms: Sequence[str]) -> None:
        super().__init__(sock, packetizer_class=GulpPacketizer)
        self._host_key_algorithms = tuple(host_key_algorithms)
        self.agreed_kex = ""
        self.packetizer.set_log(None)
        self.clear_to_send_timeout = 10.0

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms that can show the pinned key."""
        return self._host_key_algorithms

    def _log(self, level: int, msg: object, *args: object) -> None:
        """Nothing: what matters comes as an exception, and a line a packet is a large part of a channel's cost."""

    def _parse_debug(self, m: Message) -> None:
        """Nothing, for the same reason: OpenSSH tells the lines of authorized_keys that fit."""

    def _parse_kex_init(self, m: Message) -> None:
        super()._parse_kex_init(m)
        self.agreed_kex = next(name for name, kind in self._kex_info.items() if type(self.kex_engine) is kind)

    def close(self) -> None:
        """End the connection at once, from any thread; its own thread then frees the descriptor."""
        self.active = False
        self.packetizer.close()
        for channel in list(self._channels.values()):
            channel._unlink()


def give_back_window(channel: Channel, taken: int) -> None:
    """Let the peer send as much again as was taken. Raises EOFError or SSHException when the connection is over."""
    acknowledged = channel._check_add_window(taken)
    if acknowledged > 0:
        message = Message()
        message.add_byte(cMSG_CHANNEL_WINDOW_ADJUST)
        message.add_int(channel.remote_chanid)
        message.add_int(acknowledged)
        channel.transport._send_user_message(message)
