"""How fast do others say `echo ok` to every target? Each function runs once and gives the seconds it took."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from bench.figures import median
from bench.fleet import Fleet
from infra.ssh.command import RemoteCommand
from infra.ssh.opening import Opened, Opener, RefusedForNow
from infra.ssh.settings import SshSettings
from processors.executor.connector import Endpoint, Login

AT_ONCE = 50
WARM_RUNS = 3
_WITHIN_S = 180


class RivalFailed(Exception):
    """A rival did not do what it was measured for; the message is its own."""


def bare(fleet: Fleet) -> tuple[float, float]:
    """Cold and warm: our tuned `fabric.Connection.open` and a lean channel, in threads, and nothing else."""
    opener = Opener(SshSettings())
    login = Login("bench@1", fleet.user, private_key=fleet.private_key)

    def opened(address: str) -> Opened:
        while True:
            try:
                return opener.open(Endpoint(address, address, fleet.port, fleet.host_key), login)
            except RefusedForNow:
                time.sleep(0.05)

    def said(one: Opened) -> None:
        command = RemoteCommand(one.transport, 10)
        command.start("echo ok")
        heard = b""
        while command.exit_code is None or not command.over:
            command.inbox.wait(10)
            heard += b"".join(data for _, data in command.take())
        heard += b"".join(data for _, data in command.take())
        command.close()
        if heard != b"ok\n":
            raise RivalFailed(f"the bare channel heard {heard!r}")

    def cold(address: str) -> Opened:
        one = opened(address)
        said(one)
        return one

    with ThreadPoolExecutor(AT_ONCE) as threads:
        marks = [time.perf_counter()]
        connections = list(threads.map(cold, fleet.addresses))
        marks.append(time.perf_counter())
        for _ in range(WARM_RUNS):
            list(threads.map(said, connections))
            marks.append(time.perf_counter())
    for one in connections:
        one.close()
    return marks[1] - marks[0], median(after - before for before, after in pairwise(marks[1:]))


def _ssh(fleet: Fleet, *more: str) -> list[str]:
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "KexAlgorithms": "curve25519-sha256",
        "UserKnownHostsFile": str(fleet.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *given, *more, "-i", str(fleet.key_file), "-p", str(fleet.port)]


def ssh_by_xargs(fleet: Fleet, *more: str) -> float:
    """`ssh … echo ok`, so many at once."""
    command = ["xargs", "-P", str(AT_ONCE), "-I{}", *_ssh(fleet, *more), f"{fleet.user}@{{}}", "echo ok"]
    return _timed(command, "\n".join(fleet.addresses), "ok\n" * len(fleet.addresses))


def ssh_control_master(fleet: Fleet, folder: Path) -> float:
    """The same over connections that are open already."""
    folder.mkdir()
    kept = ("-o", f"ControlPath={folder}/%h", "-o", "ControlPersist=60")
    try:
        ssh_by_xargs(fleet, "-o", "ControlMaster=auto", *kept)
        return ssh_by_xargs(fleet, "-o", "ControlMaster=auto", *kept)
    finally:
        for address in fleet.addresses:
            ending = [*_ssh(fleet, *kept, "-O", "exit"), f"{fleet.user}@{address}"]
            subprocess.run(ending, capture_output=True, timeout=20, check=False)


def ansible(fleet: Fleet, folder: Path, module: str) -> tuple[float, float]:
    """Cold and warm (its own kept connections)."""
    folder.mkdir()
    hosts = "\n".join(f"t{n} ansible_host={address}" for n, address in enumerate(fleet.addresses))
    shared = {
        "ansible_port": fleet.port,
        "ansible_user": fleet.user,
        "ansible_ssh_private_key_file": fleet.key_file,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    variables = "".join(f"{name}={value}\n" for name, value in shared.items())
    (folder / "hosts").write_text(f"[all]\n{hosts}\n[all:vars]\n{variables}")
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_SSH_ARGS": f"-F none -o ControlMaster=auto -o ControlPersist=60 -o UserKnownHostsFile={fleet.known_hosts}"
        " -o KexAlgorithms=curve25519-sha256",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = ["ansible", "all", "-i", str(folder / "hosts"), "-f", str(AT_ONCE), "-m", module, "-a", "echo ok"]
    cold = _timed(command, "", None, environment)
    return cold, _timed(command, "", None, environment)


def _timed(command: Sequence[str], given: str, expected: str | None, environment: Mapping[str, str] | None = None) -> float:
    began = time.perf_counter()
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_WITHIN_S, check=False, env=environment)
    took = time.perf_counter() - began
    if ran.returncode or (expected is not None and ran.stdout != expected):
        raise RivalFailed(f"{command[0]} ended with {ran.returncode}: {(ran.stdout[-300:] + ran.stderr[-600:])}")
    return took
