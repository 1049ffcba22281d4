"""Is a backup made while the server works a whole one, does a folder made from it serve the same, and what is refused?"""

import json
import sqlite3
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from infra.sqlite.connections import LOG_FILE, layout_of, open_reader
from infra.wiring.archive import LOG, MANIFEST, MANIFEST_SUM, VAULT
from schemas.position import Partition
from tests.roles.fleet import Fleet, FleetServer, all_final, caught_up, nothing_lost
from tests.roles.harness import Installation, embedded
from tests.roles.rest import Rest
from tests.roles.steady import Steady
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

LEAST_BEFORE = 40
"""How many writes are acknowledged before a backup begins."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, fleet_servers: list[FleetServer]):
    """An embedded server with a fleet, that has done a run."""
    folder = tmp_path_factory.mktemp("backup")
    with embedded(folder) as installation:
        rest = installation.rest()
        Fleet(fleet_servers, _traces(folder)).register(rest)
        rest.write("POST", "/jobs/trace/runs", {})
        eventually(lambda: all_final(rest, 1), within=120, every=0.3)
        yield installation


def _traces(folder: Path) -> Path:
    for each in (folder, folder.parent):
        each.chmod(0o755)  # the targets' account is another one
    return folder / "traces"


def backed_up(installation: Installation, file: Path, *words: str) -> Path:
    done = installation.command("backup", str(file), *words)
    assert done.returncode == 0, done.stderr
    return file


def restored(installation: Installation, file: Path, name: str, **environment: str) -> Installation:
    """A folder made from the file beside the first, with a server that has not started."""
    other = Installation(installation.home.with_name(name), {"up": {}}, environment)
    done = other.command("restore", str(file))
    assert done.returncode == 0, done.stderr
    return other


def unpacked(file: Path, folder: Path) -> Path:
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    return folder


def secrets_named(folder: Path) -> set[str]:
    """The ids of the secrets that the log's credentials name."""
    connection = open_reader(folder)
    layout = layout_of(connection)
    named = set()
    for shard in range(layout.shards):
        partition = Partition("credentials", shard)
        bounds = (layout.first_id(partition), layout.end_id(partition))
        for (value,) in connection.execute("SELECT value FROM records WHERE id >= ? AND id < ?", bounds):
            named |= {json.loads(value)["secret"]} if b'"secret"' in value else set()
    connection.close()
    return named


