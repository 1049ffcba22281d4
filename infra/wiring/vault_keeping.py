"""Who keeps the vault's house? A task in the sweeper's process: it goes on with a rotation of the master key that was begun, and
destroys what is over.

On SQLite the process that owns the folder is the only one that writes (HAZARDS D8): there the file's new key is brought into
force here, too. With several processes `opsconductor vault rotate-master-key` does that, once all of them know the key.
"""

import asyncio
import logging
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from domain.identity import KEYS
from domain.key import RecordMasterKey, RecordSecretsWrapped
from infra.vaults import rotation, sweeping
from infra.vaults.references import purposes
from infra.wiring.composition import House
from processors.processor import Cause, system_command
from projections.position import has_reached
from schemas.command_envelope import system_command_id
from schemas.log import LogError
from schemas.position import Partition
from schemas.topics import EVENT_TOPICS
from schemas.vault import VaultError

log = logging.getLogger(__name__)

ROLE = "vault"
"""Who tells of master keys in the log."""

LOOKS_EVERY_S, SWEEPS_EVERY_S, NOTES_EVERY_S, TELLS_EVERY_S = 2.0, 30.0, 3600.0, 3600
RECENTLY = timedelta(minutes=10)
"""For how long after a secret came to its end it is swept for again and again; after that with every look for unnamed ones."""


async def keep_vault(house: House) -> None:
    """Look after the vault again and again, for ever."""
    if house.ring is None:
        await _keep_external(house)
    monotonic = house.clock.monotonic
    sweeps_at, notes_at, begun = monotonic(), monotonic() + SWEEPS_EVERY_S, True
    told: dict[object, int] = {}
    while True:
        try:
            await asyncio.to_thread(go_on_with_rotation, house)
            if monotonic() >= sweeps_at and (begun or await asyncio.to_thread(_something_ended, house)):
                await sweep(house)
                sweeps_at, begun = monotonic() + SWEEPS_EVERY_S, False
            if monotonic() >= notes_at and await _index_is_complete(house):
                await asyncio.to_thread(sweeping.sweep_unnamed, house.writer, house.clock.now())
                notes_at, begun = monotonic() + NOTES_EVERY_S, True
            await tell_of_master_keys(house, told)  # last: what is to be destroyed does not wait for the log
        except (SQLAlchemyError, VaultError, LogError) as error:
            # The database's own message may quote a statement's values.
            log.warning("the vault could not be looked after", extra={"error": type(error).__name__})
        await asyncio.sleep(LOOKS_EVERY_S)


def _something_ended(house: House) -> bool:
    """Whether a secret may have come to its end since the last sweeps: what they read grows with the history. Blocks."""
    with house.reader.begin() as connection:
        return sweeping.ended_since(connection, house.clock.now() - RECENTLY)


async def sweep(house: House) -> None:
    """Destroy what the log says is over. Raises `VaultError`, `SQLAlchemyError`."""

    def found() -> tuple[list[str], list[str]]:
        with house.reader.begin() as connection:
            return sweeping.over(connection, house.clock.now())

    shredded, ended = await asyncio.to_thread(found)
    if ended:
        await asyncio.to_thread(sweeping.destroy, house.writer, ended)
    if shredded:
        await house.vault.shred(shredded)


async def _keep_external(house: House) -> None:
    """The same for an external vault, for ever. It cannot be asked what it holds: what is destroyed already is remembered."""
    gone: set[str] = set()

    def found() -> list[str]:
        with house.reader.begin() as connection:
            shredded, ended = sweeping.over_in_log(connection, house.clock.now())
        return [*shredded, *ended]

    while True:
        try:
            for ident in await asyncio.to_thread(found):
                if ident not in gone:
                    await house.vault.destroy(ident)
                    gone.add(ident)
        except (SQLAlchemyError, VaultError) as error:
            log.warning("the vault could not be looked after", extra={"error": type(error).__name__})
        await asyncio.sleep(SWEEPS_EVERY_S)


async def _index_is_complete(house: House) -> bool:
    """Whether the events' index has seen everything that the log holds by now."""
    reader = house.log.reader
    ends = await reader.ends([Partition(topic, shard) for topic in EVENT_TOPICS for shard in range(reader.shards)])

    def reached() -> bool:
        with house.reader.begin() as connection:
            return has_reached(connection, "events", ends)

    return await asyncio.to_thread(reached)


def go_on_with_rotation(house: House) -> None:
    """Bring a new key into force where that is ours to do, and wrap what is under an older one anew. Blocks."""
    ring = house.ring
    if ring is None:
        return
    if house.writer.dialect.name == "sqlite":
        newest = ring.read_again().newest
        with house.reader.begin() as connection:
            known = rotation.rows_of(connection)
        if newest > (known.in_force or 0):
            rotation.bring_into_force(house.writer, ring, newest)
    with house.reader.begin() as connection:
        left = rotation.rows_of(connection).left
    if left:
        rotation.wrap_all(house.writer, ring, partial(purposes, house.reader))


async def tell_of_master_keys(house: House, told: dict[object, int]) -> None:
    """Have the audit trail say which master key is in force, and when no older one is needed any more; not what was `told` in
    this hour.

    It is said every hour, and becomes an event once: an owner of before, in the midst of an upgrade, refuses what it does not
    know. That it was an operator's doing is all that is known: keys come by a file or a setting. Under ids of their own, one an
    hour, these commands may be sent by every process, again and again. Raises `LogError`, `SQLAlchemyError`.
    """

    def now() -> list[RecordMasterKey | RecordSecretsWrapped]:
        with house.reader.begin() as connection:
            rows = rotation.rows_of(connection)
        if rows.in_force is None:
            return []
        wrapped = [] if rows.left else [RecordSecretsWrapped(rows.in_force)]
        return [RecordMasterKey(rows.in_force), *wrapped]

    for command in await asyncio.to_thread(now):
        time = house.clock.now()
        hour = int(time.timestamp() // TELLS_EVERY_S)
        if told.get(command) != hour:
            command_id = system_command_id(ROLE, f"master key {command.version} in hour {hour}", type(command).__name__)
            nothing_known = Cause(str(command_id), None, None)
            await house.log.sender.send(system_command(ROLE, KEYS, command, command_id, nothing_known, time))
            told[command] = hour
