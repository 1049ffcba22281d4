"""Is a caller's address what the trusted proxies say, and never what somebody else writes into a header?"""

import re
from pathlib import Path
from typing import Any

import pytest

from api.caller_address import caller_address, counted_as, networks
from tests.api.server import Server, scope_of, serving

PROXIES = networks("10.0.0.0/8, 2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", ["127.1"], "10.0.0.1"),
        ("10.0.0.1", ["0x7f000001"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["1" * 100_000], "10.0.0.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:ffff::1", ["2001:db8:0:0::0001"], "2001:db8::1"),
        ("unknown", ["198.51.100.1"], "unknown"),
    ],
)
def test_the_rightmost_entry_that_no_trusted_proxy_has_is_the_caller(peer: str, forwarded: list[str], caller: str) -> None:
    assert caller_address(peer, forwarded, PROXIES) == caller


def test_nobody_is_believed_by_default() -> None:
    assert caller_address("127.0.0.1", ["198.51.100.1"], ()) == "127.0.0.1"


def test_an_ipv6_network_counts_as_one_caller_and_an_ipv4_address_as_one() -> None:
    assert counted_as("2001:db8:1:2:aaaa::1") == counted_as("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:3::1") != counted_as("2001:db8:1:2::1")
    assert counted_as("::ffff:198.51.100.1") == counted_as("198.51.100.1") == "198.51.100.1"
    assert counted_as("unknown") == "unknown"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "*", "proxy.example.org", "10.0.0.0/8;::1"])
def test_what_is_no_network_is_no_setting(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text.partition(";")[0])):
        networks(text)


async def guessed(server: Server, forwarded: str, peer: str = "127.0.0.1", name: str = "admin") -> int:
    """The status of one wrong password."""
    body = f"grant_type=password&username={name}&password=wrong".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": forwarded}
    scope = scope_of("POST", "/api/v1/auth/token", headers)
    scope["client"] = (peer, 4711)
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await server.app(scope, receive, send)
    return int(told[0]["status"])


async def test_callers_behind_a_trusted_proxy_do_not_slow_each_other_down(tmp_path: Path) -> None:
    async with serving(tmp_path, trusted_proxies=networks("127.0.0.0/8")) as server:
        assert [await guessed(server, "198.51.100.1") for _ in range(6)] == [401] * 5 + [429]
        assert await guessed(server, "198.51.100.2") == 401
        assert await guessed(server, "2001:db8:1:2::1") == 401
        assert [await guessed(server, f"2001:db8:1:2::{n}") for n in range(2, 7)] == [401] * 4 + [429], (
            "one network is one caller"
        )


async def test_a_spoofed_forwarded_address_gets_nobody_more_guesses(tmp_path: Path) -> None:
    async with serving(tmp_path / "no-proxy") as server:
        statuses = [await guessed(server, f"198.51.100.{n}") for n in range(6)]
        assert statuses == [401] * 5 + [429], "without trusted proxies the header is nothing"
    async with serving(tmp_path / "proxy", trusted_proxies=networks("10.0.0.0/8")) as server:
        statuses = [await guessed(server, f"198.51.100.{n}", peer="203.0.113.7") for n in range(6)]
        assert statuses == [401] * 5 + [429], "nor from a peer that is none of them"
        statuses = [await guessed(server, f"1.1.1.{n}, 203.0.113.8", peer="10.0.0.1") for n in range(6)]
        assert statuses == [401] * 5 + [429], "nor left of what the proxy added itself"
