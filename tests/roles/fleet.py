"""Twenty SSH targets, a job whose every step leaves a trace on its target, and what the traces must say."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.services.sshd import SshServer
from tests.roles.harness import Installation, Rows
from tests.roles.rest import Acknowledged, Rest
from tests.support.eventually import eventually

HOSTS = 10
SIZE = 20
GROUPS = 5
JOBS = ("trace", "trace-2", "trace-3", "trace-4")
"""All alike; of several names, so that their runs lie in several shards."""

STEPS = ("first", "second", "third")
IDEMPOTENT = "second"
"""The step that may be started again when its result got lost; the others may not."""

FINAL = {"succeeded", "failed", "cancelled", "timed_out", "lost"}


class FleetServer(SshServer):
    """One OpenSSH server on ten addresses of this machine (it takes at most sixteen): to us, ten machines."""

    @property
    def hosts(self) -> list[str]:
        return [f"127.0.0.{number}" for number in range(1, HOSTS + 1)]

    def prepare(self) -> None:
        super().prepare()
        settings = self.home / "sshd.conf"
        addresses = "\n".join(f"ListenAddress {host}" for host in self.hosts)
        # bash then reads no start-up file of the account's: some take a second a log-in, and wait for each other.
        own = f"{addresses}\nSetEnv SHLVL=5"
        settings.write_text(settings.read_text().replace("ListenAddress 127.0.0.1", own))


@dataclass
class Fleet:
    """The targets of one installation and the folder where steps leave their traces."""

    servers: Sequence[FleetServer]
    traces: Path

    def register(self, rest: Rest) -> None:
        """Credentials, twenty targets in five groups and the jobs."""
        self.traces.mkdir(exist_ok=True)
        for letter, server in zip("ab", self.servers, strict=True):
            secret = {"username": server.user, "private_key": server.private_key}
            rest.write("POST", "/credentials", {"name": f"key-{letter}", "kind": "ssh_key", "secret": secret})
            for number, host in enumerate(server.hosts, 1):
                connection = {"kind": "ssh", "port": server.port, "credential": f"key-{letter}", "host_key": server.host_key}
                labels = {"set": "fleet", "group": str(number % GROUPS)}
                body = {"name": f"{letter}-{number:02}", "host": host, "labels": labels, "connection": connection}
                rest.write("POST", "/targets", body)
        for definition in self.jobs():
            rest.write("POST", "/jobs", definition)

    def jobs(self) -> list[dict[str, object]]:
        """What the fleet is there for."""
        return [self.job(name) for name in JOBS]

    def job(self, name: str) -> dict[str, object]:
        """Three steps; each appends run, step and target to a file of the target before anything else."""
        steps = [
            {
                "name": step, "kind": "command", "timeout_s": 60, "idempotent": step == IDEMPOTENT,
                "run": f"echo {{{{ run.id }}}} {step} {{{{ target.name }}}} >> {self.traces}/{{{{ target.name }}}}; echo done",
            }
            for step in STEPS
        ]  # fmt: skip
        return {"name": name, "targets": "set=fleet", "strategy": {"parallelism": SIZE}, "steps": steps}

    def lines(self) -> Counter[tuple[str, str, str]]:
        """How often each step ran for each run on each target."""
        found: Counter[tuple[str, str, str]] = Counter()
        for file in self.traces.iterdir():
            for line in file.read_text().splitlines():
                run, step, target = line.split()
                assert target == file.name
                found[run, step, target] += 1
        return found


class Load:
    """Starts runs from a few clients at a time, each until it is acknowledged."""

    def __init__(self, rest: Callable[[], Rest], runs: int, clients: int = 4) -> None:
        self._pool = ThreadPoolExecutor(clients, thread_name_prefix="load")
        self._clients = [rest() for _ in range(clients)]
        self._futures: list[Future[None]] = [self._pool.submit(self._some, n, runs, clients) for n in range(clients)]
        self.runs = runs

    def _some(self, number: int, runs: int, clients: int) -> None:
        for run in range(number, runs, clients):
            self._clients[number].write("POST", f"/jobs/{JOBS[run // clients % len(JOBS)]}/runs", {})

    @property
    def acknowledged(self) -> list[Acknowledged]:
        return [done for client in self._clients for done in client.acknowledged]

    def goes_on(self) -> bool:
        """No client has given up; raises what one gave up with."""
        for future in self._futures:
            if future.done():
                future.result()
        return True

    def finish(self, within_s: float) -> list[Acknowledged]:
        """Every acknowledgement, once all are there."""
        for future in self._futures:
            future.result(within_s)
        self._pool.shutdown()
        return self.acknowledged


def finals(rest: Rest) -> Counter[str]:
    """How many runs are in which state."""
    return Counter(run["state"] for run in rest.items("/runs"))


def nothing_lost(rows: Rows, acknowledged: Sequence[Acknowledged]) -> None:
    """Every acknowledged command stands in the log under the version it was acknowledged with."""
    there = {(row["stream"], row["version"]): row["command_id"] for row in rows["events"]}
    missing = [done for done in acknowledged if there.get((done.stream, done.version)) != done.command_id]
    assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged commands are not in the log: {missing[:3]}"


def nothing_doubled(rows: Rows, fleet: Fleet) -> Counter[str]:
    """No step started more often than the log has attempts of it; figures of what happened.

    A step that succeeded ran; a step of one attempt ran at most once, whatever was killed.
    """
    attempts = Counter((row["run"], row["step"], row["target"]) for row in rows["run_steps"])
    succeeded = Counter((row["run"], row["step"], row["target"]) for row in rows["run_steps"] if row["state"] == "succeeded")
    lines = fleet.lines()
    doubled = {key: (count, attempts[key]) for key, count in lines.items() if count > attempts[key]}
    assert not doubled, f"started more often than there are attempts: {dict(list(doubled.items())[:3])}"
    again = [key for key in attempts if attempts[key] > 1 and key[1] != IDEMPOTENT]
    assert not again, f"not idempotent and yet attempted again: {again[:3]}"
    silent = [key for key in succeeded if not lines[key]]
    assert not silent, f"said to have succeeded, and left no trace: {silent[:3]}"
    assert max(succeeded.values()) == 1, "succeeded twice"
    return Counter(row["state"] for row in rows["run_steps"])


def versions_are_gapless(rows: Rows) -> None:
    """Every stream counts 1, 2, 3 …"""
    versions: dict[str, list[int]] = {}
    for row in rows["events"]:
        versions.setdefault(row["stream"], []).append(row["version"])
    gaps = {stream: found for stream, found in versions.items() if sorted(found) != list(range(1, len(found) + 1))}
    assert not gaps, f"versions with gaps: {dict(list(gaps.items())[:3])}"


def same_after_rebuild(installation: Installation) -> None:
    """Every read model built anew equals the one that grew."""
    installation.log_in()  # an event, too
    rest = installation.rest()
    eventually(lambda: caught_up(rest), within=120)
    before = installation.rows()
    rebuilt = installation.command("projections", "rebuild", "--all")
    assert rebuilt.returncode == 0, rebuilt.stderr
    after = installation.rows()
    for table, rows in before.items():
        assert after[table] == rows, f"{table} differs after a rebuild"


def all_final(rest: Rest, runs: int) -> bool:
    """So many runs there are, and every one has ended."""
    states = finals(rest)
    assert sum(states.values()) == runs and set(states) <= FINAL, states
    return True


def caught_up(rest: Rest) -> bool:
    """Every read model has seen everything."""
    lag = {p["name"]: p["lag_events"] for p in rest.get("/projections")["items"]}
    assert lag and not any(lag.values()), lag
    return True
