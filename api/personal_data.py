"""Who are the users? Titles, and whom an identity provider names, lie in the vault: they are opened for whoever looks at users, a
page at once.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from api.signing_keys import READ_EVERY_S
from schemas.vault import Vault, VaultError, bound_to_identity, bound_to_title

log = logging.getLogger(__name__)

KEPT_S = READ_EVERY_S
"""How long it is remembered: by then a process that was told nothing has forgotten somebody who was erased."""

MOST_KEPT = 2_000
WITHIN_S, RESTS_S = 2.0, 1.0
"""How long a list waits for the vault, and how long one that did not answer is left alone."""


class PersonalData:
    """Opens what says who users are, and remembers it for a moment. A vault that does not answer breaks no list: then it is not
    known.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._kept: dict[str, str] = {}
        self._rests = False

    async def of(self, rows: Sequence[Mapping[Any, Any]]) -> Mapping[str, str]:
        """What the vault has of these rows of the read model, by its ids; what opens."""
        wanted = {ident: bound_to for row in rows for ident, bound_to in _named(row)}
        known = {ident: self._kept[ident] for ident in wanted if ident in self._kept}
        left = {ident: bound_to for ident, bound_to in wanted.items() if ident not in known}
        return {**known, **await self._opened(left)} if left and not self._rests else known

    def forget(self, idents: Collection[str]) -> None:
        """Remember none of these any more."""
        for ident in idents:
            self._kept.pop(ident, None)

    async def _opened(self, wanted: Mapping[str, str]) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(WITHIN_S):
                found = await self._vault.open_many(wanted)
        except (VaultError, TimeoutError) as error:
            log.warning("who users are cannot be shown: the vault does not answer", extra={"error": type(error).__name__})
            self._rests = True
            asyncio.get_running_loop().call_later(RESTS_S, self._is_asked_again)
            return {}
        texts = {ident: raw.decode() for ident, raw in found.items()}
        self._kept |= texts
        self.forget(list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)])  # the first that came go first
        asyncio.get_running_loop().call_later(KEPT_S, self.forget, list(texts))
        return texts

    def _is_asked_again(self) -> None:
        self._rests = False


def _named(row: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """The ids under which the vault has what says who this is, and what each is bound to."""
    if row["sealed_title"]:
        yield row["sealed_title"], bound_to_title(row["name"])
    if row["linked"] and row["linked"].get("secret"):
        yield row["linked"]["secret"], bound_to_identity(row["name"])
