"""Do the folders keep to the log, and does nobody else's package hide ours?"""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

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
