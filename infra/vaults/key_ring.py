"""Which master keys does this process know? Those of its file or setting, read again when one is asked for that it does not know.

So a key that was put into the file while the process runs is found the first time that it is needed.
"""

from collections.abc import Callable

from infra.vaults.master_key import BadMasterKey, Masters, derived, vault_keys
from infra.vaults.sealed import MasterKeyAbsent, MasterKeys


class KeyRing:
    """The keys, and where they come from: `read` raises `BadMasterKey`. Any thread may ask. Has no repr."""

    def __init__(self, read: Callable[[], Masters]) -> None:
        self._read = read
        self._take(read())

    def _take(self, masters: Masters) -> None:
        self._masters, self._keys = masters, vault_keys(masters)

    @property
    def masters(self) -> Masters:
        """The keys as they were read last."""
        return self._masters

    def holding(self, version: int) -> MasterKeys:
        """The keys with `version` among them. Raises `MasterKeyAbsent`."""
        if version not in self._keys.by_version:
            self.read_again()
        self._keys.of(version)
        return self._keys

    def read_again(self) -> MasterKeys:
        """The keys as they are now. Raises `MasterKeyAbsent` when they cannot be read."""
        try:
            self._take(self._read())
        except BadMasterKey as error:
            raise MasterKeyAbsent(str(error)) from None
        return self._keys

    def proof_of(self, version: int) -> bytes:
        """What tells this key from another of the same version, and nothing more. Raises `MasterKeyAbsent`."""
        self.holding(version)
        return derived(self._masters[version], "vault proof")[:16]
