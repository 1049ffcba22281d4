"""Where can a secret be found in clear after it was used? Nowhere: not in files, logs, arguments or answers."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.roles.fleet import FleetServer
from tests.roles.harness import Installation
from tests.roles.rest import Rest
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

Finds = list[str]


def forms(canaries: Mapping[str, str]) -> dict[str, bytes]:
    """Every canary as it is, and as it would look in base64 (whole), hex and a URL."""
    found: dict[str, bytes] = {}
    for name, text in canaries.items():
        plain = text.encode()
        found |= {
            name: plain,
            f"{name} in base64": base64.b64encode(plain)[:-4],
            f"{name} in hex": plain.hex().encode(),
            f"{name} in a URL": quote(text, safe="").encode(),
        }
    return found


def use_secrets(rest: Rest, key: str) -> tuple[dict[str, str], str]:
    """Put secrets through everything that takes some, and print one on a target; the secrets, and the run."""
    canaries = {
        "password": "Canary-" + secrets.token_urlsafe(18),
        "parameter": "Canary+/" + secrets.token_urlsafe(18),
        "signing-in": rest.password,
        "private key": "".join(key.splitlines()[1:3])[20:110],
    }
    canaries["title"] = "Canary " + secrets.token_urlsafe(18)
    rest.write("POST", "/users", {"name": "with-title", "title": "x" + canaries["title"]})
    rest.write("PATCH", "/users/with-title", {"title": canaries["title"]})
    rest.write("POST", "/credentials", {"name": "with-canary", "kind": "password", "secret": {"username": "u", "password": "x"}})
    rotated = {"secret": {"username": "u", "password": canaries["password"]}}
    rest.write("PUT", "/credentials/with-canary/secret", rotated)
    steps = [
        {"name": "used", "kind": "command", "run": "echo {{ parameters.token }} | tee /dev/stderr; sleep 1; exit 3"},
        {"name": "script", "kind": "script", "shell": "sh", "body": "echo $OPS_PARAM_TOKEN; kill -9 $$"},
    ]
    steps[0]["on_failure"] = "continue"
    parameters = [{"name": "token", "type": "secret"}]
    rest.write("POST", "/jobs", {"name": "leaky", "targets": "set=fleet", "parameters": parameters, "steps": steps})
    run = rest.write("POST", "/jobs/leaky/runs", {"parameters": {"token": canaries["parameter"]}}).body["run_id"]
    too_long = rest.ask("POST", "/jobs/leaky/runs", {"parameters": {"token": canaries["parameter"] * 9000}})
    wrong = rest.ask("POST", "/jobs/leaky/runs", {"parameters": {"token": [canaries["parameter"]]}, canaries["password"]: 1})
    assert (too_long.status_code, wrong.status_code) == (422, 422), (too_long.text[:300], wrong.text[:300])
    assert canaries["parameter"] not in too_long.text + wrong.text
    return canaries, run


def arguments() -> bytes:
    """The arguments of every process on this machine."""
    found = b""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += process.read_bytes() + b"\n"
        except OSError:
            continue
    return found


def files(*folders: Path, leave_out: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in leave_out:
                yield str(file), file.read_bytes()


def clear(where: str, content: bytes, wanted: Mapping[str, bytes]) -> Finds:
    return [f"{name}: in clear in {where}" for name, form in wanted.items() if form in content]


def watched(rest: Rest, run: str) -> bytes:
    """All processes' arguments, again and again until the run is over."""
    seen = b""

    def over() -> bool:
        nonlocal seen
        seen += arguments()
        return rest.get(f"/runs/{run}")["state"] == "failed"

    eventually(over, within=120, every=0.1)
    return seen


def answers(rest: Rest, run: str) -> bytes:
    """Everything people can read that may speak of it."""
    paths = [f"/runs/{run}", f"/runs/{run}/output", f"/runs/{run}/steps?", f"/runs/{run}/history", "/credentials/with-canary"]
    said = "".join(str(rest.items(p) if p.endswith(("output", "?", "history")) else rest.get(p)) for p in paths)
    return (said + str(rest.items("/audit/events"))).encode()


def test_embedded_no_secret_is_in_clear_in_any_file_answer_or_argument(
    server: Installation, fleet_servers: list[FleetServer]
) -> None:
    rest = server.rest()
    canaries, run = use_secrets(rest, fleet_servers[0].private_key)
    wanted = forms(canaries)
    found = clear("a process's arguments", watched(rest, run), wanted)
    said = answers(rest, run)
    assert said.count(b"***") >= 40, "the masks are not where the secret was printed"
    found += clear("answers", said, wanted)
    # The password is kept in its file: that is what people sign in with. Elsewhere, the logs included, it is not.
    for name, content in files(server.home, server.logs, leave_out=frozenset({"admin-password"})):
        found += clear(name, content, wanted)
    assert found == []
