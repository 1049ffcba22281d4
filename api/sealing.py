"""How does a secret get into the vault before anything enters a command, and out again when the command came to nothing?

A secret's id is derived from the command (or the run and the parameter's name) and the request's keyed fingerprint: the same
request again means the same secret, another request never does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from api.submit import Rejection, Write
from schemas.vault import Vault

_SECRETS = UUID("7d1cbbf0-0c2b-5f5e-9d0c-2f0f7a6d9c03")

_MAY_BE_IN_USE = frozenset({"credential_exists", "run_exists", "user_exists", "token_exists", "version_conflict"})
"""After these the thing as it is may be what this very request made of it before: its secret must stay."""


def secret_id(write: Write, of: str) -> str:
    """The id of the secret that `write` brings for `of`."""
    return str(uuid5(_SECRETS, f"{write.fingerprint}\n{of}"))


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals for one command and remembers what it sealed."""

    vault: Vault
    write: Write
    sealed: list[str] = field(default_factory=list)

    async def seal(self, of: str, bound_to: str, secret: bytes) -> str:
        """The id under which the secret is kept from now on."""
        ident = secret_id(self.write, of)
        await self.vault.seal(ident, bound_to, secret)
        self.sealed.append(ident)
        return ident


@asynccontextmanager
async def sealing(vault: Vault, write: Write) -> AsyncIterator[Sealer]:
    """Seal in here; a definite rejection destroys what was sealed, an unknown result never does."""
    sealer = Sealer(vault, write)
    try:
        yield sealer
    except Rejection as rejected:
        if not (write.key_given and rejected.code in _MAY_BE_IN_USE):
            for ident in sealer.sealed:
                await vault.destroy(ident)
        raise
