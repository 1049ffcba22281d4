"""Which of our users is the one whom an identity provider names? Known by a keyed digest: who it is stands in the vault alone."""

import hashlib
import hmac
from dataclasses import dataclass

import orjson

from api.call import Call
from api.identity_provider import Identity
from api.queries import users
from api.sealing import Sealer
from domain.identity import USER, name_of
from domain.user.state import digest_before
from schemas.vault import bound_to_identity


@dataclass(frozen=True, slots=True)
class Known:
    """Whom the provider names: the name here (its own for somebody new), the keyed digest, and whether it is linked by that. An
    event from before may name somebody in clear, under the same name or another: `before` then stands for the same.
    """

    name: str
    identity: str
    is_linked: bool
    before: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether there is no such user yet."""
        return not self.is_linked and self.before is None


def digest_of(key: bytes, issuer: str, subject: str) -> str:
    """What stands for this user of this provider wherever it may be seen."""
    return hmac.new(key, f"{issuer}\0{subject}".encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


async def known_as(call: Call, issuer: str, who: Identity) -> Known:
    """Who this is here, whatever the provider calls it by now: the links that the log held when this was asked are seen."""
    await call.services.freshness.log_end([USER])
    identity = digest_of(call.given.keys.identities, issuer, who.subject)
    name, in_clear = await call.models.ask(
        lambda connection: (
            users.name_of_identity(connection, identity),
            users.name_of_linked(connection, issuer, who.subject),
        )
    )
    before = digest_before(issuer, who.subject) if in_clear is not None else None
    return Known(name or in_clear or who.name, identity, name is not None, before)


async def sealed_identity(sealer: Sealer, issuer: str, subject: str) -> str:
    """The id under which the vault has whom the digest stands for, bound to the user."""
    write = sealer.write
    clear = orjson.dumps({"issuer": issuer, "subject": subject.encode(errors="replace").decode()})
    return await sealer.seal(f"{write.command_id()}\nidentity", bound_to_identity(name_of(write.stream)), clear)
