"""Which certificate does the API show? That of two files, read anew when they are replaced: nobody is cut off for it."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0


class _Listening(ssl.SSLContext):
    """What a server is given once; each connection is made with the context shown then.

    A context in use is never changed: a handshake that begins between the new certificate and its key would fail. Nor is the
    choice left to `sni_callback`, which Python calls only after it has read the name that a caller gives the server, with a
    traceback for each that is not in ASCII.
    """

    shown: ssl.SSLContext

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """One connection's end."""
        return self.shown.wrap_bio(*given, **named)


class Certificate:
    """A certificate and its key. Raises `OSError` naming what cannot be used."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._read = self._stamp()
        self._listening = _Listening(ssl.PROTOCOL_TLS_SERVER)
        self._listening.shown = self._fresh()

    def context_for(self, config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """What the server listens with."""
        return self._listening

    async def watch(self) -> None:
        """Show what stands in the files now, for new connections, until cancelled; what cannot be used is told of once."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        try:
            found = self._stamp()
            if found == self._read:
                return
            self._read = found
            self._listening.shown = self._fresh()
            log.info("the certificate was read anew")
        except OSError as error:
            log.warning("the certificate stays the one from before: %s", error)

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._chain, self._key, password="")
        except OSError as error:  # says neither which file nor, where a passphrase is needed, that none is asked for
            raise OSError(f"no certificate and key in {self._chain} and {self._key}: {error}") from error
        return context

    def _stamp(self) -> tuple[int, ...]:
        """What differs once one of the files was replaced."""
        there = [file.stat() for file in (self._chain, self._key) if file.exists()]
        return tuple(stamp for stat in there for stamp in (stat.st_mtime_ns, stat.st_ino))
