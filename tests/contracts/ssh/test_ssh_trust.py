"""Whom do we talk to, and as whom? Pinned host keys only, the given log-in only."""

import base64
import logging
import traceback

import pytest

from processors.executor.connector import Exited, Unreachable
from tests.contracts.ssh.conftest import invocation
from tests.contracts.ssh.server import make_key

ANOTHER = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"G" * 32).decode()


async def code_of(run, **where) -> str:
    with pytest.raises(Unreachable) as refused:
        await run(invocation("true"), **where)
    return refused.value.code


def shown_by(error: BaseException) -> str:
    """All that the most talkative error reporter would show of our own code: message, frames and their local variables."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    return str(report) + "".join(f"{frame.locals}" for frame in report.stack if "infra" in frame.filename)


@pytest.mark.parametrize("pin", [None, "", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa " + ANOTHER.split()[1]])
async def test_without_a_usable_pin_nothing_is_connected_to(run, server, pin):
    before = server.log_ins()
    assert await code_of(run, endpoint=server.endpoint(host_key=pin)) == "host_key_not_pinned"
    assert server.log_ins() == before


async def test_another_key_of_the_same_type_is_a_changed_host_key(run, server):
    before = server.log_ins()
    assert await code_of(run, endpoint=server.endpoint(host_key=ANOTHER)) == "host_key_changed"
    assert server.log_ins() == before, "no credential may reach a stranger"


async def test_a_server_with_keys_of_other_types_only_is_a_changed_host_key(run, server, tmp_path):
    other = make_key(tmp_path / "rsa", "rsa").with_suffix(".pub").read_text()
    assert await code_of(run, endpoint=server.endpoint(host_key=other)) == "host_key_changed"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
async def test_the_pinned_type_is_asked_for_among_several(run, own_server, tmp_path, kind):
    second = make_key(tmp_path / "second", kind)
    server = own_server(f"HostKey {second}")
    pin = second.with_suffix(".pub").read_text()
    assert (await run(invocation("true"), server=server, endpoint=server.endpoint(host_key=pin)))[0] == Exited(0)
    assert (await run(invocation("true"), server=server))[0] == Exited(0)


async def test_a_known_hosts_file_and_a_users_configuration_change_nothing(run, server, tmp_path, monkeypatch):
    """The server's key is known to the user, and his configuration leads elsewhere: neither counts."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    (tmp_path / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n  Port 1\n  User nobody\n")
    (tmp_path / ".fabric.yaml").write_text("port: 1\nconnect_kwargs:\n  password: x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await code_of(run, endpoint=server.endpoint(host_key=ANOTHER)) == "host_key_changed"
    assert (await run(invocation("true")))[0] == Exited(0)


async def test_keys_of_the_user_are_never_offered(run, server, tmp_path, monkeypatch):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text((server.home / "user").read_text())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await code_of(run, login=server.login(private_key=None, password="wrong")) == "authentication_failed"
    assert await code_of(run, login=server.login(private_key=None, fingerprint="none@1")) == "authentication_failed"


async def test_a_key_the_server_does_not_know_is_refused(run, server, tmp_path):
    stranger = make_key(tmp_path / "stranger", "ed25519").read_text()
    assert await code_of(run, login=server.login(private_key=stranger, fingerprint="stranger@1")) == "authentication_failed"


@pytest.mark.parametrize(
    ("kind", "passphrase", "more"),
    [
        ("ed25519", "", ()),
        ("ed25519", "a phrase", ()),
        ("ecdsa", "", ()),
        ("ecdsa", "a phrase", ("-m", "PEM")),
        ("rsa", "", ()),
        ("rsa", "a phrase", ("-m", "PEM")),
        ("rsa", "", ("-m", "PKCS8")),
    ],
)
async def test_private_keys_of_every_common_format_log_in(run, own_server, tmp_path, kind, passphrase, more):
    server = own_server()
    path = make_key(tmp_path / "key", kind, passphrase, *more)
    server.authorize(path.with_suffix(".pub"))
    login = server.login(private_key=path.read_text(), passphrase=passphrase or None, fingerprint=f"{kind}@1")
    assert (await run(invocation("true"), server=server, login=login))[0] == Exited(0)


async def test_a_key_that_cannot_be_used_says_why_and_shows_nothing(run, server, tmp_path):
    locked = make_key(tmp_path / "locked", "ed25519", "the-phrase").read_text()
    for text, phrase, said in (
        (locked, None, "needs a passphrase"),
        (locked, "not-it", "with its passphrase"),
        ("junk-key", None, "read"),
    ):
        with pytest.raises(Unreachable) as refused:
            await run(invocation("true"), login=server.login(private_key=text, passphrase=phrase, fingerprint=f"bad@{said}"))
        assert refused.value.code == "authentication_failed"
        assert said in refused.value.message
        assert not any(secret in shown_by(refused.value) for secret in (text[40:80] or text, "not-it"))


async def test_no_secret_shows_in_a_log_or_a_failure(run, server, caplog):
    caplog.set_level(logging.DEBUG)
    login = server.login(private_key=None, password="password-secret", fingerprint="pw@1")
    with pytest.raises(Unreachable) as refused:
        await run(invocation("true", TOKEN="token-secret"), login=login)
    await run(invocation("true # script-secret", TOKEN="token-secret"))
    assert "-secret" not in caplog.text + shown_by(refused.value) + repr(login)
    assert refused.value.__context__ is None


async def test_a_closed_port_is_a_failed_connection(run, own_server):
    server = own_server()
    server.kill()
    assert await code_of(run, endpoint=server.endpoint()) == "connect_failed"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "someone@127.0.0.1", ""])
async def test_a_host_that_is_none_is_a_failed_connection(run, server, host):
    assert await code_of(run, endpoint=server.endpoint(host=host)) == "connect_failed"


@pytest.mark.parametrize("setting", ["KexAlgorithms sntrup761x25519-sha512@openssh.com", "Ciphers chacha20-poly1305@openssh.com"])
async def test_a_server_without_common_algorithms_is_named_so(run, own_server, setting):
    server = own_server(setting)
    assert await code_of(run, endpoint=server.endpoint()) == "no_common_algorithm"


async def test_a_check_logs_in_afresh_and_tells_what_was_agreed(connector, server):
    await connector.check(server.endpoint(), server.login())
    before = server.log_ins()
    reached = await connector.check(server.endpoint(), server.login())
    assert server.log_ins() == before + 1
    assert reached.details["host_key"] == server.host_key
    assert reached.details["cipher"] == "aes128-gcm@openssh.com"
    assert reached.details["kex"].startswith("curve25519") or "mlkem" in reached.details["kex"]
    assert reached.details["server"].startswith("SSH-2.0-OpenSSH")
    assert reached.details["strict_kex"] == "yes"
    assert 0 < reached.seconds < 10
    assert connector.open_connections == 0
