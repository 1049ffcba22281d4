"""Do the guarantees hold whatever goes wrong, by seed? And is a bug found that is put into the code?

`make simulate SEEDS=…` goes through more of them; a seed that fails there fails here: `simulate(seed)`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulate import main
from tests.simulation.planted import PLANTED, executor_acts_before_its_intent_is_accepted
from tests.support.simulated_process import Stuck
from tests.support.simulation import simulate

SEEDS, AT_A_TIME = 100, 10
PLANTED_WITHIN = 100
TOP = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + AT_A_TIME):
        run = simulate(seed)
        assert not run.violations, f"seed {seed}: {run.violations[:5]}"


def test_one_seed_is_one_history_byte_for_byte() -> None:
    """In another process as well, where strings hash otherwise."""
    here, again = simulate(7), simulate(7)
    assert (here.digest, here.faults) == (again.digest, again.faults)
    assert simulate(8).digest != here.digest
    code = "from tests.support.simulation import simulate; print(simulate(7).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=TOP, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert there.stdout.strip() == here.digest


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(PLANTED_WITHIN):
        try:
            found = {violation.invariant for violation in simulate(seed).violations}
        except Stuck:
            continue
        if found & PLANTED[plant]:
            return
    pytest.fail(f"not found in {PLANTED_WITHIN} seeds")


def test_the_command_says_what_it_went_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["2", "--from", "5"]) == 0
    said = capsys.readouterr().out
    assert "seeds 5 to 6" in said and "0 violations" in said and "faults: " in said


def test_the_command_names_the_seed_that_failed_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executor_acts_before_its_intent_is_accepted(monkeypatch)
    assert main(["5"]) == 1
    said = capsys.readouterr().out
    assert ": targets_saw_only_intents: " in said and "VIOLATED by seeds [" in said
