"""What does a server say that is started on a data folder of which parts are missing, older or altered?

It may refuse, or name what is wrong when asked; it never serves what does not fit together as if it did. What cannot be noticed
without checkpoints kept elsewhere, an older state that is whole, is under test as well, so that nobody takes it for noticed.
"""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.sqlite.connections import LOG_FILE
from tests.roles.fleet import caught_up, same_after_rebuild, versions_are_gapless
from tests.roles.harness import Installation, embedded
from tests.roles.rest import Acknowledged, Rest
from tests.roles.steady import Steady
from tests.support.eventually import eventually

pytestmark = pytest.mark.services

LOG, WAL = Path("log") / LOG_FILE, Path("log") / f"{LOG_FILE}-wal"
NAIVE_COPIES = 2


class Original:
    """One server's data folder: as killed under load, as stopped in order, and as copied file by file while it wrote."""

    def __init__(self, folder: Path) -> None:
        self.killed, self.stopped, self.copies = folder / "killed", folder / "stopped", []
        self.acknowledged: list[Acknowledged] = []
        with embedded(folder) as installation:
            self.password = installation.rest().password
            with Steady(installation.rest) as steady:
                eventually(lambda: len(steady.acknowledged) >= 60, within=120)
                for n in range(NAIVE_COPIES):
                    seen = len(steady.acknowledged)
                    self.copies.append(copied_while_written(installation.home, folder / f"copied-{n}", steady))
                    eventually(lambda seen=seen: len(steady.acknowledged) >= seen + 10, within=120)
                installation.kill9("up")
                shutil.copytree(installation.home, self.killed)
                installation.start("up")
            self.acknowledged = steady.acknowledged
            eventually(installation.is_ready, within=120)
            installation.stop("up")
            shutil.copytree(installation.home, self.stopped)


def copied_while_written(home: Path, to: Path, steady: Steady) -> Path:
    """The folder's files one after the other, something written between each and the next."""
    for file in sorted(home.rglob("*")):
        if not file.is_file():
            continue
        (to / file.relative_to(home)).parent.mkdir(parents=True, exist_ok=True)
        seen = len(steady.acknowledged)
        shutil.copy(file, to / file.relative_to(home))
        eventually(lambda seen=seen: len(steady.acknowledged) > seen, within=120)
    return to


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("torn"))


def of(home: Path, folder: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(home, folder / "home")


@contextmanager
def started(home: Path) -> Iterator[Installation]:
    """A server on the folder, once it is ready or has ended."""
    installation = Installation(home, {"up": {}}, {})
    try:
        installation.start()
        eventually(lambda: installation.processes["up"].poll() is not None or installation.answers_ready(), within=120)
        yield installation
    finally:
        installation.end_all()


def refused_to_start(home: Path) -> str:
    """What was said at last by a server that ended by itself."""
    with started(home) as installation:
        try:
            status = installation.processes["up"].wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it serves: {installation.log_end('up')}") from None
        assert status == 1
        return installation.log_end("up").splitlines()[-1]


def changed(file: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(content)


def flip_the_middle(content: bytearray) -> None:
    content[len(content) // 2] ^= 1


def cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def drop(content: bytearray) -> None:
    content.clear()


@pytest.mark.parametrize("damage", [drop, cut_in_half, flip_the_middle])
def test_a_log_that_lost_its_newest_part_is_not_served_by_read_models_that_saw_it(
    original: Original, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    home = of(original.killed, tmp_path)
    changed(home / WAL, damage)
    said = refused_to_start(home)
    assert "up cannot run" in said and "ends at" in said, said


@pytest.mark.parametrize("number", range(NAIVE_COPIES))
def test_a_folder_copied_file_by_file_while_it_was_written_is_refused(original: Original, tmp_path: Path, number: int) -> None:
    said = refused_to_start(of(original.copies[number], tmp_path))
    assert "up cannot run" in said, said


@pytest.mark.parametrize("damage", [cut_in_half, drop])
def test_a_file_of_which_pages_are_missing_is_refused_in_one_line(
    original: Original, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    home = of(original.stopped, tmp_path)
    changed(home / LOG, damage)
    said = refused_to_start(home)
    assert "cannot be used" in said or "ends at 0" in said, said


def test_an_altered_event_is_named_by_the_check_of_the_log_and_by_a_backup(original: Original, tmp_path: Path) -> None:
    home = of(original.stopped, tmp_path)

    def alter(content: bytearray) -> None:
        at = content.index(b'{"secret":"', content.index(b'"CredentialRotated"') - 4000)
        content[at + 12] = ord("0") if content[at + 12] != ord("0") else ord("1")

    changed(home / LOG, alter)
    with started(home) as installation:
        told = Rest(installation.url, original.password).ask("POST", "/audit/verify").json()
        assert told["intact"] is False and "its hash is not that" in told["first_bad"]["reason"], told
        done = installation.command("backup", str(tmp_path / "b.tar"))
        assert done.returncode == 1 and told["first_bad"]["position"] in done.stderr, done.stderr
        assert not (tmp_path / "b.tar").exists()


def test_an_older_state_that_is_whole_is_not_noticed(original: Original, tmp_path: Path) -> None:
    """What only a checkpoint kept elsewhere could show: the log ends early, and nothing else knows better."""
    home = of(original.killed, tmp_path)
    changed(home / WAL, cut_in_half)
    shutil.rmtree(home / "state")
    forget_read_models(home / "read-models.db")
    with started(home) as installation:
        rest = Rest(installation.url, original.password)
        assert rest.ask("POST", "/audit/verify").json()["intact"] is True
        eventually(lambda: caught_up(rest), within=120)
        rows = installation.rows()
        versions_are_gapless(rows)
        there = {(row["stream"], row["version"]) for row in rows["events"]}
        lost = [done for done in original.acknowledged if (done.stream, done.version) not in there]
        assert len(lost) > 5
        installation.log_in()
        same_after_rebuild(installation)


def forget_read_models(file: Path) -> None:
    """Everything in the database but the vault."""
    connection = sqlite3.connect(file)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name != "vault_secrets":
            connection.execute(f'DROP TABLE "{name}"')
    connection.commit()
    connection.close()
