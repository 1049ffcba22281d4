"""Which open connection may a step use? One with room, under the same log-in and host key; otherwise a new one, within bounds."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.ssh.gates import Gates
from infra.ssh.opening import Opened, RefusedForNow
from infra.ssh.settings import SshSettings
from processors.executor.connector import Endpoint, Login, Unreachable

Key = tuple[str, int, str | None, str, str]
Open = Callable[[], Opened]

_MOST_ROOMS_KNOWN = 10_000


def key_of(endpoint: Endpoint, login: Login) -> Key:
    """Whom a connection may be shared with: everybody to whom all of this is the same."""
    return (endpoint.host, endpoint.port, endpoint.host_key, login.username, login.fingerprint)


@dataclass(eq=False, slots=True)
class Pooled:
    """One connection of the pool, or one that is just being opened (`opened` and `failure` are None until `settled`)."""

    key: Key
    room: int
    since: float
    idle_since: float
    leases: int = 0
    channels: int = 0
    seen: int = 0
    retired: bool = False
    opened: Opened | None = None
    failure: Unreachable | None = None
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def alive(self) -> bool:
        """Whether it may still be used."""
        return self.failure is None and (self.opened is None or self.opened.transport.is_active())


@dataclass(eq=False, slots=True)
class Lease:
    """The right to one channel on a connection."""

    pooled: Pooled
    opened: Opened
    has_channel: bool = False


class Pool:
    """Connections shared by threads: a bounded number, least recently used dropped first, idle and old ones closed."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._gates = Gates(settings.connects_per_host)
        self._lock = threading.Condition()
        self._pooled: dict[Key, list[Pooled]] = {}
        self._count = 0
        self._rooms: dict[Key, int] = {}
        self._closed = threading.Event()
        self._reaper: threading.Thread | None = None

    @property
    def size(self) -> int:
        """How many connections are open or being opened."""
        with self._lock:
            return self._count

    def lease(self, key: Key, open_one: Open, stopped: threading.Event) -> Lease:
        """A channel's place for `key`, opened if need be. Raises `Unreachable`; ends early when `stopped` is set."""
        while True:
            pooled, fresh = self._place(key)
            if fresh:
                self._fill(pooled, open_one, stopped)
            pooled.settled.wait()
            if pooled.opened is not None:
                return Lease(pooled, pooled.opened)
            if pooled.failure is not None:
                raise Unreachable(pooled.failure.code, pooled.failure.message)
            if fresh or stopped.is_set():
                raise Unreachable("connect_failed", "was given up before a connection was open")

    def give_back(self, lease: Lease, *, broken: bool = False) -> None:
        """End a lease. A broken connection is not used again, and closed once nobody is left on it."""
        pooled = lease.pooled
        with self._lock:
            pooled.leases -= 1
            pooled.channels -= lease.has_channel
            pooled.idle_since = time.monotonic()
            if broken or not pooled.alive or self._worn(pooled):
                pooled.retired = True
                self._forget(pooled)
            finished = pooled.retired and pooled.leases == 0
            self._lock.notify()
        if finished:
            lease.opened.close()

    def has_channel(self, lease: Lease) -> None:
        """Note that the lease's channel is open: so many does this server allow on a connection."""
        with self._lock:
            lease.pooled.channels += 1
            lease.has_channel = True

    def full(self, lease: Lease) -> None:
        """End a lease that got no channel: this server allows no more on a connection, nor on the next one."""
        with self._lock:
            allowed = lease.pooled.channels
            if len(self._rooms) >= _MOST_ROOMS_KNOWN:
                self._rooms.clear()
            lease.pooled.room = self._rooms[lease.pooled.key] = max(1, allowed)
        self.give_back(lease, broken=allowed == 0)

    def close(self) -> None:
        """Close every connection at once, whatever runs on it; no more can be leased."""
        self._closed.set()
        with self._lock:
            everything = [pooled for group in self._pooled.values() for pooled in group]
            self._pooled.clear()
            self._count = 0
            self._lock.notify_all()
        for pooled in everything:
            if pooled.opened is not None:
                pooled.opened.close()
        if self._reaper is not None:
            self._reaper.join(2)

    def _place(self, key: Key) -> tuple[Pooled, bool]:
        deadline = time.monotonic() + self._settings.refusals_for_s
        with self._lock:
            while True:
                if self._closed.is_set():
                    raise Unreachable("connect_failed", "was not connected to: the connector is closed")
                found = self._usable(key)
                if found is not None:
                    found.leases += 1
                    found.seen += 1
                    return found, False
                if self._count < self._settings.max_connections or self._evict():
                    return self._added(key), True
                if not self._lock.wait(deadline - time.monotonic()):
                    raise Unreachable("too_many_connections", "was not connected to: every connection we may hold is in use")

    def _usable(self, key: Key) -> Pooled | None:
        for pooled in list(self._pooled.get(key, ())):
            if not pooled.alive:
                self._forget(pooled)
            elif pooled.leases < pooled.room and not self._worn(pooled):
                return pooled
        return None

    def _worn(self, pooled: Pooled) -> bool:
        old = time.monotonic() - pooled.since > self._settings.recycle_after_s
        return old or pooled.seen >= self._settings.recycle_after_channels

    def _added(self, key: Key) -> Pooled:
        now = time.monotonic()
        room = self._rooms.get(key, self._settings.channels_per_connection)
        pooled = Pooled(key, room, now, now, leases=1, seen=1)
        self._pooled.setdefault(key, []).append(pooled)
        self._count += 1
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, name="ops-ssh-reaper", daemon=True)
            self._reaper.start()
        return pooled

    def _forget(self, pooled: Pooled) -> None:
        group = self._pooled.get(pooled.key, [])
        if pooled in group:
            group.remove(pooled)
            self._count -= 1
        if not group:
            self._pooled.pop(pooled.key, None)

    def _evict(self) -> bool:
        idle = [pooled for group in self._pooled.values() for pooled in group if pooled.leases == 0 and pooled.opened is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda pooled: pooled.idle_since)
        self._forget(oldest)
        if oldest.opened is not None:
            oldest.opened.close()
        return True

    def _fill(self, pooled: Pooled, open_one: Open, stopped: threading.Event) -> None:
        """Settle `pooled`, come what may: others wait for it. Neither opened nor failed means that we gave up ourselves."""
        try:
            pooled.opened = self.opened_patiently(pooled.key, open_one, stopped)
        except Unreachable as error:
            pooled.failure = None if stopped.is_set() else error
        finally:
            if pooled.opened is None:
                with self._lock:
                    self._forget(pooled)
                    self._lock.notify()
            pooled.settled.set()
        if self._closed.is_set() and pooled.opened is not None:
            pooled.opened.close()

    def opened_patiently(self, key: Key, open_one: Open, stopped: threading.Event) -> Opened:
        """A connection outside the pool: few at a time a host, and again with jitter when the server refuses for now."""
        deadline = time.monotonic() + self._settings.refusals_for_s
        pause = 0.1
        while not (stopped.is_set() or self._closed.is_set()):
            with self._gates.of(key[:2], deadline):
                try:
                    return open_one()
                except RefusedForNow as error:
                    refusal = str(error)
            pause = min(pause * 1.6, 2.0)
            wait = pause * random.uniform(0.5, 1.5)
            if time.monotonic() + wait > deadline:
                raise Unreachable("too_many_connections", f"{refusal}, again and again")
            stopped.wait(wait)
        raise Unreachable("connect_failed", "was given up before a connection was open")

    def _reap(self) -> None:
        """Close what has been idle for too long or is worn out, now and then."""
        while not self._closed.wait(min(self._settings.idle_timeout_s / 4, 5.0)):
            limit = time.monotonic() - self._settings.idle_timeout_s
            with self._lock:
                idle = [pooled for group in self._pooled.values() for pooled in group if pooled.leases == 0 and pooled.opened]
                over = [pooled for pooled in idle if pooled.idle_since < limit or self._worn(pooled) or not pooled.alive]
                for pooled in over:
                    self._forget(pooled)
            for pooled in over:
                if pooled.opened is not None:
                    pooled.opened.close()
