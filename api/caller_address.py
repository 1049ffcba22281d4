"""Whose address is it that a request comes from, when proxies stand between?

What stands in `X-Forwarded-For` is believed only of peers that the operator named: each proxy adds on the right by whom it was
called, so the list is walked from there, as long as it was written by somebody who is trusted.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_LONGEST_ENTRY = 64
_SHARED_PREFIX = 64
"""One caller gets a whole IPv6 network of this size: its addresses are counted as one."""


def networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses separated by commas. Raises `ValueError` for what is neither, or has bits beyond its prefix."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def caller_address(peer: str, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The first address, from the peer outwards, that is not a trusted proxy's; the last one known when an entry is malformed.

    `forwarded` are the values of `X-Forwarded-For` in the order they were sent. A peer without an address stays what it is.
    """
    current, shown = _address(peer.partition("%")[0]), peer
    entries = [entry.strip() for value in forwarded for entry in value.split(",")] if trusted else []
    while current is not None:
        shown = str(current)
        if not entries or not is_one_of(current, trusted):
            break
        current = _address(entries.pop())
    return shown


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether the peer itself is one of the trusted proxies."""
    found = _address(peer)
    return found is not None and is_one_of(found, trusted)


def is_one_of(address: IPv4Address | IPv6Address, within: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address in network for network in within)


def counted_as(address: str) -> str:
    """What requests from this address are counted under: itself, or its IPv6 network."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _SHARED_PREFIX), strict=False))
    return address if found is None else str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one also where it is written as IPv6; None for anything else."""
    try:
        found = ip_address(text) if len(text) <= _LONGEST_ENTRY and "%" not in text else None
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
