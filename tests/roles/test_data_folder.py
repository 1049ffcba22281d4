"""Is everything of an embedded server in its data folder, whatever it is called, and for its owner's eyes only?"""

import shutil
from pathlib import Path

import pytest

from tests.roles.harness import Installation, embedded

ODD = "what? #1 is 50%41 'é'"


def everything(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_folder_whose_name_would_mean_something_in_a_url_holds_all_and_is_found_again(tmp_path: Path) -> None:
    odd = tmp_path / ODD
    odd.mkdir()
    with embedded(odd) as installation:
        rest = installation.rest()
        rest.write("POST", "/credentials", {"name": "c", "kind": "token", "secret": {"token": "t"}})
        assert rest.get("/credentials/c")["name"] == "c"
        assert installation.rows()["credentials"], "they are in the file that is asked here, too"
        assert installation.command("backup", str(tmp_path / "b.tar")).returncode == 0
        installation.stop("up")
        installation.start("up")
        installation.await_ready()
        assert rest.get("/credentials/c")["name"] == "c"
    assert {"read-models.db", "log/log.sqlite3"} <= everything(odd / "home")
    beside = {name for name in everything(tmp_path) if not name.startswith(f"{ODD}/")}
    assert beside == {"b.tar"}, "nothing is written beside the folder"


def test_in_a_folder_that_others_may_enter_every_file_is_still_its_owner_s_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    with embedded(tmp_path) as installation:
        installation.rest().write("POST", "/credentials", {"name": "c", "kind": "token", "secret": {"token": "t"}})
        modes = {name: (home / name).stat().st_mode & 0o777 for name in everything(home)}
        assert {"read-models.db", "read-models.db-wal", "log/log.sqlite3"} <= set(modes)
        assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_a_server_whose_vault_is_gone_refuses_to_start_and_says_what_is_missing(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        installation.stop("up")
    home = shutil.copytree(tmp_path / "home", tmp_path / "again")
    for file in home.glob("read-models.db*"):
        file.unlink()
    installation = Installation(home, {"up": {}}, {})
    try:
        for _ in range(2):
            installation.start("up")
            assert installation.processes["up"].wait(60) == 78
            said = installation.log_end("up").splitlines()[-1]
            assert f"the vault in {home / 'read-models.db'} holds nothing" in said and "restore a backup" in said, said
    finally:
        installation.end_all()


@pytest.mark.parametrize("name", ["read-models.db", "read-models.db-wal"])
def test_a_folder_in_the_place_of_a_file_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "home" / name).mkdir(parents=True)
    installation = Installation(tmp_path / "home", {"up": {}}, {})
    try:
        installation.start("up")
        assert installation.processes["up"].wait(60) == 1
        assert installation.log_end("up").splitlines()[-1].startswith("up cannot run: ")
    finally:
        installation.end_all()
