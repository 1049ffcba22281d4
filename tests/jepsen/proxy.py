"""How is the network between Kafka's clients and its brokers made bad? By a TCP proxy before each broker.

It knows who speaks from the client id in Kafka's request headers, and what is asked from their API keys, so that one request of
one client can be held back and released when that client has long given it up (HAZARDS D1). Nothing is ever dropped out of the
middle of a connection: what is held is released late, or the connection is reset.
"""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.jepsen.metadata import FLEXIBLE, METADATA, without_brokers

T = TypeVar("T")

PRODUCE, ADD_PARTITIONS, END_TXN, TXN_OFFSETS = 0, 24, 26, 28
"""Kafka's API keys of the requests that make a transaction."""

_CALL_S = 10.0


@dataclass(eq=False, kw_only=True)
class Rule:
    """What is done to which connections until it is lifted.

    `client` is matched against the whole name of a client, `broker` is one broker's number. `delay_s` is added to every piece in
    both directions. `held` are the directions in which nothing passes, `up` to the broker and `down` to the client. With
    `api_key` only the first such request is held, alone, or with `answer` its answer. `brokerless`: who asks which brokers there
    are is answered that there are none. `met` counts the pieces it delayed, held or changed.
    """

    client: str = ".*"
    broker: int | None = None
    delay_s: float = 0.0
    held: frozenset[str] = frozenset()
    api_key: int | None = None
    answer: bool = False
    brokerless: bool = False
    caught: "Link | None" = field(default=None, init=False)
    met: int = field(default=0, init=False)

    def concerns(self, link: "Link") -> bool:
        """Whether this connection is meant."""
        return self.broker in (None, link.broker) and re.fullmatch(self.client, link.client) is not None

    def holds(self, link: "Link", direction: str) -> bool:
        """Whether nothing may pass on this connection in this direction now."""
        if self.api_key is not None:
            return self.caught is link and direction == ("down" if self.answer else "up")
        return direction in self.held and self.concerns(link)


