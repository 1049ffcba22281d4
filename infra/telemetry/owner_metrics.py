"""What do the owner's counters look like to Prometheus?"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from commands.owner import Owner

PLAIN = (
    "accepted",
    "duplicates",
    "events",
    "transactions",
    "aborted",
    "unavailable",
    "ownership_lost",
    "store_failures",
    "recoveries",
    "replayed_events",
)


class OwnerMetrics(Collector):
    """Reads an owner's counters whenever they are asked for; empty until there is an owner."""

    def __init__(self, owner: Callable[[], Owner | None]) -> None:
        self._owner = owner

    def collect(self) -> Iterator[Metric]:
        """The counters as they are now."""
        owner = self._owner()
        if owner is None:
            return
        for name in PLAIN:
            yield CounterMetricFamily(
                f"opsconductor_owner_{name}", f"Of this owner: {name.replace('_', ' ')}", value=getattr(owner.counters, name)
            )
        rejected = CounterMetricFamily("opsconductor_owner_rejected", "Commands rejected, by code", labels=["code"])
        for code, count in owner.counters.rejected.items():
            rejected.add_metric([code], count)
        yield rejected
        yield GaugeMetricFamily("opsconductor_owner_shards", "Shards it decides for", value=len(owner.tenures))
        unserved = GaugeMetricFamily(
            "opsconductor_owner_unserved", "Shards it owns and cannot serve", labels=["shard", "reason", "stopped_at"]
        )
        for one in owner.unserved:
            unserved.add_metric([str(one.shard), one.reason, str(one.stopped_at or "")], 1)
        yield unserved
        yield GaugeMetricFamily("opsconductor_owner_entries", "Streams and outcomes it keeps in memory", value=owner.entries)