def secrets_kept(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    kept = {row[0] for row in connection.execute("SELECT secret_id FROM vault_secrets")}
    connection.close()
    return kept


def test_every_secret_that_the_log_of_a_backup_names_is_in_its_vault_however_much_is_written_meanwhile(
    busy: Installation, tmp_path: Path
) -> None:
    named: list[set[str]] = []
    with Steady(busy.rest, clients=4):
        for n in range(3):
            folder = unpacked(backed_up(busy, tmp_path / f"{n}.tar"), tmp_path / str(n))
            named.append(secrets_named(folder))
            lacking = named[-1] - secrets_kept(folder / VAULT)
            assert not lacking, f"{len(lacking)} of {len(named[-1])} secrets that the log names are not in the vault"
    assert all(len(later - earlier) >= 10 for earlier, later in pairwise(named)), "nothing was written meanwhile"


def test_a_restored_folder_serves_the_same_and_opens_its_secrets(busy: Installation, tmp_path: Path) -> None:
    rest = busy.rest()
    eventually(lambda: caught_up(rest), within=120)
    before = busy.rows()
    file = backed_up(busy, tmp_path / "whole.tar")
    assert file.stat().st_mode & 0o777 == 0o600
    key = (busy.home / "master-key").read_text().strip()
    other = restored(busy, file, "restored", OPSCONDUCTOR_MASTER_KEY=key)
    files = [other.home, *other.home.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600, 0o700}
    assert {path.name for path in files} == {"restored", "log", LOG_FILE, "read-models.db"}
    try:
        other.start()
        eventually(other.is_ready, within=120)
        for table, rows in before.items():  # before anybody signs in, which is an event
            eventually(lambda table=table, rows=rows: other.rows()[table] == rows, within=120, every=0.5)
        again = Rest(other.url, rest.password)
        assert again.ask("POST", "/audit/verify").json()["intact"] is True
        runs = len(again.items("/runs"))
        again.write("POST", "/jobs/trace/runs", {})
        eventually(lambda: all_final(again, runs + 1), within=120, every=0.3)
        assert again.items("/runs")[0]["state"] == "succeeded", "the targets' key was not opened"
    finally:
        other.end_all()


def test_nothing_acknowledged_before_a_backup_began_is_missing_in_what_is_restored_from_it(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        with Steady(installation.rest, clients=4) as steady:
            eventually(lambda: len(steady.acknowledged) >= LEAST_BEFORE, within=120)
            before = list(steady.acknowledged)
            file = backed_up(installation, tmp_path / "under-load.tar")
            during = len(steady.acknowledged) - len(before)
        assert during > 0, "nothing was written meanwhile"
        other = restored(
            installation, file, "after", OPSCONDUCTOR_MASTER_KEY=(installation.home / "master-key").read_text().strip()
        )
        installation.stop("up")
    try:
        other.start()
        eventually(other.is_ready, within=120)
        eventually(lambda: caught_up(Rest(other.url, (installation.home / "admin-password").read_text().strip())), within=120)
        nothing_lost(other.rows(), before)
        print(f"{len(before)} acknowledged before, {during} while the backup was made")
    finally:
        other.end_all()


def test_without_the_master_key_a_restored_folder_is_not_started_and_no_new_key_is_made(
    busy: Installation, tmp_path: Path
) -> None:
    other = restored(busy, backed_up(busy, tmp_path / "no-key.tar"), "no-key")
    refused = other.command("up")
    assert refused.returncode == 78 and "OPSCONDUCTOR_MASTER_KEY" in refused.stderr, refused.stderr
    assert not (other.home / "master-key").exists()
    wrong = Installation(busy.home.with_name("wrong-key"), {"up": {}}, {"OPSCONDUCTOR_MASTER_KEY": "A" * 43 + "="})
    refused = wrong.command("restore", str(tmp_path / "no-key.tar"))
    assert refused.returncode == 1 and "does not open these secrets" in refused.stderr, refused.stderr
    assert not wrong.home.exists()


def test_no_secret_is_in_clear_in_a_backup_unless_it_is_made_with_keys(busy: Installation, tmp_path: Path) -> None:
    canary = "Canary-in-a-backup-7f2a"
    busy.rest().write(
        "POST", "/credentials", {"name": "canary", "kind": "password", "secret": {"username": "u", "password": canary}}
    )
    key, password = (busy.home / "master-key").read_text().strip(), (busy.home / "admin-password").read_text().strip()
    plain = backed_up(busy, tmp_path / "plain.tar").read_bytes()
    with_keys = backed_up(busy, tmp_path / "keys.tar", "--with-keys").read_bytes()
    assert [text for text in (canary, key, password) if text.encode() in plain] == []
    assert [text for text in (canary, key, password) if text.encode() in with_keys] == [key, password]
    other = restored(busy, tmp_path / "keys.tar", "with-keys")
    assert (other.home / "master-key").read_text().strip() == key
    assert (other.home / "admin-password").read_text().strip() == password
    assert (other.home / "master-key").stat().st_mode & 0o777 == 0o600


def test_what_a_backup_is_made_of_and_what_both_commands_tell(busy: Installation, tmp_path: Path) -> None:
    long = {"name": "long", "targets": "set=fleet", "steps": [{"name": "only", "kind": "command", "run": "echo on; sleep 300"}]}
    rest = busy.rest()
    rest.write("POST", "/jobs", long)
    run = rest.write("POST", "/jobs/long/runs", {}).body["run_id"]
    done = busy.command("backup", str(tmp_path / "one.tar"), "-o", "json")
    told = json.loads(done.stdout)
    assert told["events"] > 50 and told["secrets"] > 3 and told["master_key"] is False
    assert told["bytes"] == (tmp_path / "one.tar").stat().st_size and "NOT in this file" in done.stderr
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert archive.getnames() == [MANIFEST, MANIFEST_SUM, LOG, VAULT]
        said = json.load(archive.extractfile(MANIFEST))
    assert said["format"] == 1 and sum(chain["events"] for chain in said["facts"]["chains"]) == told["events"]
    other = Installation(busy.home.with_name("told"), {"up": {}}, {})
    done = other.command("restore", str(tmp_path / "one.tar"), "-o", "json")
    told = json.loads(done.stdout)
    assert told["unfinished_runs"] == [f"run/{run}"] and "1 runs had not finished" in done.stderr and "master key" in done.stderr
    rest.write("POST", f"/runs/{run}/cancel", {})
    again = busy.command("backup", str(tmp_path / "one.tar"))
    assert again.returncode == 1 and "exists already" in again.stderr


def test_a_folder_that_is_used_and_a_log_elsewhere_are_refused(busy: Installation, tmp_path: Path) -> None:
    file = backed_up(busy, tmp_path / "one.tar")
    onto_itself = busy.command("restore", str(file))
    assert onto_itself.returncode == 1 and f"in use by process {busy.processes['up'].pid}" in onto_itself.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    not_empty = busy.command("restore", str(file), "--home", str(tmp_path / "full"))
    assert not_empty.returncode == 1 and "not empty" in not_empty.stderr
    kafka = Installation(tmp_path / "cluster", {}, {"OPSCONDUCTOR_LOG_URL": "kafka://127.0.0.1:9"})
    for words in (("backup", str(tmp_path / "kafka.tar")), ("restore", str(file))):
        refused = kafka.command(*words)
        assert refused.returncode == 2 and "Kafka" in refused.stderr and "Traceback" not in refused.stderr
    nothing = Installation(tmp_path / "nothing", {}, {}).command("backup", str(tmp_path / "nothing.tar"))
    assert nothing.returncode == 1 and "no log" in nothing.stderr
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".") or path.suffix == ".tar"} == {"one.tar"}


def test_a_backup_of_a_stopped_and_of_a_killed_server_is_whole_too(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        rest = installation.rest()
        rest.write("POST", "/credentials", {"name": "one", "kind": "password", "secret": {"username": "u", "password": "p"}})
        installation.kill9("up")
        assert (installation.home / "log" / f"{LOG_FILE}-wal").stat().st_size > 0
        killed = unpacked(backed_up(installation, tmp_path / "killed.tar"), tmp_path / "killed")
        installation.start("up")
        eventually(installation.is_ready, within=120)
        installation.stop("up")
        stopped = unpacked(backed_up(installation, tmp_path / "stopped.tar"), tmp_path / "stopped")
        assert len(secrets_named(killed)) == len(secrets_named(stopped)) == 1
        assert secrets_named(killed) <= secrets_kept(killed / VAULT)
