"""Which targets are there, in which shape, with which labels?"""

from collections.abc import Iterable
from typing import Any

from domain.identity import name_of
from domain.target import (
    SshConnection,
    TargetChecked,
    TargetCheckRequested,
    TargetConnectionChanged,
    TargetHostKeyForgotten,
    TargetHostKeyTrusted,
    TargetReachabilityChanged,
    TargetRegistered,
    TargetRelabelled,
    TargetRetired,
    TargetRetitled,
)
from projections.bulk import Key
from projections.fact import Fact
from projections.own_rows import OwnRows
from projections.plain import plain
from projections.projection import Projection, RowPerStream
from projections.tables import stored_time, target_labels, targets


def _own(fact: Fact) -> Iterable[Key]:
    return [(name_of(fact.envelope.stream),)]


def _fold(own: OwnRows, fact: Fact) -> None:
    name, time = name_of(fact.envelope.stream), stored_time(fact.envelope.time)
    event = fact.event
    row = _registered(event, time) if isinstance(event, TargetRegistered) else {**(own.get(name) or {}), **_changes(own, fact)}
    own.put({**row, "name": name, "updated_at": time, "version": fact.envelope.version, "offset": fact.position.offset})


def _registered(event: TargetRegistered, time: str) -> dict[str, Any]:
    return {
        "title": event.title,
        "host": event.host,
        "labels": dict(event.labels),
        **_connection(event.connection),
        "retired": False,
        "reachable": None,
        "last_check": None,
        "open_checks": [],
        "created_at": time,
    }


def _connection(connection: SshConnection) -> dict[str, Any]:
    return {"connection": plain(SshConnection, connection), "credential": connection.credential}


def _changes(own: OwnRows, fact: Fact) -> dict[str, Any]:
    row = own.get(name_of(fact.envelope.stream)) or {}
    match fact.event:
        case TargetRetitled(title):
            return {"title": title}
        case TargetRelabelled(labels):
            return {"labels": dict(labels)}
        case TargetConnectionChanged(host, connection):
            return {"host": host, **_connection(connection)}
        case TargetHostKeyTrusted(host_key):
            return {"connection": {**row["connection"], "host_key": host_key}}
        case TargetHostKeyForgotten():
            return {"connection": {**row["connection"], "host_key": None}}
        case TargetRetired():
            return {"retired": True}
        case TargetCheckRequested(check):
            return {"open_checks": [*row["open_checks"], check]}
        case TargetChecked() as checked:
            found = {**plain(TargetChecked, checked), "time": stored_time(fact.envelope.time)}
            return {"last_check": found, "open_checks": [c for c in row["open_checks"] if c != checked.check]}
        case TargetReachabilityChanged(reachable):
            return {"reachable": reachable}
    raise TypeError(f"{fact.envelope.type} is no event of a target")


def _labelled(own: OwnRows, fact: Fact) -> None:
    event = fact.event
    if isinstance(event, TargetRegistered | TargetRelabelled):
        name = name_of(fact.envelope.stream)
        own.clear(name)
        for key, value in event.labels.items():
            own.put({"target": name, "key": key, "value": value})


TARGETS = Projection(
    "targets",
    ("targets",),
    (RowPerStream(targets, _own, _fold), RowPerStream(target_labels, lambda fact: (), _labelled)),
    revision=1,
)
