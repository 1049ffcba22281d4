"""How is a secret kept, so that it is never in a command, an event or a log? Sealed in the vault, under an id that may be seen.

A secret is bound to what it is for (`credential/deploy-key@2`, `run/<id>#token`): opened for anything else it fails. Only the API
seals and only the executor opens (the API opens password hashes, users' titles and its own signing keys).
"""

from collections.abc import Collection, Mapping
from typing import Protocol

SIGNING_KEY, SIGNING_KEY_BOUND_TO = "api-signing-key", "api/signing-key"
"""Under which id every installation keeps its first signing key, and for what."""


class VaultError(Exception):
    """The vault could not be asked; the same call may be made again."""


class SecretUnavailable(Exception):
    """There is no such secret, it was destroyed, or it is bound to something else. The message never holds the secret."""


class Vault(Protocol):
    """Keeps secrets sealed. Calls raise `VaultError` when the store cannot be reached."""

    async def seal(self, secret_id: str, bound_to: str, secret: bytes) -> None:
        """Keep `secret` under `secret_id`; when there is one under this id already, it stays (a command sent again)."""
        ...

    async def open(self, secret_id: str, bound_to: str) -> bytes:
        """The secret in clear. Raises `SecretUnavailable`."""
        ...

    async def open_many(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """Several secrets in clear, each by its id and for what it is bound to; what does not open is left out."""
        ...

    async def destroy(self, secret_id: str) -> None:
        """Forget a secret and its key; nothing happens when there is none."""
        ...

    async def shred(self, secret_ids: Collection[str]) -> None:
        """Destroy secrets, and what the store still has of them where no call would find it, as far as it lies with the store."""
        ...


def bound_to_credential(name: str, revision: int) -> str:
    """What the secret of a credential's revision is bound to."""
    return f"credential/{name}@{revision}"


def bound_to_run(run: str, parameter: str) -> str:
    """What a run's secret parameter is bound to."""
    return f"run/{run}#{parameter}"


def bound_to_token(user: str, token: str) -> str:
    """What the hash of an API token is bound to."""
    return f"user/{user}#{token}"


def bound_to_user(name: str) -> str:
    """What a user's password hash is bound to."""
    return f"user/{name}"


def bound_to_title(user: str) -> str:
    """What a user's title is bound to."""
    return f"user/{user}/title"


def bound_to_identity(user: str) -> str:
    """What is bound to that a user is an identity provider's: its issuer and subject."""
    return f"user/{user}/identity"
