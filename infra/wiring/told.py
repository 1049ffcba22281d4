"""What have the roles of this process told of themselves? The probe and the metrics read it."""

import threading
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Gauge

from commands.owner import Owner
from infra.telemetry.owner_metrics import OwnerMetrics
from schemas.unserved import UnservedShard

Trouble = Callable[[], str | None]
"""Why a role does not get on now, or None."""


class Told:
    """Gathers from all roles of the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._owner: Owner | None = None
        self._troubles: list[Trouble] = []
        self.registry.register(OwnerMetrics(lambda: self._owner))
        self.measures("opsconductor_threads", "Threads of this process", threading.active_count)

    def owns(self, owner: Owner) -> None:
        """This process decides commands."""
        self._owner = owner
        self.gets_on_but_for(lambda: _none_served(owner))

    def gets_on_but_for(self, trouble: Trouble) -> None:
        """A role of this process says when it does not get on."""
        self._troubles.append(trouble)

    def measures(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A role of this process has a figure to tell; it is asked for whenever somebody looks."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def unserved(self) -> Sequence[UnservedShard]:
        """The shards that this process owns and cannot serve."""
        return self._owner.unserved if self._owner is not None else ()

    def unready(self) -> str | None:
        """Why the process is not ready, or None."""
        return next((said for trouble in self._troubles if (said := trouble()) is not None), None)


def _none_served(owner: Owner) -> str | None:
    if owner.tenures:
        return None
    return "none of the shards that are owned is served" if owner.unserved else "no shard is owned (yet)"
