"""Does the server speak TLS with its own certificate, and does the command line believe no other?"""

import subprocess
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from infra.wiring.settings import Settings
from tests.roles.harness import Installation
from tests.support.certificates import Authority
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def test_the_server_speaks_tls_and_the_command_line_believes_only_the_authority_it_is_given(tmp_path: Path) -> None:
    authority, chain, key = Authority(tmp_path), tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.sign(chain, key)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    tls = {"OPSCONDUCTOR_TLS_CERT": str(chain), "OPSCONDUCTOR_TLS_KEY": str(key)}
    installation = Installation(tmp_path / "home", {"up": {}}, tls)
    installation.environment["OPSCONDUCTOR_URL"] = url = f"https://127.0.0.1:{installation.port}"
    installation.start()
    try:
        eventually(lambda: b"first administrator made" in installation.log("up").read_bytes(), within=120)
        assert f"listening on {url}" in installation.log_end("up", 10_000)
        assert "warning: other machines'" not in installation.log_end("up", 10_000)
        signing_in = ("login", "--user", "admin", "--password-file", str(installation.home / "admin-password"))

        def signed_in(**trust: str) -> subprocess.CompletedProcess[str]:
            return installation.command(*signing_in, env={**installation.environment, **trust})

        for trust in ({}, {"OPSCONDUCTOR_CA_FILE": str(stranger.file)}):
            refused = signed_in(**trust)
            assert refused.returncode == 7 and "certificate verify failed" in refused.stderr, refused.stderr
        absent = signed_in(OPSCONDUCTOR_CA_FILE=str(tmp_path / "absent.pem"))
        assert absent.returncode == 78 and absent.stderr == "wrong setting: OPSCONDUCTOR_CA_FILE: No such file or directory\n"
        done = signed_in(OPSCONDUCTOR_CA_FILE=str(authority.file))
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        trusting = {**installation.environment, "OPSCONDUCTOR_CA_FILE": str(authority.file)}
        listed = installation.command("user", "list", env=trusting)
        assert listed.returncode == 0 and "admin" in listed.stdout, listed.stderr
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{installation.port}/health/live", timeout=5, trust_env=False)
    finally:
        installation.end_all()


def test_a_certificate_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    settings = {"OPSCONDUCTOR_TLS_CERT": "/nowhere.pem", "OPSCONDUCTOR_TLS_KEY": "/nowhere.key"}
    refused = Installation(tmp_path / "home", {}, settings).command("up")
    assert refused.returncode == 78 and "/nowhere.pem" in refused.stderr and "Traceback" not in refused.stderr, refused.stderr


def test_settings_of_the_edge_that_mean_nothing_are_refused() -> None:
    for wrong in ({"trusted_proxies": "10.0.0.1/8"}, {"cors_origins": "*"}, {"rate_account_reads": -1}):
        with pytest.raises(ValidationError):
            Settings(**wrong)
    with pytest.raises(ValueError, match="of no use without each other"):
        Settings(tls_cert=Path("/some.pem")).tls  # noqa: B018 - it is what raises


def test_a_server_that_others_reach_without_tls_or_a_trusted_proxy_knows_so() -> None:
    both = {"tls_cert": Path("/some.pem"), "tls_key": Path("/some.key")}
    assert Settings(listen="0.0.0.0:8080").is_in_the_clear and Settings(listen="[2001:db8::1]:8080").is_in_the_clear
    for settings in ({"listen": "127.0.0.1:1"}, {"listen": "[::1]:1"}, {"listen": "localhost:1"}):
        assert not Settings(**settings).is_in_the_clear
    for settings in (both, {"trusted_proxies": "10.0.0.0/8"}):
        assert not Settings(listen="0.0.0.0:8080", **settings).is_in_the_clear
