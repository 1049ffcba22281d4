"""Is a run followed to its end from one command although the server is ended in its midst, in order or by force?"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import PROGRAM, embedded

pytestmark = pytest.mark.services


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by_force", [False, True])
def test_a_run_is_followed_over_the_end_of_the_server(by_force: bool, tmp_path: Path, fleet_servers: list[FleetServer]) -> None:
    tmp_path.chmod(0o755)
    with embedded(tmp_path) as installation:
        rest = installation.rest()
        Fleet(fleet_servers, tmp_path / "traces").register(rest)
        installation.log_in()
        steps = [
            {
                "name": name,
                "kind": "command",
                "run": f"echo {name}; sleep 3; echo {name} done",
                "timeout_s": 60,
                "idempotent": True,
            }
            for name in ("one", "two")
        ]
        rest.write("POST", "/jobs", {"name": "slow", "targets": "group=1", "steps": steps})
        following = [PROGRAM, "run", "start", "slow", "--follow", "-o", "json"]
        with subprocess.Popen(
            following, env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout and process.stderr
                first = process.stdout.readline()
                installation.kill9("up") if by_force else installation.stop("up", within_s=60)
                installation.start("up")
                shown = [json.loads(line) for line in [first, *process.stdout]]
                status, said = process.wait(120), process.stderr.read()
            finally:
                process.kill()
        *pieces, final = shown
        read = installation.command("run", "output", final["id"], "-o", "json").stdout
        assert sorted(map(json.dumps, pieces)) == sorted(json.dumps(json.loads(line)) for line in read.splitlines())
        assert (status, final["state"]) == (0, "succeeded"), (final, said)
        assert said.count("the connection is lost") == 1, said
        assert "".join(piece["text"] for piece in pieces).endswith("two done\n")
