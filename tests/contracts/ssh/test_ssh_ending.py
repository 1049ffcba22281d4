"""What becomes of a step on its target when its time is over, it is cancelled, or the connection goes away?"""

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from infra.ssh.payload import payload
from infra.ssh.remote import GREETING, RUN_STEP
from processors.executor.connector import Exited, Killed, Unconfirmed, Unreachable
from tests.contracts.ssh.conftest import both_ways, invocation
from tests.contracts.ssh.server import alive, members
from tests.support.eventually import eventually
from tests.support.frozen import freeze

STUBBORN = "trap '' TERM HUP INT; echo $$; while :; do sleep 0.2; done"


@both_ways
async def test_a_step_whose_time_is_over_is_killed(begin, padding):
    step = begin(invocation("echo $$; sleep 600" + padding, timeout_s=1.5))
    leader = int(await step.sink.until(b"\n"))
    assert await step.ending() == Killed("timed_out")
    assert not alive(leader)


@both_ways
@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_what_a_step_wrote_that_was_ended_is_its_own(begin, shell, padding):
    """A shell whose child dies of a signal says so on its stderr: ours must not."""
    step = begin(invocation("echo up; exec sleep 600" + padding, shell))
    await step.sink.until(b"up")
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert (step.sink.stdout, step.sink.stderr) == (b"up\n", b"")


@both_ways
async def test_a_step_that_ignores_term_is_killed_all_the_same(begin, padding):
    step = begin(invocation(STUBBORN + padding, timeout_s=1.5))
    leader = int(await step.sink.until(b"\n"))
    assert await step.ending() == Killed("timed_out")
    assert not alive(leader)


@both_ways
async def test_a_step_that_cleans_up_on_term_is_given_the_time(begin, tmp_path, padding):
    cleaning = f"sleep 0.5; echo cleaning; echo clean >{tmp_path}/mark; exit 0"
    step = begin(invocation(f"trap '{cleaning}' TERM; echo up; while :; do sleep 0.1; done{padding}"))
    await step.sink.until(b"up\n")
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert (tmp_path / "mark").read_text() == "clean\n"
    assert step.sink.stdout.endswith(b"cleaning\n")


@both_ways
@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_cancelling_kills_the_children_in_the_group(begin, shell, padding):
    script = "sleep 600 & echo $!; (trap '' TERM; while :; do sleep 0.2; done) & echo $!; env -i sleep 600 & echo $! last; wait"
    step = begin(invocation(script + padding, shell))
    children = [int(word) for word in (await step.sink.until(b"last")).split()[:3]]
    assert all(map(alive, children))
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert not any(map(alive, children))


@both_ways
@pytest.mark.parametrize("deaf", ["", "trap : TERM; "])
async def test_cancelling_kills_what_has_left_the_session_with_the_steps_mark(begin, deaf, padding):
    stray = f"setsid sh -c '{deaf}echo $$; while :; do sleep 0.2; done'"
    step = begin(invocation(f"{stray} & wait; sleep 600{padding}"))
    pid = int(await step.sink.until(b"\n"))
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert not alive(pid)