class Link:
    """One connection of a client, and ours to the broker for it."""

    def __init__(self, broker: int, rules: "Rules", down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self.broker, self.client = broker, "?"
        self._rules, self._down, self._up = rules, down, up
        self._asks_for_brokers: set[bytes] = set()

    async def carry(self, from_client: asyncio.StreamReader, from_broker: asyncio.StreamReader) -> None:
        """Carry both directions until both have ended."""
        try:
            await asyncio.gather(self._carry_up(from_client), self._carry_down(from_broker))
        finally:
            self._down.close()
            self._up.close()

    async def _carry_up(self, source: asyncio.StreamReader) -> None:
        """Request by request. What was read before the client went is still carried to the broker."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await source.readexactly(4)
                request = await source.readexactly(int.from_bytes(head))
                self.client = _client_of(request) or self.client
                if int.from_bytes(request[:2]) == METADATA and int.from_bytes(request[2:4]) >= FLEXIBLE:
                    self._asks_for_brokers.add(request[4:8])
                self._rules.catch(self, int.from_bytes(request[:2]))
                await self._rules.passed(self, "up")
                self._up.write(head + request)
                await self._up.drain()
        with contextlib.suppress(OSError):
            self._up.write_eof()

    async def _carry_down(self, source: asyncio.StreamReader) -> None:
        """Answer by answer; each begins with the correlation id of its request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                answer = await source.readexactly(int.from_bytes(await source.readexactly(4)))
                await self._rules.passed(self, "down")
                answer = self._as_told(answer)
                self._down.write(len(answer).to_bytes(4) + answer)
                await self._down.drain()
        self._down.close()

    def _as_told(self, answer: bytes) -> bytes:
        if answer[:4] not in self._asks_for_brokers:
            return answer
        self._asks_for_brokers.discard(answer[:4])
        return without_brokers(answer) if self._rules.hides_brokers(self) else answer

    def reset(self) -> None:
        """End both sides with a TCP reset."""
        for writer in (self._down, self._up):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _client_of(request: bytes) -> str | None:
    """The client id: a request begins with API key, version, correlation id and client id."""
    if len(request) < 10 or (length := struct.unpack(">h", request[8:10])[0]) < 0:
        return None
    return request[10 : 10 + length].decode(errors="replace")


class Rules:
    """What is in force now. Used on the proxies' loop."""

    def __init__(self) -> None:
        self.all: list[Rule] = []
        self.counted: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def change(self, work: Callable[[], None]) -> None:
        """Change what is in force; whoever is held looks again."""
        work()
        self._changed.set()
        self._changed = asyncio.Event()

    def catch(self, link: Link, api_key: int) -> None:
        """Let a rule that waits for such a request have it."""
        for rule in self.all:
            if rule.api_key == api_key and rule.caught is None and rule.concerns(link):
                rule.caught = link

    async def passed(self, link: Link, direction: str) -> None:
        """Return once a piece may pass."""
        if slow := [rule for rule in self.all if rule.delay_s and rule.concerns(link)]:
            self._met(slow, "pieces delayed")
            await asyncio.sleep(sum(rule.delay_s for rule in slow))
        if holding := self._holding(link, direction):
            self._met(holding, "pieces held and released late")
            while self._holding(link, direction):
                await self._changed.wait()

    def hides_brokers(self, link: Link) -> bool:
        """Whether this connection is answered that there are no brokers."""
        hiding = [rule for rule in self.all if rule.brokerless and rule.concerns(link)]
        if hiding:
            self._met(hiding, "answers without brokers")
        return bool(hiding)

    def _holding(self, link: Link, direction: str) -> list[Rule]:
        return [rule for rule in self.all if rule.holds(link, direction)]

    def _met(self, rules: list[Rule], what: str) -> None:
        self.counted[what] += 1
        for rule in rules:
            rule.met += 1


class Proxies:
    """One proxy a broker, on a thread of their own. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._links: set[Link] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self._rules = self._do(self._made())

    async def _made(self) -> Rules:
        return Rules()

    def open(self, broker: int, upstream: int) -> int:
        """Stand before a broker that listens, or will listen, on the port `upstream`; our port."""
        return self._do(self._open(broker, upstream))

    def impose(self, rule: Rule) -> None:
        """Put a rule in force."""
        self._do(self._change(lambda: self._rules.all.append(rule)))

    def lift(self, rule: Rule, *, reset: bool = False) -> int:
        """Take a rule out of force; what it held is released, or its connections are reset; how many of these."""
        return self._do(self._lift(rule, reset))

    def reset(self, rule: Rule) -> int:
        """Reset every connection that the rule concerns; how many."""
        return self._do(self._reset(rule))

    def carries(self, link: Link) -> bool:
        """Whether this connection has not ended yet on both sides."""
        return link in self._links

    @property
    def counted(self) -> Counter[str]:
        """What was done to how many pieces of traffic."""
        return self._rules.counted

    def close(self) -> None:
        """End all connections and the thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _open(self, broker: int, upstream: int) -> int:
        server = await asyncio.start_server(self._accepting(broker, upstream), "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _accepting(self, broker: int, upstream: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                back, forth = await asyncio.open_connection("127.0.0.1", upstream)
            except OSError:
                writer.transport.abort()
                return
            link = Link(broker, self._rules, writer, forth)
            self._links.add(link)
            task = asyncio.ensure_future(link.carry(reader, back))
            self._carrying.add(task)
            try:
                await task
            finally:
                self._links.discard(link)
                self._carrying.discard(task)

        return accept

    async def _change(self, work: Callable[[], None]) -> None:
        self._rules.change(work)

    async def _lift(self, rule: Rule, reset: bool) -> int:
        done = await self._reset(rule) if reset else 0
        self._rules.change(lambda: self._rules.all.remove(rule))
        return done

    async def _reset(self, rule: Rule) -> int:
        chosen = [link for link in self._links if rule.concerns(link)]
        for link in chosen:
            link.reset()
        self._rules.counted["connections reset"] += len(chosen)
        return len(chosen)

    async def _close(self) -> None:
        self._rules.change(self._rules.all.clear)
        for server in self._servers:
            server.close()
        for task in list(self._carrying):
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
