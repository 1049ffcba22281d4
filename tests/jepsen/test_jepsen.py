"""Does a real cluster keep its guarantees while everything goes wrong? The short form of `make jepsen`, on one broker."""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from infra.deploy.services.native_process import ServiceUnavailable
from tests.contracts.kafka import test_fencing
from tests.jepsen import test_late_end_txn
from tests.jepsen.armed import POINTS
from tests.jepsen.ends import NO_ROLE_ENDS_BY_ITSELF
from tests.jepsen.faults import KINDS, drawn
from tests.jepsen.planted import PLANTED, owner_replays_to_what_is_decided, owner_uses_its_producer_again
from tests.jepsen.run import SHOWN, Asked, Report, jepsen
from tests.support.services import missing

pytestmark = pytest.mark.services

SHORT, SHORT_PAUSE_S = "short-4394", (0.5, 2.0)
"""A seed whose first faults, one of every kind, last a minute together, some longer than a transaction and than a session."""

WANTED, LEAST_POINTS = frozenset({*KINDS, "after decide, before begin"}), 5
"""What must have met something in the short form, and at how many different crash points an owner must have fallen."""

FOUND_BY = {
    "owner_forgets_outcomes": {"decided_one_by_one"},
    "owner_does_not_replay": {"decided_one_by_one"},
    "owner_commits_no_offsets": {"every_command_is_decided_once"},
    "owner_ignores_the_group": {"every_command_is_decided_once"},
    "api_sends_a_command_again_as_another": {"nothing_nobody_asked_for"},
    "owner_forgets_nothing_when_fenced": {NO_ROLE_ENDS_BY_ITSELF},  # whoever takes over next finds versions that do not follow
}
"""What each planted bug must violate, whatever else it breaks."""

FOUND_ON_PURPOSE = {
    owner_uses_its_producer_again: test_late_end_txn.test_it_would_if_the_producer_were_used_again,
    owner_replays_to_what_is_decided: (
        test_fencing.test_an_heir_that_reads_to_what_is_decided_would_miss_what_is_committed_later
    ),
}
"""What needs moments that minutes of chance do not bring, and the test that brings them."""


def lived_through(asked: Asked) -> Report:
    try:
        report = jepsen(asked)
    except ServiceUnavailable as absent:
        missing("kafka", absent)
        raise
    print(*report.lines, sep="\n")
    return report


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_some_minutes_of_faults_on_one_broker_break_nothing(postgres_url: str, redis_url: str) -> None:
    services = (postgres_url, redis_url)
    asked = Asked(minutes=1.3, seed=SHORT, pause_s=SHORT_PAUSE_S, wanted=WANTED, services=services)
    report = lived_through(asked)
    assert report.broken[:SHOWN] == []
    met, lacking = {*report.met, *report.fallen}, report.lacking
    if missed := WANTED - met:  # a busy machine may let one pass; what broke nothing may go on
        again = lived_through(replace(asked, seed=f"{SHORT}-again", wanted=missed))
        assert again.broken[:SHOWN] == []
        met |= {*again.met, *again.fallen}
        lacking = [*(one for one in lacking if not one.startswith("nothing met")), *again.lacking]
    assert lacking == [] and met >= WANTED
    assert len(report.fallen) >= LEAST_POINTS, report.fallen


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("plant", list(FOUND_BY))
def test_a_planted_bug_is_found(plant: str, postgres_url: str, redis_url: str) -> None:
    report = lived_through(Asked(minutes=3, seed="planted", plant=plant, services=(postgres_url, redis_url)))
    assert FOUND_BY[plant] <= report.violated


def test_every_planted_bug_is_found_by_some_test() -> None:
    assert {*FOUND_BY, *(bug.__name__ for bug in FOUND_ON_PURPOSE)} == set(PLANTED)


def test_a_seed_draws_the_same_faults_again_and_every_kind_early() -> None:
    def some(seed: str) -> list[str]:
        return [str(fault) for fault in islice(drawn(Random(seed), 3), 50)]

    assert some("7") == some("7") != some("8")
    assert {fault.kind for fault in islice(drawn(Random("7"), 1), len(KINDS))} == set(KINDS)
    assert len(POINTS) >= 10
