"""Does the server work with an external vault, and has nothing sealed of its own then?"""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect

from infra.deploy.services.native_process import tied_to_us
from infra.sql.engine import open_reader
from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import embedded
from tests.support.eventually import eventually
from tests.support.kv_server import ROLE_ID, SECRET_ID

pytestmark = pytest.mark.services

SERVER = Path(__file__).parents[1] / "support" / "kv_server.py"


def test_runs_use_secrets_that_an_external_vault_keeps(tmp_path: Path, fleet_servers: list[FleetServer]) -> None:
    vault = subprocess.Popen(tied_to_us([sys.executable, str(SERVER)]), stdout=subprocess.PIPE)
    assert vault.stdout is not None
    settings = {
        "OPSCONDUCTOR_VAULT_URL": f"http://127.0.0.1:{int(vault.stdout.readline())}",
        "OPSCONDUCTOR_VAULT_ROLE_ID": ROLE_ID,
        "OPSCONDUCTOR_VAULT_SECRET_ID": SECRET_ID,
    }
    try:
        with embedded(tmp_path, **settings) as installation:
            rest = installation.rest()
            Fleet(fleet_servers, tmp_path / "traces").register(rest)
            parameters = [{"name": "token", "type": "secret"}]
            steps = [{"name": "only", "kind": "command", "run": "echo {{ parameters.token }}"}]
            rest.write("POST", "/jobs", {"name": "uses", "targets": "set=fleet", "parameters": parameters, "steps": steps})
            run = rest.write("POST", "/jobs/uses/runs", {"parameters": {"token": "a secret of the run"}}).body["run_id"]
            eventually(lambda: rest.get(f"/runs/{run}")["state"] == "succeeded", within=120, every=0.2)
            rest.write("DELETE", "/credentials/key-a/secret")
            rest.close()
            assert not (installation.home / "master-key").exists()
            reader = open_reader(installation.database_url)
            assert "vault_secrets" not in inspect(reader).get_table_names()
            reader.dispose()
            refused = installation.command("backup", str(tmp_path / "x.tar"))
            assert refused.returncode == 2 and "external vault" in refused.stderr
    finally:
        vault.kill()
        vault.wait()
