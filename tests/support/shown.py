"""What does a version of the log look like to readers, by the domain's own fold? Nothing of the projections' code is asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from commands.deciders import TABLE
from domain.identity import CREDENTIAL, JOB, TARGET

Shown = Mapping[str, Any]

SHOWN: Mapping[str, Callable[[Any], Shown]] = {
    TARGET: lambda s: {"title": s.title, "host": s.host, "labels": dict(s.labels), "retired": s.retired},
    JOB: lambda s: {"title": s.definition.title, "revision": s.revision, "archived": s.archived},
    CREDENTIAL: lambda s: {"revision": s.revision, "revoked": s.revoked},
}
"""What a state says of what a read shows, by kind."""


def folded(kind: str, events: Sequence[Any]) -> Any:
    """The state after all of a stream's events."""
    decider = TABLE[kind].decider
    return decider.fold(decider.initial_state, events)
