"""Does the network misbehave as it is told, and only then? Against a server that answers each request with its own bytes."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.jepsen.metadata import FLEXIBLE, METADATA, without_brokers
from tests.jepsen.proxy import END_TXN, PRODUCE, Proxies, Rule
from tests.support.eventually import eventually


def request(api_key: int, client: str, body: bytes = b"", version: int = 1) -> bytes:
    return framed(struct.pack(">hhih", api_key, version, 7, len(client)) + client.encode() + body)


def framed(what: bytes) -> bytes:
    return struct.pack(">i", len(what)) + what


class Broker:
    """Keeps what it got and sends it back, or what it is told to say instead."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.got = b""
        self.instead = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link: socket.socket) -> None:
        with link:
            try:
                while piece := link.recv(65536):
                    self.got += piece
                    link.sendall(self.instead or piece)
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.close()


@pytest.fixture
def connect(broker: Broker, proxies: Proxies) -> Iterator[Callable[[], socket.socket]]:
    port = proxies.open(1, broker.port)
    links: list[socket.socket] = []

    def made() -> socket.socket:
        links.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        return links[-1]

    yield made
    for link in links:
        link.close()


Connect = Callable[[], socket.socket]


def says(link: socket.socket, sent: bytes, within_s: float = 5.0) -> bool:
    """Whether the whole answer comes in time."""
    link.sendall(sent)
    return hears(link, sent, within_s)


def hears(link: socket.socket, wanted: bytes, within_s: float = 5.0) -> bool:
    link.settimeout(within_s)
    found = b""
    try:
        while len(found) < len(wanted):
            piece = link.recv(65536)
            if not piece:
                return False
            found += piece
    except TimeoutError:
        return False
    return found == wanted


def test_without_a_rule_everything_passes_both_ways(connect: Connect) -> None:
    link = connect()
    assert says(link, request(PRODUCE, "a-one", b"x" * 300_000))
    assert says(link, request(END_TXN, "a-one"))


def test_a_request_that_was_held_reaches_the_broker_after_its_client_has_gone(
    connect: Connect, broker: Broker, proxies: Proxies
) -> None:
    late, link = request(END_TXN, "a-one", b"late"), connect()
    rule = Rule(client=".*-one", api_key=END_TXN)
    proxies.impose(rule)
    assert says(link, request(PRODUCE, "a-one"))
    assert not says(link, late, 0.2)
    link.close()
    assert says(connect(), request(END_TXN, "a-one", b"again")), "only the first is held"
    assert late not in broker.got
    proxies.lift(rule)
    eventually(lambda: broker.got.endswith(late))


def test_the_answer_to_one_request_can_be_held_alone(connect: Connect, broker: Broker, proxies: Proxies) -> None:
    link, sent = connect(), request(END_TXN, "a-one")
    rule = Rule(api_key=END_TXN, answer=True)
    proxies.impose(rule)
    assert not says(link, sent, 0.2)
    assert broker.got == sent
    proxies.lift(rule)
    assert hears(link, sent)


@pytest.mark.parametrize(("direction", "arrives"), [("up", False), ("down", True)])
def test_one_direction_is_cut_for_one_client_and_what_was_held_comes_late(
    connect: Connect, broker: Broker, proxies: Proxies, direction: str, arrives: bool
) -> None:
    one, other, sent = connect(), connect(), request(PRODUCE, "a-one")
    assert says(one, request(1, "a-one")) and says(other, request(1, "a-two"))
    rule = Rule(client=".*-one", held=frozenset({direction}))
    proxies.impose(rule)
    assert not says(one, sent, 0.2)
    assert (sent in broker.got) is arrives
    nobody = Rule(client=".*-three", held=frozenset({"up", "down"}), delay_s=1)
    proxies.impose(nobody)
    assert says(other, request(PRODUCE, "a-two"))
    assert (rule.met, nobody.met) == (1, 0), "a rule counts what it held"
    assert (proxies.lift(nobody, reset=True), proxies.reset(nobody)) == (0, 0)
    proxies.lift(rule)
    assert hears(one, sent)


def test_a_black_hole_ends_in_a_reset_when_it_is_told_so(connect: Connect, broker: Broker, proxies: Proxies) -> None:
    link = connect()
    assert says(link, request(1, "a-one"))
    rule = Rule(held=frozenset({"up", "down"}))
    proxies.impose(rule)
    assert not says(link, request(PRODUCE, "a-one", b"lost"), 0.2)
    assert (rule.met, proxies.lift(rule, reset=True)) == (1, 1)
    with pytest.raises(ConnectionError):
        link.recv(1)
    assert says(connect(), request(PRODUCE, "a-one", b"new"))
    assert b"lost" not in broker.got


def test_everything_is_slow_for_as_long_as_it_is_told(connect: Connect, proxies: Proxies) -> None:
    link = connect()
    rule = Rule(delay_s=0.2)
    proxies.impose(rule)
    began = time.monotonic()
    assert says(link, request(PRODUCE, "a-one"))
    assert time.monotonic() - began >= 0.4
    assert rule.met == 2
    proxies.lift(rule)
    assert says(link, request(PRODUCE, "a-one"), 0.2)


def answer(correlation: int, brokers: list[tuple[int, str, str | None]]) -> bytes:
    """As a broker answers to Metadata 12: what it says of itself, then a cluster's name and no topic."""

    def text(said: str | None) -> bytes:
        return b"\x00" if said is None else bytes([len(said) + 1]) + said.encode()

    told = b"".join(
        struct.pack(">i", n) + text(host) + struct.pack(">i", 9092) + text(rack) + b"\x00" for n, host, rack in brokers
    )
    return (
        struct.pack(">iBi", correlation, 0, 0) + bytes([len(brokers) + 1]) + told + text("cluster") + struct.pack(">iBB", 1, 1, 0)
    )


def test_an_answer_without_its_brokers_says_the_rest_as_it_was() -> None:
    some: list[tuple[int, str, str | None]] = [(1, "127.0.0.1", None), (2, "b" * 20, "rack"), (3, "", "")]
    assert without_brokers(answer(7, some)) == answer(7, []) == without_brokers(answer(7, []))


def test_who_asks_which_brokers_there_are_is_told_none_and_all_again_later(
    connect: Connect, broker: Broker, proxies: Proxies
) -> None:
    link, rule = connect(), Rule(client=".*-one", brokerless=True)
    broker.instead = told = framed(answer(7, [(1, "127.0.0.1", None)]))
    asks = request(METADATA, "a-one", version=FLEXIBLE)
    proxies.impose(rule)
    link.sendall(asks)
    assert hears(link, framed(answer(7, []))) and rule.met == 1
    link.sendall(request(PRODUCE, "a-one"))
    assert hears(link, told), "answers to others are left as they are"
    proxies.lift(rule)
    link.sendall(asks)
    assert hears(link, told) and rule.met == 1
