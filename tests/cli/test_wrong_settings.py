"""Does everything that a setting is wrong for end with status 78 and a line that names the setting?"""

import subprocess
from pathlib import Path

import pytest

from infra.cli.main import app
from infra.wiring.process import start
from infra.wiring.settings import settings_given
from tests.cli.running import said_by
from tests.roles.harness import PROGRAM

WRONG = [
    ("LISTEN", "foo"),
    ("LISTEN", "127.0.0.1:99999"),
    ("LISTEN", "127.0.0.1:-1"),
    ("LISTEN", "127.0.0.1:80_80"),
    ("LISTEN", "127.0.0.1:٣"),
    ("LISTEN", ""),
    ("METRICS_LISTEN", "127.0.0.1:65536"),
    ("LOG_LEVEL", "loud"),
    ("LEASE_S", "-1"),
    ("LEASE_S", "nan"),
    ("LOG_URL", "foo://x"),
    ("LOG_URL", "sqlite://x/y"),
    ("LOG_URL", "kafka://"),
    ("LOG_URL", "kafka://one:9092,two:"),
    ("LOG_URL", "kafka://somebody:hidden@one"),
    ("LOG_URL", "kafka://somebody:hidden@one:9092"),
    ("LOG_URL", "sqlite:////srv/a%00hidden"),
    ("DATABASE_URL", "sqlite:////srv/a%00hidden"),
    ("HOME", "~nobody-of-this-name/hidden"),
    ("DATABASE_URL", "mysql://somebody:hidden@x/y"),
    ("DATABASE_URL", "postgresql://somebody:hidden@x:port/y"),
    ("DATABASE_URL", "hidden"),
    ("REDIS_URL", "hidden"),
    ("REDIS_URL", "redis://:hidden@x:70000"),
    ("MASTER_KEY", "hidden"),
    ("INSTANCE", "../../hidden"),
    ("INSTANCE", "/hidden"),
    ("INSTANCE", ".hidden"),
    ("INSTANCE", ".."),
    ("INSTANCE", "one\n"),
    ("INSTANCE", "é"),
    ("INSTANCE", "x" * 101),
    ("TLS_CERT", "/nowhere.pem"),
    ("CORS_ORIGINS", "*"),
    ("OIDC_ISSUER", "id.example.org"),
    ("PUBLIC_URL", "https://ops:port"),
    ("OIDC_ISSUER", "https://id.example.org"),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_role_does_not_begin_with_a_wrong_setting(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"OPSCONDUCTOR_{name}", value)
    with pytest.raises(SystemExit) as ended:
        start("up")
    said = capsys.readouterr().err
    assert ended.value.code == 78
    assert said.count("\n") == 1 and f"OPSCONDUCTOR_{name}" in said and "hidden" not in said
    assert not (tmp_path / "home").exists(), "nothing was begun"


@pytest.mark.parametrize(
    "words", [["backup", "file"], ["restore", "file"], ["vault", "status"], ["topics", "check"], ["topics", "apply"], ["cluster"]]
)
def test_nor_does_a_command_that_works_on_the_data(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_LOG_URL", "foo://x")
    done = said_by(app, *words)
    assert done.exit_code == 78 and "OPSCONDUCTOR_LOG_URL" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://somebody:hidden@x:99999",
        "http://somebody:hidden@127.0.0.1:9",
        "foo",
        "foo://x",
        "http://",
        "http://x:99999",
        "http://x:y",
        "127.0.0.1:8080",
        "http://a b",
    ],
)
@pytest.mark.parametrize("words", [["target", "list"], ["login", "--sso"], ["logout"], ["run", "start", "x"]])
def test_nor_a_client_whose_server_s_address_is_none(url: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_URL", url)
    done = said_by(app, *words)
    assert done.exit_code == 78 and "OPSCONDUCTOR_URL" in done.stderr and done.stderr.count("\n") == 1, done.output
    assert "hidden" not in done.output
    monkeypatch.delenv("OPSCONDUCTOR_URL")
    assert said_by(app, "--url", url, *words).exit_code == 2, "an argument is usage"


def test_nor_one_whose_authorities_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_CA_FILE", "/nowhere.pem")
    done = said_by(app, "--url", "https://127.0.0.1:9", "target", "list")
    assert done.exit_code == 78 and "OPSCONDUCTOR_CA_FILE" in done.stderr


def test_no_traceback_is_seen_by_who_runs_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONDUCTOR_DATABASE_URL", "mysql://x")
    done = subprocess.run([PROGRAM, "up"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 78 and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_url", "kafka://one:9092,two:9092/"),
        ("log_url", "kafka://[::1]:9092"),
        ("log_url", "kafka://one"),
        ("log_url", "sqlite:////srv/log"),
        ("database_url", "sqlite:////srv/read.db"),
        ("database_url", "postgresql://u:p%40ss@h:5432/d"),
        ("database_url", "postgresql://u:p#ss@h/d"),
        ("database_url", "postgresql+psycopg://h/d"),
        ("redis_url", "redis://h"),
        ("redis_url", "rediss://u:p@h:1/2"),
        ("redis_url", "unix:///run/redis.sock"),
        ("listen", "[::1]:0"),
        ("listen", ":8080"),
        ("metrics_listen", ""),
        ("log_level", "INFO"),
        ("instance", ""),
        ("instance", "commands-1"),
        ("instance", "web_01.ops.example.org"),
        ("instance", "x" * 100),
    ],
)
def test_what_can_be_meant_is_no_wrong_setting(name: str, value: str) -> None:
    settings_given(**{name: value})
