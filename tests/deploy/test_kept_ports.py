"""Is a server that is started again where it was, and who listens where it should be?"""

import os
import socket
from pathlib import Path

import pytest

from infra.deploy.services.kept_ports import KeptPorts
from infra.deploy.services.native_process import free_port
from infra.deploy.services.port_holder import holder_of


def test_a_folder_s_servers_keep_their_ports(tmp_path: Path) -> None:
    said: list[str] = []
    first = {name: KeptPorts(tmp_path, said.append).of(name) for name in ("kafka", "redis", "sshd")}
    again = KeptPorts(tmp_path, said.append)
    assert {name: again.of(name) for name in ("sshd", "redis", "kafka")} == first
    assert len(set(first.values())) == 3 and said == []


def test_only_a_port_that_is_taken_is_given_up_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    first = {name: KeptPorts(tmp_path, said.append).of(name) for name in ("redis", "sshd")}
    with socket.create_server(("127.0.0.1", first["sshd"])):
        ports = KeptPorts(tmp_path, said.append)
        assert ports.of("redis") == first["redis"]
        assert (new := ports.of("sshd")) not in first.values()
    assert said == [f"sshd: its port {first['sshd']} is taken; from now on it has {new}"]
    assert KeptPorts(tmp_path, said.append).of("sshd") == new


def test_a_server_s_port_is_its_own_while_connections_of_the_one_before_wind_down(tmp_path: Path) -> None:
    port = KeptPorts(tmp_path, print).of("redis")
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # who closes first keeps the port a while
        client.close()
    with socket.socket() as probe, pytest.raises(OSError):
        probe.bind(("127.0.0.1", port))
    assert KeptPorts(tmp_path, print).of("redis") == port


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"sshd": "none"}', '{"sshd": 70000}'])
def test_a_torn_file_is_as_none(tmp_path: Path, torn: str) -> None:
    (tmp_path / "ports.json").write_text(torn)
    assert KeptPorts(tmp_path, print).of("sshd") > 1023


def test_who_listens_on_a_port_is_told_by_number_and_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert holder_of(server.getsockname()[1]).startswith(f"pid {os.getpid()}, ")
    assert holder_of(free_port()) == ""
