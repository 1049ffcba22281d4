"""Is anybody there yet who could sign in? On a new installation the first administrator is made while the API answers already."""

import asyncio

from sqlalchemy import Connection, select

from api.read_models import ReadModels
from projections.tables import users

_ONE = select(users.c.name).limit(1)
_LOOK_EVERY_S = 0.1


class Anybody:
    """Lets who signs in wait for the first user. Nobody can tell names by that: it is waited only while there are none at all."""

    def __init__(self, models: ReadModels, within_s: float) -> None:
        self._models, self._within_s, self._seen = models, within_s, False

    async def awaited(self) -> None:
        """Return once the read model of users shows anybody, or after `within_s` seconds. Raises `Problem` (503)."""
        until = asyncio.get_running_loop().time() + self._within_s
        while not await self.is_there():
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def is_there(self) -> bool:
        """Whether the read model has ever shown anybody. Raises `Problem` (503)."""
        self._seen = self._seen or await self._models.ask(_is_anybody_there)
        return self._seen


def _is_anybody_there(connection: Connection) -> bool:
    return connection.execute(_ONE).first() is not None
