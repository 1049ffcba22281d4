"""How long does `echo ok` take on a hundred targets: a whole recorded run of ours, beside others in the same run?

A run of ours is planned, its intents are durable before a step starts, its output is masked and recorded; the others only run the
command. Cold is with no connection open, warm the time after. Everybody works on 50 targets at a time.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import rivals
from bench.figures import Line, at_least, at_most, median
from bench.fleet import Fleet, fleet
from bench.rivals import AT_ONCE, WARM_RUNS, ansible, bare, ssh_by_xargs, ssh_control_master
from bench.server import Server, server


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured."""

    targets: int
    rounds: int
    ansible_rounds: int


def measure(folder: Path, amounts: Amounts) -> tuple[list[Line], dict[str, Any]]:
    """The rows of the report and the single measurements, in seconds."""
    raw: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            raw.setdefault(name, []).append(value)

    folder.chmod(0o755)
    with fleet(folder, amounts.targets) as targets:
        home = folder / "home"
        with server(home) as first:
            _set_up(first, targets)
        for number in range(amounts.rounds):
            note(**_ours(home))
            cold, warm = bare(targets)
            note(bare_cold=cold, bare_warm=warm)
            note(ssh_cold=ssh_by_xargs(targets), ssh_warm=ssh_control_master(targets, folder / f"c{number}"))
            if number < amounts.ansible_rounds:
                for module in ("raw", "command"):
                    cold, warm = ansible(targets, folder / f"a{number}{module[0]}", module)
                    note(**{f"ansible_{module}_cold": cold, f"ansible_{module}_warm": warm})
    return _lines(raw), raw


def _set_up(running: Server, targets: Fleet) -> None:
    secret = {"username": targets.user, "private_key": targets.private_key}
    running.call("POST", "/api/v1/credentials", {"name": "bench", "kind": "ssh_key", "secret": secret})
    for number, address in enumerate(targets.addresses):
        connection = {"kind": "ssh", "port": targets.port, "credential": "bench", "host_key": targets.host_key}
        target = {"name": f"t-{number:03}", "host": address, "labels": {"env": "bench"}, "connection": connection}
        running.call("POST", "/api/v1/targets", target)
    step = {"name": "say", "kind": "command", "run": "echo ok"}
    strategy = {"parallelism": AT_ONCE}
    running.call("POST", "/api/v1/jobs", {"name": "say-ok", "targets": "env=bench", "strategy": strategy, "steps": [step]})


def _ours(home: Path) -> dict[str, float]:
    """A fresh process has no connection open; the runs after its first find them all."""
    measured: dict[str, list[float]] = {}
    with server(home) as running:
        for name in ("cold", *(["warm"] * WARM_RUNS)):
            began, cpu = perf_counter(), running.cpu_s()
            read = running.run("say-ok")
            measured.setdefault(f"ours_{name}", []).append(perf_counter() - began)
            measured.setdefault(f"ours_{name}_cpu", []).append(running.cpu_s() - cpu)
            if read["state"] != "succeeded":
                raise rivals.RivalFailed(f"our run ended as {read['state']}: {_not_succeeded(running, read['id'])}")
    return {name: median(values) for name, values in measured.items()}


def _not_succeeded(running: Server, run: str) -> list[Any]:
    steps = running.call("GET", f"/api/v1/runs/{run}/steps?limit=1000")["items"]
    return [step for step in steps if step["state"] != "succeeded"]


def _lines(raw: dict[str, list[float]]) -> list[Line]:
    of = {name: median(values) for name, values in raw.items()}
    cold, warm = of["ours_cold"], of["ours_warm"]
    lines = [
        at_most("cold: a whole run, beside bare fabric open + lean channel", cold, of["bare_cold"], "s", 1.25),
        at_most("cold: beside ssh by xargs (curve25519)", cold, of["ssh_cold"], "s", 1),
        at_most("warm: beside the bare lean channel", warm, of["bare_warm"], "s", 3),
        at_most("warm: beside ssh ControlMaster by xargs", warm, of["ssh_warm"], "s", 1),
    ]
    if "ansible_raw_cold" in of:
        lines += [
            _faster("cold: ansible raw", of["ansible_raw_cold"], cold, 3),
            _faster("cold: ansible command", of["ansible_command_cold"], cold, 10),
            _faster("warm: ansible raw", of["ansible_raw_warm"], warm, 8),
            Line("warm: ansible command beside ours", of["ansible_command_warm"], warm, "s"),
        ]
    return [
        *lines,
        Line("our server's CPU, cold beside warm", of["ours_cold_cpu"], of["ours_warm_cpu"], "s"),
    ]


def _faster(what: str, theirs: float, ours: float, factor: float) -> Line:
    """Here the rival stands first: so many times as long as ours."""
    return at_least(f"{what}, beside ours", theirs, ours, "s", factor)


def has_ansible() -> bool:
    """Whether the program is installed here."""
    return shutil.which("ansible") is not None
