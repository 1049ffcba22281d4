"""Is a setting that there is none of, as a misspelt one, told instead of passed over in silence?"""

import os
import subprocess
from pathlib import Path

import pytest

from infra.cli.manual import CLIENT_SETTINGS
from infra.wiring.settings import Settings, unknown_settings
from tests.roles.harness import PROGRAM


def test_what_is_misspelt_is_named_and_what_there_is_is_not() -> None:
    known = [*CLIENT_SETTINGS, *(f"OPSCONDUCTOR_{name.upper()}" for name in Settings.model_fields)]
    others = ["PATH", "_OPSCONDUCTOR_COMPLETE", "opsconductor_home", "OPSCONDUCTOR_SERVICES_DIR"]
    assert unknown_settings(dict.fromkeys([*known, *others], "x")) == []
    assert unknown_settings({"OPSCONDUCTOR_LISTNE": "x", "OPSCONDUCTOR_PORT": "9000", "OPSCONDUCTOR_HOME": "x"}) == [
        "OPSCONDUCTOR_LISTNE",
        "OPSCONDUCTOR_PORT",
    ]


def test_what_kubernetes_sets_for_a_service_of_our_name_is_nobody_s_mistake() -> None:
    names = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "LISTNE"]
    assert unknown_settings({f"OPSCONDUCTOR_{name}": "10.0.0.1" for name in names}) == ["OPSCONDUCTOR_LISTNE"]


@pytest.mark.parametrize("role", ["up", "api"])
def test_a_role_says_so_in_a_line_when_it_starts(role: str, tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OPSCONDUCTOR_")}
    wrong = {"OPSCONDUCTOR_LOG_LEVLE": "hidden", "OPSCONDUCTOR_LISTNE": "hidden"}
    unfit = {"up": "kafka://127.0.0.1:9", "api": ""}  # so that it ends as soon as it has read its settings
    environment = {**ours, **wrong, "OPSCONDUCTOR_HOME": str(tmp_path / "home"), "OPSCONDUCTOR_LOG_URL": unfit[role]}
    done = subprocess.run([PROGRAM, role], env=environment, capture_output=True, text=True, timeout=120, check=False)
    warning, _ = done.stderr.splitlines()
    assert warning == "warning: no such setting, it is ignored: OPSCONDUCTOR_LISTNE, OPSCONDUCTOR_LOG_LEVLE"
