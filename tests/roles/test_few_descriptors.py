"""What does the embedded server do when it may open no more files and connections, and does it go on once it may?"""

import os
import resource
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.roles.fleet import caught_up, nothing_lost, versions_are_gapless
from tests.roles.harness import Installation, embedded
from tests.roles.rest import Acknowledged, Rest
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

CLIENTS, ASKED = 10, 4
"""More clients at once than the server had, so that connections to its own files are wanted, too."""

TOLD = {"log_unavailable", "result_unknown", "vault_unavailable", "read_models_unavailable", "projection_lag", "overloaded"}


def limit(installation: Installation, more: int | None) -> None:
    """As many open files as there are now, and so many more; None: as many as it likes."""
    pid = installation.processes["up"].pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard if more is None else len(os.listdir(f"/proc/{pid}/fd")) + more
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_descriptor_left_nothing_acknowledged_is_lost_and_it_goes_on_with_some(tmp_path: Path) -> None:
    with embedded(tmp_path, OPSCONDUCTOR_OUTCOME_WAIT_S="0.5") as installation:
        clients = [installation.rest() for _ in range(CLIENTS)]
        for rest in clients:
            rest.sign_in()
        clients[0].write("POST", "/credentials", credential("before"))
        limit(installation, 0)
        with httpx2.Client(timeout=1, trust_env=False) as client, pytest.raises(httpx2.TransportError):
            client.get(f"{installation.url}/health/ready")
        with ThreadPoolExecutor(CLIENTS) as at_once:
            told = Counter(status for of_one in at_once.map(asked, clients, range(CLIENTS)) for status in of_one)
        print(dict(told))
        assert set(told) <= {200, 201, 202, 404, 503}
        refusals = eventually(lambda: installation.log("up").read_text().count("out of system resource"))
        assert refusals < 100, "a line a second, not thousands"
        limit(installation, None)
        eventually(installation.is_ready, within=120)
        clients[0].write("POST", "/credentials", credential("after"))
        eventually(lambda: caught_up(clients[0]), within=120)
        rows = installation.rows()
        nothing_lost(rows, [done for rest in clients for done in rest.acknowledged])
        versions_are_gapless(rows)


def asked(rest: Rest, number: int) -> list[int]:
    """What is told to somebody whose connection is open already."""
    told = []
    for turn in range(ASKED):
        wanted = [
            ("GET", "/credentials", None),
            ("GET", "/targets/none", None),
            ("POST", "/credentials", credential(f"m-{number}-{turn}")),
        ]
        for method, path, body in wanted:
            answer = rest.ask(method, path, body)
            assert answer.status_code != 503 or answer.json()["code"] in TOLD, answer.text
            told.append(answer.status_code)
            if answer.status_code == 201:
                said = answer.json()
                rest.acknowledged.append(Acknowledged(said["stream"], said["version"], said["command_id"], said))
    return told


def credential(name: str) -> dict[str, object]:
    return {"name": name, "kind": "password", "secret": {"username": "u", "password": "p"}}
