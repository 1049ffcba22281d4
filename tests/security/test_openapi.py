"""Does the API answer as its document says, whoever asks and whatever they send? Made-up requests, as each role."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.api.conftest import credential
from tests.roles.harness import embedded
from tests.roles.rest import Rest
from tests.security.asking import LOOPBACK, NEVER_END, Asking, Person
from tests.support.eventually import eventually

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROLES = ("viewer", "operator", "author", "approver", "auditor", "administrator")
PASSWORD = "no-example-of-the-document"
SEED = 20261125
FEW, MANY = 1, 25
"""Made-up requests an operation: with all tests, and in the long form."""


@dataclass
class Asked:
    """A server with something of each kind in it."""

    url: str
    document: dict[str, Any]
    names: dict[str, list[str]]

    def sign_in(self, name: str) -> str:
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        answer = httpx2.post(f"{self.url}/api/v1/auth/token", data=form, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with embedded(tmp_path_factory.mktemp("asked"), OPSCONDUCTOR_TRUSTED_PROXIES=LOOPBACK) as installation:
        rest = installation.rest()
        names = furnished(rest)
        document = json.loads(httpx2.get(f"{installation.url}/openapi.json", timeout=60, trust_env=False).text)
        yield Asked(installation.url, document, names)
        rest.close()
        assert b"Traceback" not in installation.log("up").read_bytes(), installation.log_end("up")


def furnished(rest: Rest) -> dict[str, list[str]]:
    """One of each kind; what they are called."""
    for role in ROLES:
        rest.write("POST", "/users", {"name": f"the-{role}", "password": PASSWORD, "roles": [role]})
    rest.write("POST", "/users", {"name": "nobody-special", "password": PASSWORD, "roles": []})
    rest.write("POST", "/credentials", credential("deploy-key"))
    connection = {"kind": "ssh", "port": 1, "credential": "deploy-key"}
    targets = [
        rest.write("POST", "/targets", {"name": name, "host": LOOPBACK, "labels": {"env": "prod"}, "connection": connection})
        for name in ("web-01", "web-02")
    ]
    steps = [{"name": "only", "kind": "command", "run": "true"}]
    rest.write("POST", "/jobs", {"name": "greet", "title": "Greet", "targets": "env=prod", "steps": steps})
    run = rest.write("POST", "/jobs/greet/runs", {}).body["run_id"]
    eventually(lambda: rest.get(f"/runs/{run}")["finished_at"] is not None, within=120)
    return {
        "targets": ["web-01", "web-02"],
        "credentials": ["deploy-key"],
        "jobs": ["greet"],
        "runs": [run],
        "users": ["nobody-special"],
        "projections": ["targets"],
        "revision": ["1"],
        "command": [done.command_id for done in targets],
        "event": [rest.items("/audit/events?stream=target/web-01")[0]["id"]],
    }


def people(asked: Asked) -> list[Person]:
    """Nobody first, and who may do most last: what they do away with was asked for by everybody."""
    return [Person("nobody", None), *(Person(role, partial(asked.sign_in, f"the-{role}")) for role in ROLES)]


@pytest.mark.timeout(600)
def test_every_answer_is_one_that_the_document_tells_of(asked: Asked) -> None:
    answers_as_said(asked, FEW)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_the_same_with_many_requests(asked: Asked) -> None:
    answers_as_said(asked, MANY)


def answers_as_said(asked: Asked, examples: int) -> None:
    asking = Asking(asked.url, asked.document, asked.names, people(asked))
    asking.ask_everything(examples, SEED)
    for person in asking.people:
        print(f"{person.name}: {dict(sorted(person.statuses.items()))}")
    assert asking.failures == []
    operations = [path for path in asked.document["paths"].values() for _ in path]
    assert len(asking.asked) == len(operations) - len(NEVER_END), "each was asked for"
    nobody, *middle, administrator = asking.people
    assert nobody.statuses[401] > nobody.statuses[200] > 0 == nobody.statuses[403] + nobody.statuses[201]
    assert all(person.statuses[403] and person.statuses[200] for person in middle)
    assert administrator.statuses[200] > max(person.statuses[200] for person in middle)


def test_an_answer_that_the_document_does_not_tell_of_would_be_seen(asked: Asked) -> None:
    changed = copy.deepcopy(asked.document)
    del changed["paths"]["/api/v1/me"]["get"]["responses"]["401"]
    changed["components"]["schemas"]["Me"]["required"].append("colour")
    asking = Asking(asked.url, changed, asked.names, people(asked)[:2])
    asking.ask_everything(1, SEED, only="GET /api/v1/me")
    assert any(failure.startswith("nobody: GET /api/v1/me: 401 Undocumented") for failure in asking.failures), asking.failures
    assert any('"colour" is a required property' in failure for failure in asking.failures), asking.failures
