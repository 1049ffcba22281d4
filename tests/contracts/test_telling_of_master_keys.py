"""Does the audit trail hear of a master key though its owners did not know such events when it was told of?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

from commands import admission
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from infra.sql.engine import open_engine
from infra.vaults import rotation
from infra.wiring.vault_keeping import TELLS_EVERY_S, tell_of_master_keys
from schemas.command_types import TABLE
from tests.commands.owning import running, sound_events
from tests.contracts.test_master_key_rotation import NEW, OLD, Known, nothing, vault_of


async def test_what_owners_refused_in_the_midst_of_an_upgrade_is_told_again_an_hour_later_and_once(
    tmp_path: Path, monkeypatch
) -> None:
    log, engine, known = MemoryLog(1), open_engine(f"sqlite:///{tmp_path / 'vault.db'}"), Known(OLD)
    vault = vault_of(engine, known)
    await vault.seal("s", "x", b"secret")
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    sent: list[UUID] = []

    class Sender:
        async def send(self, envelope) -> None:
            sent.append(envelope.command_id)
            await log.sender.send(envelope)

    house = SimpleNamespace(
        reader=engine, clock=SimpleNamespace(now=lambda: now), log=SimpleNamespace(sender=Sender(), outcomes=log.outcomes)
    )
    told: dict[object, int] = {}

    async def told_of(process: dict[object, int]) -> list[str]:
        """What is in the log once the process has told of keys."""
        begun = len(sent)
        await tell_of_master_keys(house, process)  # type: ignore[arg-type]
        for command_id in sent[begun:]:
            assert await log.outcomes.wait(command_id, 10) is not None
        return [event.type for event in await sound_events(log)]

    async with running(log, MemoryStateStores()):
        assert await told_of(told) == ["MasterKeyChanged"]
        known.masters[2] = NEW
        known.ring.read_again()
        rotation.bring_into_force(engine, known.ring, 2)
        rotation.wrap_all(engine, known.ring, nothing)
        with monkeypatch.context() as before:
            before.setattr(admission, "TABLE", {name: kind for name, kind in TABLE.items() if name != "RecordSecretsWrapped"})
            assert await told_of(told) == ["MasterKeyChanged"] * 2
        assert await told_of(told) == await told_of({}) == ["MasterKeyChanged"] * 2, "not all the time"
        now += timedelta(seconds=TELLS_EVERY_S)
        whole = ["MasterKeyChanged", "MasterKeyChanged", "SecretsWrapped"]
        assert await told_of(told) == await told_of({}) == whole
        now += timedelta(seconds=TELLS_EVERY_S)
        assert await told_of(told) == whole and len(sent) > 6
    await vault.close()
    engine.dispose()
