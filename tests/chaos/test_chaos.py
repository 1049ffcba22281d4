"""Do real runs over SSH keep their guarantees while everything is killed and frozen? The short form of `make chaos`."""

from itertools import islice
from random import Random

import pytest

from infra.deploy.services.native_process import ServiceUnavailable
from tests.chaos.faults import SIDES, drawn
from tests.chaos.run import Asked, chaos
from tests.chaos.world import ROLES, SERVICES
from tests.jepsen.run import SHOWN
from tests.support.services import missing

pytestmark = pytest.mark.services

EVERYBODY = {name.rstrip("-0123456789") for name in (*ROLES, *SERVICES)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_runs_end_as_their_targets_saw_them_while_all_roles_and_services_are_killed_and_frozen() -> None:
    try:
        report = chaos(Asked(runs=20, minutes=1.1, seed="short"))
    except ServiceUnavailable as absent:
        missing("services to kill", absent)
        raise
    print(*report.lines, sep="\n")
    assert report.broken[:SHOWN] == []
    assert report.lacking == []
    assert {kind.partition(" ")[2] for kind in report.met} == EVERYBODY


def test_a_seed_draws_the_same_faults_again_and_hits_everybody_first() -> None:
    def some(seed: str) -> list[str]:
        return [str(fault) for side in SIDES for fault in islice(drawn(Random(seed), side), 30)]

    assert some("7") == some("7") != some("8")
    first = [fault for side, number in zip(SIDES, (5, 3), strict=True) for fault in islice(drawn(Random("7"), side), number)]
    assert {fault.kind.partition(" ")[2] for fault in first} == EVERYBODY
    assert {fault.victim for side in SIDES for fault in islice(drawn(Random("7"), side), 300)} == {*ROLES, *SERVICES}
