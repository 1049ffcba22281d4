"""How do SSH packets come off a socket with few system calls, no timer thread, and no wait without an end?"""

import errno
import socket
import struct
import time

from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.ssh_exception import SSHException

WRITE_STALLS_AFTER_S = 20.0
"""A peer whose socket takes nothing for this long is dead to us: every blocked writer fails then."""

_LARGEST_PACKET = 2**20
"""OpenSSH sends a quarter of that at most. A length is read before anybody is known to be trusted, and memory follows it."""

_SMALLEST_GULP = 4096
_LARGEST_GULP = 262144
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class GulpPacketizer(Packetizer):
    """Reads what the socket holds in one call and serves packets from it.

    The size of a gulp follows the traffic: an idle connection keeps a small buffer only. `close` shuts the socket down and leaves
    the descriptor to the reading thread: closing it here could hand its number to somebody else while that thread still reads.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._sock = sock
        self._gulp = _SMALLEST_GULP
        self._held = b""
        self._at = 0
        self._closing = False
        self._handshake_ends: float | None = None
        self.said_first = ""
        """The first line of a peer that has not said yet that it is an SSH server; RFC 4253 §4.2 lets those say others before."""

    @property
    def closed(self) -> bool:
        """Whether reading and writing are over."""
        return self._closing

    def close(self) -> None:
        """End every read and write at once."""
        self._closing = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster

    def start_handshake(self, timeout: float) -> None:
        """Give the handshake this long."""
        if self._handshake_ends is None:
            self._handshake_ends = time.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Whether a handshake is under way for too long."""
        return self._handshake_ends is not None and time.monotonic() > self._handshake_ends

    def complete_handshake(self) -> None:
        """Lift the handshake's bound. Called after every packet."""
        self._handshake_ends = float("inf")
        if (timeout := self._sock.gettimeout()) is not None:
            self._wait_in_the_kernel(timeout)

    def _wait_in_the_kernel(self, timeout: float) -> None:
        """Python asks the socket whether it is ready before each call; where the kernel bounds the call itself, that is saved."""
        bound = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._sock.setsockopt(socket.SOL_SOCKET, option, bound)
        self._sock.settimeout(None)

    def readline(self, timeout: float) -> str:
        """A line of the time before the packets."""
        line: str = super().readline(timeout)
        self.said_first = "" if line.startswith("SSH-") else self.said_first or line
        return line

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """The next `n` bytes. Raises EOFError when the connection ends first."""
        self._take_over_banner_rest()
        if not 0 <= n <= _LARGEST_PACKET:
            raise SSHException("the peer announces a packet of an impossible size")
        while len(self._held) - self._at < n:
            if self.handshake_timed_out():
                raise EOFError
            fresh = self._receive()
            if fresh:
                self._held = self._held[self._at :] + fresh
                self._at = 0
                continue
            if check_rekey and self._at == len(self._held) and self.need_rekey():
                raise NeedRekeyException
            self._check_keepalive()
        taken = self._held[self._at : self._at + n]
        self._at += n
        if self._at == len(self._held):
            self._held, self._at = b"", 0
        return taken

    def _take_over_banner_rest(self) -> None:
        rest: bytes = self._Packetizer__remainder  # type: ignore[has-type]
        if rest:
            self._held = self._held[self._at :] + rest
            self._at = 0
            self._Packetizer__remainder = b""

    def _receive(self) -> bytes:
        """What has come, or nothing when the socket's time is over (the transport then looks at its other duties)."""
        if _QUICKACK is not None:
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        try:
            data = self._sock.recv(self._gulp)
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
                if self._closing:
                    raise EOFError from None
                return b""
            raise EOFError from None
        if not data:
            raise EOFError
        if len(data) == self._gulp:
            self._gulp = min(self._gulp * 4, _LARGEST_GULP)
        elif len(data) * 8 < self._gulp:
            self._gulp = max(self._gulp // 2, _SMALLEST_GULP)
        return data

    def write_all(self, out: bytes) -> None:
        """Send everything. Raises EOFError when the connection ends or takes nothing for `WRITE_STALLS_AFTER_S`."""
        self._Packetizer__keepalive_last = time.time()
        rest = memoryview(out)
        progress = time.monotonic()
        while rest:
            if self._closing:
                raise EOFError
            try:
                sent = self._sock.send(rest)
            except OSError as error:
                waiting = isinstance(error, TimeoutError) or error.errno == errno.EAGAIN
                if waiting and time.monotonic() - progress < WRITE_STALLS_AFTER_S:
                    continue
                self.close()
                raise EOFError from None
            rest = rest[sent:]
            progress = time.monotonic()
