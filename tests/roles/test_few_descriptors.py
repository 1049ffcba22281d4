"""What does the embedded server do when it may open no more files and connections, and does it go on once it may?"""

import os
import resource
from pathlib import Path

import httpx2
import pytest

from tests.roles.fleet import nothing_lost, versions_are_gapless
from tests.roles.harness import Installation, embedded
from tests.roles.rest import Rest
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

ASKED = 6
TOLD = {"log_unavailable", "result_unknown", "vault_unavailable", "read_models_unavailable", "projection_lag", "overloaded"}


def limit(installation: Installation, more: int | None) -> None:
    """As many open files as there are now, and so many more; None: as many as it likes."""
    pid = installation.processes["up"].pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard if more is None else len(os.listdir(f"/proc/{pid}/fd")) + more
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_descriptor_left_nothing_acknowledged_is_lost_and_it_goes_on_with_some(tmp_path: Path) -> None:
    with embedded(tmp_path, OPSCONDUCTOR_OUTCOME_WAIT_S="0.5") as installation:
        before, after = installation.rest(), installation.rest()
        before.write("POST", "/credentials", credential("before"))
        limit(installation, 0)
        with httpx2.Client(timeout=1, trust_env=False) as client, pytest.raises(httpx2.TransportError):
            client.get(f"{installation.url}/health/ready")
        told = [asked(before, f"meanwhile-{n}") for n in range(ASKED)]
        print(told)
        refusals = installation.log("up").read_text().count("out of system resource")
        assert 1 <= refusals < 100, "a line a second, not thousands"
        limit(installation, None)
        eventually(installation.is_ready, within=60)
        after.write("POST", "/credentials", credential("after"))
        rows = installation.rows()
        nothing_lost(rows, [*before.acknowledged, *after.acknowledged])
        versions_are_gapless(rows)


def asked(rest: Rest, name: str) -> str:
    """What is told to somebody whose connection is open already."""
    answer = rest.ask("POST", "/credentials", credential(name))
    if answer.status_code == 503:
        assert answer.json()["code"] in TOLD, answer.text
    else:
        assert answer.status_code in (201, 202), answer.text
    return str(answer.status_code)


def credential(name: str) -> dict[str, object]:
    return {"name": name, "kind": "password", "secret": {"username": "u", "password": "p"}}
