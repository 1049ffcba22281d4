"""How are all secrets of a shredded credential or an erased user destroyed? After the log has it, before the caller is told.

When this is not reached (a crash, a vault that does not answer), the vault's keeper does it: it reads in the log what is over.
"""

import orjson
from sqlalchemy import Connection, select
from starlette.responses import Response

from api.submit import Write
from projections.tables import events

_NAMED_BY = {
    "CredentialCreated": "secret",
    "CredentialRotated": "secret",
    "UserCreated": "password",
    "PasswordChanged": "password",
    "TitleChanged": "secret",
    "IdentityLinked": "secret",
    "TokenIssued": "secret",
}
"""Which events name a secret's id, and where."""


async def destroyed(write: Write, answer: Response) -> Response:
    """`answer`, once the vault holds nothing of the stream any more. Raises `Problem`, `VaultError`."""
    if answer.status_code == 200:
        call, version = write.call, int(answer.headers["etag"].strip('"'))
        await call.services.freshness.versions([(write.stream, version)], ("events",))
        secrets = await call.models.ask(lambda connection: _secrets_of(connection, write.stream))
        call.services.personal_data.forget(secrets)
        await call.given.vault.shred(secrets)
    return answer


def _secrets_of(connection: Connection, stream: str) -> list[str]:
    """The ids of all secrets that the stream ever named."""
    asked = select(events.c.type, events.c.payload).where(events.c.stream == stream, events.c.type.in_(list(_NAMED_BY)))
    named = (orjson.loads(row.payload)[_NAMED_BY[row.type]] for row in connection.execute(asked))
    return [ident for ident in named if ident is not None]
