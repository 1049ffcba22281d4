"""Can what a terminal shows be read, and what has to be typed again be copied from it, however wide it is?"""

from typing import Any

import pytest

from infra.cli import audit, runs
from infra.cli.render import Renderer

ID = "weekly-maintenance.0199c3f2-7a5b-7c1d-8e2f-3a4b5c6d7e8f"
CAUSE = "7f3c1b2a-9d8e-4f5a-b6c7-d8e9f0a1b2c3"
AT = "2026-11-24T10:00:00.123456Z"
COUNTS = {"total": 3, "pending": 0, "running": 0, "succeeded": 2, "failed": 1, "skipped": 0}
RUN = {"id": ID, "job": "weekly-maintenance", "revision": 7, "state": "failed", "requested_by": "administrator"} | {
    "requested_at": AT, "finished_at": AT, "targets": COUNTS
}  # fmt: skip
EVENT = {"time": AT, "stream": f"run/{ID}", "version": 12, "type": "StepAttemptStarted", "actor": {"name": "executor"}} | {
    "correlation_id": CAUSE, "position": "run/3/1234"
}  # fmt: skip


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> Renderer:
    monkeypatch.setenv("COLUMNS", str(width))
    renderer = Renderer("table")
    renderer.on_terminal = True
    return renderer


@pytest.mark.parametrize("width", [20, 80, 100, 120, 160, 250])
@pytest.mark.parametrize(
    ("item", "columns", "whole"), [(RUN, runs.COLUMNS, [ID]), (EVENT, audit.COLUMNS, [f"run/{ID}", CAUSE])], ids=["runs", "audit"]
)
def test_no_id_is_cropped_or_folded(
    width: int,
    item: dict[str, Any],
    columns: list[str],
    whole: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown(width, monkeypatch).many([item, item], columns)
    said = capsys.readouterr().out
    assert all(said.count(one) >= 2 for one in whole) and "…" not in said, said


def test_where_there_is_room_it_is_a_table_and_the_other_columns_give_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(135, monkeypatch).many([RUN, RUN], runs.COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    heads = next(line for line in lines if "revision" in line)
    assert heads.split()[:3] == ["id", "job", "revision"] and max(map(len, lines)) <= 135
    assert sum(ID in line for line in lines) == 2
    assert "2026-11-24" in lines[2] and "T10:00:00." in lines[3] and "123456Z" in lines[4], "folded, not cropped"


def test_where_there_is_none_each_row_is_a_record(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown(80, monkeypatch).many([RUN, RUN], runs.COLUMNS)
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[0] == f"id            {ID}" and second.rstrip() == first


def test_counts_of_nothing_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    renderer = shown(250, monkeypatch)
    renderer.many([RUN, RUN | {"targets": {"total": 0, "failed": 0}}], runs.COLUMNS)
    said = capsys.readouterr().out
    assert "total=3,succeeded=2,failed=1" in said and "total=0" in said and "=0," not in said
    renderer.on_terminal = False
    renderer.many([RUN], ["targets"])
    assert "skipped=0" in capsys.readouterr().out, "who reads lines counts on all of them"


def test_an_empty_list_has_its_headings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown(250, monkeypatch).many([], runs.COLUMNS)
    assert capsys.readouterr().out.split() == runs.COLUMNS


def test_one_thing_is_aligned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    renderer = shown(80, monkeypatch)
    renderer.one({"id": ID, "requested_by": "\x1b]0;title\x07ad\tmin", "error": None, "targets": COUNTS})
    assert capsys.readouterr().out.splitlines() == [
        f"id            {ID}",
        "requested_by  ad min",
        "error",
        "targets       total=3,succeeded=2,failed=1",
    ]
    renderer.on_terminal = False
    renderer.one({"id": ID, "error": None})
    assert capsys.readouterr().out == f"id\t{ID}\nerror\t\n"
