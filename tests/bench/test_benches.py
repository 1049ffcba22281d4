"""A bench that does not run any more tells nothing: what needs neither services nor minutes is run here, with little of it."""

import json

from bench import access, figures, sqlite_path
from bench.kafka_path import Amounts


def test_the_bench_of_the_command_path_measures_both_sides(tmp_path):
    lines, raw = sqlite_path.measure(tmp_path, Amounts(rounds=1, commands=600, alone=20, at_once=128))
    assert {"ours", "bare"} == raw.keys()
    assert all(line.ours > 0 and line.yardstick > 0 for line in lines)


def test_the_bench_of_permissions_measures_decisions_and_lists_for_each_kind_of_role(tmp_path):
    lines, raw = access.measure(tmp_path, access.Amounts(users=300, roles=100, decisions=20, lists=5, runs=200))
    kinds = {"built-in", "one custom", "20 custom"}
    assert raw["decisions"].keys() == kinds and raw["lists"].keys() == {"runs", "targets", "users", "roles"}
    assert all(listed.keys() == {*kinds, *(f"{kind}, few" for kind in kinds)} for listed in raw["lists"].values())
    assert all(len(times) == 20 for times in raw["decisions"].values())
    assert all(line.ours > 0 for line in lines)


def test_a_goal_is_met_or_missed_on_the_right_side():
    assert figures.at_least("", 5, 10, "", 0.5).met and not figures.at_least("", 4.9, 10, "", 0.5).met
    assert figures.at_most("", 20, 10, "", 2).met and not figures.at_most("", 21, 10, "", 2).met


def test_percentiles_are_values_that_were_measured():
    assert figures.percentile([3, 1, 2], 0.5) == 2
    assert figures.percentile([1, 2, 3], 0.99) == 3


def test_the_report_is_kept_as_json(tmp_path):
    figures.keep(tmp_path / "r.json", [figures.at_least("rate", 1, 2, "x/s", 0.5)], {"ours": [1]})
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["lines"][0]["ratio"] == 0.5 and told["measurements"] == {"ours": [1]}
