"""Is a certificate that was replaced shown to the next caller, and one that cannot be used left alone?"""

import asyncio
import contextlib
import logging
import ssl
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509

from infra.telemetry import certificate
from infra.telemetry.certificate import Certificate
from tests.support.certificates import Authority
from tests.support.eventually import eventually_async


async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def shown_by(context: ssl.SSLContext, authority: Authority) -> int:
    """The serial number of what a caller is shown."""
    server = await asyncio.start_server(until_closed, "127.0.0.1", 0, ssl=context)
    try:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=str(authority.file))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        told = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(told).serial_number
    finally:
        server.close()


async def test_a_replaced_certificate_is_shown_and_one_without_its_key_is_not(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(certificate, "LOOK_EVERY_S", 0.02)
    authority, chain, key = Authority(tmp_path), tmp_path / "chain.pem", tmp_path / "key.pem"
    first = authority.sign(chain, key)
    kept = Certificate(chain, key)
    context = kept.context_for(None, None)  # type: ignore[arg-type]
    assert await shown_by(context, authority) == first
    watching = asyncio.create_task(kept.watch())
    try:
        with caplog.at_level(logging.WARNING):
            authority.sign(chain, tmp_path / "another-key.pem")

            async def is_told() -> bool:
                return "stays the one from before" in caplog.text

            await eventually_async(is_told)
        assert await shown_by(context, authority) == first
        second = authority.sign(chain, key)

        async def is_shown() -> bool:
            return await shown_by(context, authority) == second

        await eventually_async(is_shown)
        caplog.clear()  # before the key goes: it is told of once, and that may be at once
        key.unlink()
        await eventually_async(is_told)
        assert not watching.done(), "files that are gone for a moment end nothing"
        assert await shown_by(context, authority) == second
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_handshakes_go_on_while_the_certificate_is_read_anew_all_the_time(tmp_path: Path) -> None:
    """When a context in use was changed instead, one of a thousand handshakes brought the process down."""
    authority, chain, key = Authority(tmp_path), tmp_path / "chain.pem", tmp_path / "key.pem"
    first = authority.sign(chain, key)
    kept = Certificate(chain, key)
    context, over = kept.context_for(None, None), threading.Event()  # type: ignore[arg-type]
    shown: set[int] = set()

    def read_anew() -> None:
        while not over.is_set():
            kept._read = ()
            kept._look()
            shown.add(id(kept._listening.shown))

    reading = asyncio.create_task(asyncio.to_thread(read_anew))
    try:
        assert {await shown_by(context, authority) for _ in range(600)} == {first}
    finally:
        over.set()
        await reading
    assert len(shown) > 1, "it was not read anew"


def greeting() -> bytes:
    """How a caller begins who names the server in other than ASCII; Python's own would not."""
    outgoing = ssl.MemoryBIO()
    caller = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        caller.do_handshake()
    return outgoing.read().replace(b"localhost", "löcalhös".encode()[:9])


async def test_a_caller_who_names_the_server_in_other_than_ascii_is_answered_and_nothing_is_said_of_it(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    authority, chain, key = Authority(tmp_path), tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.sign(chain, key)
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    context = Certificate(chain, key).context_for(None, None)  # type: ignore[arg-type]
    server = await asyncio.start_server(until_closed, "127.0.0.1", 0, ssl=context)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(greeting())
        kind = await asyncio.wait_for(reader.readexactly(1), 60)
        writer.close()
    finally:
        server.close()
    assert kind == b"\x16", "an alert instead of a handshake"
    assert not said and not caplog.records


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    with pytest.raises(OSError, match=r"chain\.pem"):
        Certificate(chain, key)
    chain.write_text("nonsense")
    key.write_text("nonsense")
    with pytest.raises(OSError, match=r"chain\.pem and .*key\.pem"):
        Certificate(chain, key)
