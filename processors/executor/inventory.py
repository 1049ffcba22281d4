"""What must the executor look up? The inventory read model, in one snapshot a plan; and the runs that wait for somebody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.credential import CredentialKind
from domain.job.definition import JobDefinition
from domain.run.messages import PlannedTarget
from domain.selector import Selector
from schemas.event_envelope import RecordedEvent


class InventoryUnavailable(Exception):
    """The read models could not be asked; the same call may be made again."""


@dataclass(frozen=True, slots=True)
class CredentialEntry:
    """A credential in service: its kind, the current revision and the id of its secret in the vault."""

    name: str
    kind: CredentialKind
    revision: int
    secret: str


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that is not final, as the read model knows it."""

    run: str
    version: int
    executor: str | None
    epoch: int


class Inventory(Protocol):
    """The read models as the executor and the sweeper see them. Every call raises `InventoryUnavailable` when it cannot ask."""

    async def targets(self, selector: Selector) -> Sequence[PlannedTarget]:
        """All targets in service that match, sorted by name, from one snapshot."""
        ...

    async def target(self, name: str) -> PlannedTarget | None:
        """One target in service, as it is now."""
        ...

    async def credential(self, name: str) -> CredentialEntry | None:
        """A credential that is not revoked."""
        ...

    async def job(self, name: str, revision: int) -> JobDefinition | None:
        """One revision of a job."""
        ...

    async def unfinished_runs(self) -> Sequence[UnfinishedRun]:
        """Every run that is not final, oldest first."""
        ...

    async def history(self, stream: str) -> Sequence[RecordedEvent]:
        """All events of one stream that have been projected, in order."""
        ...

    async def are_final(self, runs: Sequence[str]) -> bool:
        """Whether every one of these runs is final."""
        ...

    async def open_checks(self) -> Sequence[tuple[str, str]]:
        """(target, check id) of every target check that was requested and has no result."""
        ...
