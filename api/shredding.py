"""How is a shredded credential's secret destroyed, whichever revisions it had? After the log has it, before the caller is told.

When this is not reached (a crash, a vault that does not answer), the vault's keeper does it: it reads in the log what is over.
"""

import orjson
from sqlalchemy import Connection, select
from starlette.responses import Response

from api.submit import Write
from projections.tables import events


async def destroyed(write: Write, answer: Response) -> Response:
    """`answer`, once the vault holds nothing of the credential any more. Raises `Problem`, `VaultError`."""
    if answer.status_code == 200:
        call, version = write.call, int(answer.headers["etag"].strip('"'))
        await call.services.freshness.versions([(write.stream, version)], ("events",))
        await call.given.vault.shred(await call.models.ask(lambda connection: _secrets_of(connection, write.stream)))
    return answer


def _secrets_of(connection: Connection, stream: str) -> list[str]:
    named = ("CredentialCreated", "CredentialRotated")
    payloads = connection.execute(select(events.c.payload).where(events.c.stream == stream, events.c.type.in_(named))).scalars()
    return [orjson.loads(payload)["secret"] for payload in payloads]
