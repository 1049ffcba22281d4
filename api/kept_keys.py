"""Which keys do the API processes share, and where are they kept? In the vault, like the key that signs tokens.

They do not depend on the master key, so a new master key changes nothing about them: a request sent again after a rotation is
still known by its fingerprint, its secret's id is the same, and a list goes on at its cursor.
"""

from collections.abc import Callable

from api.ports import ApiKeys
from api.tokens import Randomness
from schemas.vault import SIGNING_KEY, SIGNING_KEY_BOUND_TO, SecretUnavailable, Vault

_BYTES = 32


async def load_keys(vault: Vault, randomness: Randomness, before: Callable[[str], bytes] | None) -> ApiKeys:
    """The keys, made on the first start; one set for all API processes.

    `before` says what a key was when they were still derived from the master key: an installation from then goes on with it.
    Asked for before the signing key is made, which tells such an installation from a new one. Raises `VaultError`.
    """
    made = randomness.random_bytes
    if before is not None and await _is_old(vault):
        return ApiKeys(
            fingerprints=await _kept(vault, "fingerprints", before("fingerprints")),
            cursors=await _kept(vault, "cursors", before("cursors")),
            identities=await _kept(vault, "identities", made(_BYTES)),
        )
    return ApiKeys(
        fingerprints=await _kept(vault, "fingerprints", made(_BYTES)),
        cursors=await _kept(vault, "cursors", made(_BYTES)),
        identities=await _kept(vault, "identities", made(_BYTES)),
    )


async def _is_old(vault: Vault) -> bool:
    try:
        await vault.open(SIGNING_KEY, SIGNING_KEY_BOUND_TO)
    except SecretUnavailable:
        return False
    return True


async def _kept(vault: Vault, purpose: str, first: bytes) -> bytes:
    """The key for `purpose`; `first` when there is none yet and nobody else was quicker."""
    ident, bound_to = f"api-{purpose}-key", f"api/{purpose}-key"
    try:
        return await vault.open(ident, bound_to)
    except SecretUnavailable:
        await vault.seal(ident, bound_to, first)
        return await vault.open(ident, bound_to)
