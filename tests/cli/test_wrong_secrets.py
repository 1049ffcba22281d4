"""Is a secret that cannot be meant refused without being shown: tokens, passwords, addresses, files of authorities?"""

import json
import socket
from pathlib import Path

import pytest

from infra.cli.client import Client, ServerUnreachable
from infra.cli.main import app
from infra.cli.session import Session, session_file
from infra.wiring.process import start
from tests.cli.running import said_by

TOKEN = "ops.ci.01a22924-7872-761d-873f-32b545b95aaf.hidden"
NO_TOKENS = [f"{TOKEN}{more}" for more in ("\n", "\r", "\r\n", " ", "\x7f", "é")] + [f"\n{TOKEN}", f"Bearer {TOKEN}"]
STREAM = ["run", "output", "greet.01a22924-7872-761d-873f-32b545b95aaf", "--follow"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("OPSCONDUCTOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPSCONDUCTOR_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize("words", [["target", "list"], STREAM, ["logout"]])
@pytest.mark.parametrize("given", [*NO_TOKENS, f"{TOKEN}\udcff"])
def test_a_token_that_is_none_is_a_wrong_setting(given: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_TOKEN", given)
    done = said_by(app, *words)
    assert (done.exit_code, done.output) == (78, "wrong setting: OPSCONDUCTOR_TOKEN: is no token\n")


@pytest.mark.parametrize("words", [["target", "list"], STREAM])
@pytest.mark.parametrize("given", NO_TOKENS)
def test_a_kept_session_with_such_a_token_is_none(given: str, words: list[str]) -> None:
    session_file().parent.mkdir(parents=True)
    kept = {"url": "http://127.0.0.1:9", "access_token": given, "refresh_token": "r"}
    session_file().write_text(json.dumps(kept))
    done = said_by(app, *words)
    assert done.exit_code == 7 and "hidden" not in done.output, done.output
    session_file().write_text(json.dumps(kept | {"access_token": [given]}))
    assert "hidden" not in said_by(app, *words).output


def test_what_cannot_be_sent_is_not_repeated_wherever_it_came_from() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(Session(url, f"{TOKEN}\n"))
        for ask in (lambda: client.get("/me"), lambda: list(client.events("/events/stream"))):
            with pytest.raises(ServerUnreachable) as silence:
                ask()
            assert str(silence.value) == f"{url}: the request cannot be sent"


@pytest.mark.parametrize(
    "url",
    [
        "http://somebody:hidden%40x:8080",
        "http://x:hidden",
        "hidden",
        "http://127.0.0.1:9/?token=hidden",
        "http://127.0.0.1:9/#hidden",
        "http://127.0.0.1:9\nhidden",
    ],
)
def test_an_address_that_is_none_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_URL", url)
    done = said_by(app, "target", "list")
    assert (done.exit_code, done.stderr.count("\n"), "OPSCONDUCTOR_URL" in done.stderr) == (78, 1, True), done.output
    assert "hidden" not in done.output
    given = said_by(app, "--url", url, "target", "list")
    assert given.exit_code == 2 and "hidden" not in given.output


@pytest.mark.parametrize("given", ["-----BEGIN PRIVATE KEY-----\nhidden", "hidden" * 900])
def test_nor_is_what_stands_for_a_file_of_authorities(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_CA_FILE", given)
    done = said_by(app, "--url", "https://127.0.0.1:9", "target", "list")
    assert (done.exit_code, done.stderr.count("\n")) == (78, 1) and "OPSCONDUCTOR_CA_FILE" in done.stderr, done.output
    assert "hidden" not in done.output


@pytest.mark.parametrize("password", ["hidden\udcff", "hidden\x00", "hidden\r"])
def test_nor_a_password_that_cannot_be_sent_or_is_not_taken(password: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(password.encode("utf-8", "surrogateescape"))
    done = said_by(app, "login", "--user", "admin", "--password-file", str(file))
    assert done.exit_code in (2, 7) and "hidden" not in done.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_PASSWORD", "hidden"),
        ("ADMIN_PASSWORD", "hidden-but-no-text\udcff"),
        ("MASTER_KEY", "hidden\n"),
        ("VAULT_TOKEN", "hidden\n"),
        ("VAULT_TOKEN", "hidden\r"),
        ("VAULT_TOKEN", "hiddené"),
        ("VAULT_SECRET_ID", "hidden\udcff"),
        ("OIDC_CLIENT_SECRET", "hidden\udcff"),
    ],
)
def test_nor_a_secret_that_a_server_is_set_up_with(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"OPSCONDUCTOR_{name}", value)
    monkeypatch.setenv("OPSCONDUCTOR_LISTEN", "nowhere")  # nothing is begun in any case
    with pytest.raises(SystemExit) as ended:
        start("up")
    said = capsys.readouterr().err
    assert ended.value.code == 78 and said.count("\n") == 1
    assert f"OPSCONDUCTOR_{name}" in said and "hidden" not in said
