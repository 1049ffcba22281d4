"""Does `projections rebuild` end whatever becomes of the rebuild?"""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from infra.cli import projections
from infra.cli.context import CONTEXT
from infra.cli.main import app
from tests.cli.running import said_by

GIVEN_UP = "the rebuild was given up at targets/0/44: TargetRegistered of target/web-1: no good"


class Server:
    """Answers with one stand of the projections after the other, the last for ever; their lag grows all the time."""

    def __init__(self, *stands: dict[str, Any]) -> None:
        self._stands, self._lag, self.asked = list(stands), count(), list[str]()

    def get(self, path: str) -> Any:
        changed = self._stands.pop(0) if len(self._stands) > 1 else self._stands[0]
        rows = [row(name, **changed.get(name, {})) for name in ("jobs", "targets")]
        return {"items": [{**one, "lag_seconds": float(next(self._lag))} for one in rows]}

    def send(self, method: str, path: str) -> None:
        self.asked.append(path)


def row(name: str, **changed: Any) -> dict[str, Any]:
    same = {"name": name, "state": "live", "generation": 1, "error": None, "positions": {f"{name}/0": 7}}
    return {**same, "rebuild_requested": False, "rebuild_done": None, "rebuild_total": None, **changed}


ASKED = {"rebuild_requested": True}
UNDER_WAY = {"rebuild_requested": True, "rebuild_done": 3, "rebuild_total": 7}
REBUILT = {"generation": 2}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(projections, "STILL_S", 1.2)
    yield


def rebuild(monkeypatch: pytest.MonkeyPatch, word: str, *stands: dict[str, Any]) -> tuple[int, list[str]]:
    server = Server({}, *stands)
    monkeypatch.setattr(type(CONTEXT), "client", lambda _: server)
    done = said_by(app, "projections", "rebuild", word)
    return done.exit_code, done.stderr.splitlines()


def test_progress_is_shown_until_it_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    said = rebuild(monkeypatch, "targets", {"targets": ASKED}, {"targets": UNDER_WAY}, {"targets": REBUILT})
    assert said == (0, ["targets: 3/7 events", "targets: rebuilt, generation 2"])


def test_as_json_each_is_told_as_it_stands_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({}, {"targets": ASKED}, {"targets": REBUILT})
    monkeypatch.setattr(type(CONTEXT), "client", lambda _: server)
    done = said_by(app, "projections", "rebuild", "targets", "-o", "json")
    told = json.loads(done.stdout)
    assert (told["name"], told["generation"]) == ("targets", 2)


def test_one_that_is_given_up_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    said = rebuild(monkeypatch, "targets", {"targets": UNDER_WAY}, {"targets": {"error": GIVEN_UP}})
    assert said == (1, ["targets: 3/7 events", f"targets: {GIVEN_UP}"])


def test_the_error_of_an_earlier_one_is_no_end_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = {"error": GIVEN_UP}
    said = rebuild(monkeypatch, "targets", {"targets": ASKED | earlier}, {"targets": UNDER_WAY | earlier}, {"targets": REBUILT})
    assert said == (0, ["targets: 3/7 events", "targets: rebuilt, generation 2"])


def test_of_all_of_them_one_that_is_given_up_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = {"targets": {"error": GIVEN_UP}}
    said = rebuild(monkeypatch, "--all", {**given_up, "jobs": ASKED}, {**given_up, "jobs": REBUILT})
    assert said == (1, [f"targets: {GIVEN_UP}", "jobs: rebuilt, generation 2"])


def test_where_nothing_moves_it_is_said_that_nobody_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = rebuild(monkeypatch, "targets", {"targets": ASKED})
    assert status == 1 and "the role `projections` seems not to run" in said[0]
    assert said[1:] == ["not rebuilt yet, but still asked for: targets"]