@pytest.mark.parametrize("filler", ["", "# " + "x" * 50_000 + "\n"])
def test_a_step_that_arrives_in_part_never_runs(tmp_path, filler):
    """The connection may end anywhere in the payload; read by lines or in one piece, a part of a script is not run."""
    whole = payload(invocation(f"{filler}touch {tmp_path}/ran\n" * 2, OPS_A="a'b\nc")).data
    cuts = {0, 1, 5, len(whole) - 1, len(whole) - 2, *range(10, len(whole) - 1, max(1, len(whole) // 40))}
    for cut in sorted(cuts):
        done = subprocess.run(
            ["sh", "-c", RUN_STEP], input=whole[:cut], capture_output=True, start_new_session=True, timeout=60, check=False
        )
        complete = b"\n_ops_k=1" in whole[:cut]
        assert complete or (done.returncode and GREETING not in done.stdout), f"cut at {cut} of {len(whole)}"
        assert complete or not (tmp_path / "ran").exists()


@both_ways
async def test_a_step_that_signals_its_own_group_keeps_its_watcher(begin, padding):
    step = begin(invocation("trap : TERM; kill -s TERM 0; echo $$; sleep 600 & sleep 600; :" + padding))
    leader = int(await step.sink.until(b"\n"))
    await asyncio.sleep(0.2)
    assert alive(leader)
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert not alive(leader)


@pytest.mark.parametrize("name", ["TERM", "HUP", "PIPE", "ABRT"])
async def test_a_signal_to_its_group_as_a_steps_first_act_ends_neither_leader_nor_watcher(begin, name):
    """The watcher has only just been started then."""
    script = f"trap : {name}; kill -s {name} 0; set -- $(cut -d' ' -f5 /proc/$$/stat); echo $1; sleep 600"
    steps = [begin(invocation(script)) for _ in range(8)]
    for step in steps:
        group = int(await step.sink.until(b"\n"))
        assert len(members(group)) == 4, "the leader, the watcher, the step and its sleep"
        step.cancelled.set()
    assert {await step.ending() for step in steps} == {Killed("cancelled")}


async def test_a_child_of_a_step_that_signalled_usr1_to_its_group_is_left_alone(run, begin):
    """By that signal the watcher tells the leader to spare it."""
    ending, sink = await run(invocation("trap : USR1; kill -s USR1 0; sleep 600 >/dev/null 2>&1 & echo $!"))
    child = int(sink.stdout)
    try:
        assert ending == Exited(0)
        await run(invocation("sleep 3"))
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_cancelling_before_the_start_starts_nothing(begin, tmp_path):
    step = begin(invocation(f"touch {tmp_path}/mark"))
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert not (tmp_path / "mark").exists()


@both_ways
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.04, 0.08])
async def test_cancelling_at_any_moment_leaves_nothing_running(begin, run, connect, after_s, padding):
    """While it connects, while it is sent, while it starts: afterwards the step is dead or has never lived."""
    step = begin(invocation("sleep 600" + padding), connector=connect())
    await asyncio.sleep(after_s)
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    _, sink = await run(invocation('grep -lsaF "OPS_STEP_MARK=$OPS_ITS:" /proc/[0-9]*/environ; echo', OPS_ITS=step.mark))
    assert sink.stdout == b"\n"


async def test_a_step_waiting_for_a_thread_is_cancelled_at_once(begin, connect, server, tmp_path):
    narrow = connect(threads=1)
    first = begin(invocation("echo up; sleep 600"), connector=narrow)
    await first.sink.until(b"up")
    second = begin(invocation(f"touch {tmp_path}/mark"), connector=narrow)
    await asyncio.sleep(0)
    second.cancelled.set()
    assert await asyncio.wait_for(second.ending(), 60) == Killed("cancelled")
    assert not (tmp_path / "mark").exists()
    first.cancelled.set()
    await first.ending()


@both_ways
async def test_a_cancelled_task_leaves_nothing_running(begin, padding):
    step = begin(invocation("echo $$; sleep 600" + padding))
    leader = int(await step.sink.until(b"\n"))
    step.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step.task
    await asyncio.to_thread(eventually, lambda: not alive(leader))


class Relay:
    """A way to a server that can be cut, or left open and silent."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for one in self._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [client, there]
            for source, sink in ((client, there), (there, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return


@pytest.fixture
def relay(server):
    relay = Relay(server.port)
    yield relay
    relay.close()


@both_ways
@pytest.mark.parametrize("script", ["echo $$; sleep 600", STUBBORN])
async def test_a_connection_that_is_cut_ends_the_step_on_the_target(begin, server, relay, script, padding):
    step = begin(invocation(script + padding), endpoint=server.endpoint(port=relay.port))
    leader = int(await step.sink.until(b"\n"))
    relay.cut()
    assert isinstance(await asyncio.wait_for(step.ending(), 60), Unconfirmed)
    await asyncio.to_thread(eventually, lambda: not alive(leader))


@both_ways
async def test_a_server_that_dies_under_a_step_makes_it_unconfirmed_and_ends_it(begin, own_server, padding):
    server = own_server()
    step = begin(invocation("echo $$; sleep 600" + padding), server=server)
    leader = int(await step.sink.until(b"\n"))
    server.kill()
    assert isinstance(await asyncio.wait_for(step.ending(), 60), Unconfirmed)
    await asyncio.to_thread(eventually, lambda: not alive(leader))


async def test_a_step_whose_end_cannot_be_confirmed_is_unconfirmed(begin, own_server, connect):
    """The server still holds the connection and takes no new one, and the connection's own process no longer answers."""
    server = own_server()
    step = begin(
        invocation("echo $$; sleep 600", timeout_s=1.5),
        server=server,
        connector=connect(answer_timeout_s=0.5, connect_timeout_s=1.0, confirm_timeout_s=1.0, refusals_for_s=1.0),
    )
    leader = int(await step.sink.until(b"\n"))
    stopped = [server.process.pid, *server.sessions()]
    for pid in stopped:
        freeze(pid)
    try:
        assert isinstance(await asyncio.wait_for(step.ending(), 60), Unconfirmed)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    await asyncio.to_thread(eventually, lambda: not alive(leader))


async def test_a_stalled_connection_is_confirmed_over_another_one(begin, own_server, connect):
    server = own_server()
    step = begin(
        invocation("echo $$; sleep 600", timeout_s=1.5),
        server=server,
        connector=connect(answer_timeout_s=0.5, confirm_timeout_s=6.0),
    )
    leader = int(await step.sink.until(b"\n"))
    stalled = server.sessions()
    for pid in stalled:
        freeze(pid)
    try:
        assert await asyncio.wait_for(step.ending(), 60) == Killed("timed_out")
        assert not alive(leader)
    finally:
        for pid in stalled:
            os.kill(pid, signal.SIGCONT)


async def test_a_pooled_connection_that_has_stalled_is_replaced(run, own_server, connect):
    server, patient = own_server(), connect(answer_timeout_s=1.5)
    await run(invocation("true"), server=server, connector=patient)
    stalled = server.sessions()
    for pid in stalled:
        freeze(pid)
    try:
        ending, sink = await asyncio.wait_for(run(invocation("echo again"), server=server, connector=patient), 60)
    finally:
        for pid in stalled:
            os.kill(pid, signal.SIGCONT)
    assert (ending, sink.stdout) == (Exited(0), b"again\n")


async def test_a_server_that_accepts_and_says_nothing_times_out(run, server, connect):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(Unreachable) as refused:
            await run(
                invocation("true"),
                endpoint=server.endpoint(port=silent.getsockname()[1]),
                connector=connect(connect_timeout_s=1.0),
            )
    assert refused.value.code == "connect_timed_out"
    assert time.monotonic() - began < 10


async def test_cancelling_while_a_target_keeps_us_waiting_takes_no_time(begin, server, connect):
    connector = connect(connect_timeout_s=60.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        step = begin(invocation("true"), endpoint=server.endpoint(port=silent.getsockname()[1]), connector=connector)
        accepted, _ = await asyncio.to_thread(silent.accept)
        with accepted:
            step.cancelled.set()
            assert await asyncio.wait_for(step.ending(), 20) == Killed("cancelled")


async def test_closing_ends_running_steps_quickly(begin, connect, own_server):
    server, connector = own_server(), connect()
    step = begin(invocation("echo $$; sleep 600"), server=server, connector=connector)
    leader = int(await step.sink.until(b"\n"))
    await asyncio.wait_for(connector.close(), 30)
    assert isinstance(await asyncio.wait_for(step.ending(), 60), Unconfirmed)
    await asyncio.to_thread(eventually, lambda: not alive(leader))
    with pytest.raises(Unreachable):
        await connector.run(server.endpoint(), server.login(), invocation("true"), step.sink, step.cancelled)
