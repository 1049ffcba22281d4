"""Who keeps the vault's house? A task in the sweeper's process: it goes on with a rotation of the master key that was begun.

On SQLite the process that owns the folder is the only one that writes (HAZARDS D8): there the file's new key is brought into
force here, too. With several processes `opsconductor vault rotate-master-key` does that, once all of them know the key.
"""

import asyncio
import logging
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from infra.vaults import rotation
from infra.vaults.references import purposes
from infra.vaults.sealed import MasterKeyAbsent
from infra.wiring.composition import House

log = logging.getLogger(__name__)

LOOKS_EVERY_S = 2.0


async def keep_vault(house: House) -> None:
    """Look after the vault again and again, for ever."""
    while True:
        try:
            await asyncio.to_thread(go_on_with_rotation, house)
        except (SQLAlchemyError, MasterKeyAbsent) as error:
            # The database's own message may quote a statement's values.
            log.warning("the vault could not be looked after", extra={"error": type(error).__name__})
        await asyncio.sleep(LOOKS_EVERY_S)


def go_on_with_rotation(house: House) -> None:
    """Bring a new key into force where that is ours to do, and wrap what is under an older one anew. Blocks."""
    if house.writer.dialect.name == "sqlite":
        newest = house.ring.read_again().newest
        with house.reader.begin() as connection:
            known = rotation.rows_of(connection)
        if newest > (known.in_force or 0):
            rotation.bring_into_force(house.writer, house.ring, newest)
    with house.reader.begin() as connection:
        left = rotation.rows_of(connection).left
    if left:
        rotation.wrap_all(house.writer, house.ring, partial(purposes, house.reader))
