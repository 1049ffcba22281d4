"""Do the folders keep to the log, does nobody else's package hide ours, and does a role load no more than it needs?"""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.house.files import PACKAGES, TOP


def test_every_import_rule_holds():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=TOP, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_no_other_distribution_brings_a_module_of_our_names():
    theirs = {}
    for distribution in distributions():
        if distribution.metadata["Name"] == "opsconductor":
            continue
        tops = {Path(file).parts[0].removesuffix(".py") for file in distribution.files or ()}
        if clash := tops & set(PACKAGES):
            theirs[distribution.metadata["Name"]] = clash
    assert theirs == {}


@pytest.mark.parametrize(
    ("role", "of_others"),
    [("commands", {"fastapi", "fabric", "faust"}), ("api", {"fabric", "faust"}), ("executor", {"fastapi", "faust"})],
)
def test_a_role_does_not_wait_for_what_only_others_need(role, of_others):
    code = f"import sys, infra.wiring.process, infra.wiring.role.{role}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert "sqlalchemy" in loaded
    assert of_others & set(loaded) == set()
