"""Can an operator change the master key of a server that is at work, whoever is killed meanwhile, and take the old one away?"""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.deploy.services.native_process import tied_to_us
from infra.sql.engine import open_reader
from infra.vaults import master_key, rotation
from infra.vaults.key_ring import KeyRing
from infra.wiring.backup import NotCopied
from infra.wiring.restore import restore
from infra.wiring.settings import Settings
from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import PROGRAM, Installation, embedded
from tests.roles.rest import Rest
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def secret(text: str) -> dict[str, dict[str, str]]:
    return {"secret": {"username": "u", "password": text}}


@contextmanager
def at_work(installation: Installation) -> Iterator[list[str]]:
    """Somebody makes and changes credentials all the time; their names."""
    over, made = threading.Event(), []
    failed: list[BaseException] = []

    def work() -> None:
        rest = installation.rest()
        try:
            while not over.is_set():
                name = f"live-{len(made)}"
                rest.write("POST", "/credentials", {"name": name, "kind": "password", **secret(name)})
                rest.write("PUT", f"/credentials/{name}/secret", secret(f"{name} anew"))
                made.append(name)
        except BaseException as error:  # told below
            failed.append(error)
        finally:
            rest.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()
        assert not failed, failed


def keys_in(installation: Installation) -> set[int]:
    return set(master_key.read(installation.home / master_key.FILE))


def under(installation: Installation) -> rotation.Rows:
    reader = open_reader(installation.database_url)
    try:
        with reader.begin() as connection:
            return rotation.rows_of(connection)
    finally:
        reader.dispose()


def not_opening(installation: Installation) -> dict[str, int]:
    reader = open_reader(installation.database_url)
    try:
        ring = KeyRing(lambda: master_key.read(installation.home / master_key.FILE))
        return rotation.check(reader, ring, dict)
    finally:
        reader.dispose()


def killed_rotation(installation: Installation) -> None:
    """A rotation that is killed as soon as it has made the key."""
    command = tied_to_us([PROGRAM, "vault", "rotate-master-key"])
    running = subprocess.Popen(command, env=installation.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    eventually(lambda: 2 in keys_in(installation), within=120, every=0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()


def run_is_fine(rest: Rest, fleet: Fleet) -> None:
    steps = [{"name": "only", "kind": "command", "run": "echo {{ parameters.token }}"}]
    parameters = [{"name": "token", "type": "secret"}]
    rest.write("POST", "/jobs", {"name": "uses", "targets": "set=fleet", "parameters": parameters, "steps": steps})
    run = rest.write("POST", "/jobs/uses/runs", {"parameters": {"token": "a secret of the run"}}).body["run_id"]
    eventually(lambda: rest.get(f"/runs/{run}")["state"] == "succeeded", within=120, every=0.2)


def keys_told(rest: Rest) -> list[tuple[str, int]]:
    """What the audit trail says of master keys."""
    events = sorted(rest.get("/audit/events?stream=key/installation")["items"], key=lambda event: event["version"])
    return [(event["type"], event["payload"]["version"]) for event in events]


def test_the_master_key_of_a_server_at_work_is_changed_though_it_and_the_command_are_killed(
    tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    with embedded(tmp_path) as installation:
        rest = installation.rest()
        fleet = Fleet(fleet_servers, tmp_path / "traces")
        fleet.register(rest)
        body = {"name": "before", "kind": "password", **secret("before the rotation")}
        first = rest.ask("POST", "/credentials", body, Idempotency_Key="one")
        refused = installation.command("vault", "rotate-master-key", "--retire", "-o", "json")
        assert refused.returncode == 0 and keys_in(installation) == {1}, "the only key is not taken away"
        with at_work(installation) as made:
            eventually(lambda: len(made) > 3, within=120)
            killed_rotation(installation)
            installation.kill9("up")
            installation.start("up")
            installation.await_ready()
            done = installation.command("vault", "rotate-master-key", "-o", "json")
            assert done.returncode == 0 and "going on with master key 2" in done.stderr, done.stderr
            assert keys_in(installation) == {1, 2}
            so_far = len(made)
            eventually(lambda: len(made) > so_far + 1, within=120)
        rows = under(installation)
        assert (rows.in_force, rows.left, rows.by_version.keys()) == (2, 0, {2})
        shown = [json.loads(line) for line in installation.command("vault", "status", "-o", "json").stdout.splitlines()]
        assert [(row["version"], row["in_force"], row["secrets"] > 0) for row in shown] == [(1, False, False), (2, True, True)]
        again = rest.ask("POST", "/credentials", body, Idempotency_Key="one")
        assert (again.status_code, again.json()) == (first.status_code, first.json()), "the same request is known as that"
        retired = installation.command("vault", "rotate-master-key", "--retire")
        assert retired.returncode == 0 and keys_in(installation) == {2}, retired.stderr
        run_is_fine(rest, fleet)
        installation.stop("up")
        installation.start("up")
        installation.await_ready()
        assert not_opening(installation) == {}
        again = rest.ask("POST", "/credentials", body, Idempotency_Key="one")
        assert (again.status_code, again.json()) == (first.status_code, first.json()), "also when the old key is gone"
        told = [("MasterKeyChanged", 1), ("MasterKeyChanged", 2), ("SecretsWrapped", 2)]
        eventually(lambda: keys_told(rest) == told, within=120)
        rest.close()


def test_a_backup_from_before_a_rotation_wants_the_key_of_that_time(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        old = (installation.home / master_key.FILE).read_text()
        made = installation.command("backup", str(tmp_path / "before.tar"))
        assert made.returncode == 0, made.stderr
        assert installation.command("vault", "rotate-master-key").returncode == 0
        assert installation.command("vault", "rotate-master-key", "--retire").returncode == 0
        after = installation.command("backup", str(tmp_path / "after.tar"), "--with-keys")
        assert after.returncode == 0, after.stderr
        new = (installation.home / master_key.FILE).read_text()

        def restored(file: str, to: str, key: str) -> None:
            keys = SecretStr(key.strip().replace("\n", ","))
            restore(Settings(home=tmp_path / to, log_url="", database_url="", master_key=keys), tmp_path / file)

        with pytest.raises(NotCopied, match="master key 1; a backup from before a rotation needs the key of that time"):
            restored("before.tar", "wrong", new)
        assert not (tmp_path / "wrong").exists()
        restored("before.tar", "right", old)
        restored("after.tar", "after", new)
        with pytest.raises(NotCopied, match="master key 2"):
            restored("after.tar", "not", old)
