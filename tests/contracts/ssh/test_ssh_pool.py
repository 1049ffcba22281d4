"""How many connections do steps cost, and what is left of them?"""

import asyncio
import contextlib
import gc
import os
import signal
import threading
from pathlib import Path

import pytest
from fabric import Config

from infra.ssh.host_key import pinned_key
from infra.ssh.opening import Opener
from infra.ssh.settings import SshSettings
from processors.executor.connector import Exited, Killed, Unreachable
from tests.contracts.ssh.conftest import invocation
from tests.contracts.ssh.server import alive
from tests.support.eventually import eventually_async


async def test_steps_after_each_other_share_one_connection(run, own_server, connect):
    server, connector = own_server(), connect()
    for _ in range(5):
        await run(invocation("true"), server=server, connector=connector)
    assert server.log_ins() == 1


async def test_steps_at_once_share_connections_up_to_their_room(run, own_server, connect):
    server, connector = own_server(), connect()
    steps = [run(invocation("sleep 0.3"), server=server, connector=connector) for _ in range(20)]
    assert {ending for ending, _ in await asyncio.gather(*steps)} == {Exited(0)}
    assert server.log_ins() == 3


async def test_a_server_that_allows_fewer_sessions_gets_more_connections(run, own_server, connect):
    server, connector = own_server("MaxSessions 2"), connect()
    steps = [run(invocation("sleep 0.2"), server=server, connector=connector) for _ in range(10)]
    assert {ending for ending, _ in await asyncio.gather(*steps)} == {Exited(0)}


async def test_a_server_that_opens_no_session_is_too_many_connections(run, own_server, connect):
    server = own_server("MaxSessions 0")
    with pytest.raises(Unreachable) as refused:
        await run(invocation("true"), server=server, connector=connect())
    assert refused.value.code == "too_many_connections"


async def test_another_login_never_shares_a_connection(run, own_server, connect):
    server, connector = own_server(), connect()
    await run(invocation("true"), server=server, connector=connector)
    await run(invocation("true"), server=server, connector=connector, login=server.login(fingerprint="deploy@2"))
    assert server.log_ins() == 2


async def test_a_pinned_key_that_was_changed_is_not_served_from_the_pool(run, own_server, connect):
    server, connector = own_server(), connect()
    await run(invocation("true"), server=server, connector=connector)
    with pytest.raises(Unreachable) as refused:
        await run(invocation("true"), connector=connector, endpoint=server.endpoint(host_key=None))
    assert refused.value.code == "host_key_not_pinned"


async def test_a_dead_pooled_connection_is_replaced_in_silence(run, own_server, connect):
    server, connector = own_server(), connect()
    await run(invocation("true"), server=server, connector=connector)
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)
    assert (await run(invocation("echo again"), server=server, connector=connector))[0] == Exited(0)
    assert server.log_ins() == 2


async def test_a_restarted_server_is_reached_again(run, own_server, connect):
    server, connector = own_server(), connect()
    await run(invocation("true"), server=server, connector=connector)
    server.kill()
    server.start()
    assert (await run(invocation("true"), server=server, connector=connector))[0] == Exited(0)


async def test_thirty_log_ins_at_once_pass_a_server_that_refuses_beyond_three(run, own_server, connect):
    server, connector = own_server("MaxStartups 3"), connect()
    steps = [
        run(invocation(f"echo {n}"), server=server, connector=connector, login=server.login(fingerprint=f"deploy@{n}"))
        for n in range(30)
    ]
    endings = await asyncio.gather(*steps)
    assert [sink.stdout for _, sink in endings] == [b"%d\n" % n for n in range(30)]


async def test_a_server_that_hangs_up_for_ever_is_too_many_connections(run, server, connect):
    async def hang_up(_, writer):
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listener:
        endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])
        with pytest.raises(Unreachable) as refused:
            await run(invocation("true"), endpoint=endpoint, connector=connect(refusals_for_s=1.0))
    assert refused.value.code == "too_many_connections"


def test_what_a_connection_reads_is_not_written_to_while_another_is_made(server, monkeypatch):
    """For a moment there is nothing in what is written to: who logged in then failed in a way nobody foresaw."""
    opener, written, merge = Opener(SshSettings()), [], Config.merge
    monkeypatch.setattr(Config, "merge", lambda config: (written.append(config), merge(config))[1])
    made = [opener._prepared(server.endpoint(), server.login(), pinned_key(server.endpoint()))[0] for _ in range(2)]
    assert written, "else this shows nothing"
    assert not any(connection.config is one for connection in made for one in written)
    assert made[0].authentication.strategy_class is None and made[0].user == server.login().username


async def test_of_targets_that_share_a_connection_each_is_told_its_own_failure(run, own_server):
    server = own_server()
    server.kill()

    async def told(number):
        with pytest.raises(Unreachable) as refused:
            await run(
                invocation("true"),
                endpoint=server.endpoint(target=f"web-{number}"),
                login=server.login(fingerprint=f"k{number}@1"),
            )
        return refused.value.message

    messages = await asyncio.gather(*(told(number) for number in range(8)))
    assert messages == [f"web-{n} (127.0.0.1:{server.port}) refuses connections [k{n}@1]" for n in range(8)]


async def test_the_number_of_connections_is_bounded_and_the_oldest_idle_goes(run, own_server, connect):
    server, connector = own_server(), connect(max_connections=2)
    for n in (1, 2, 3, 3, 2, 1):
        await run(invocation("true"), server=server, connector=connector, login=server.login(fingerprint=f"deploy@{n}"))
        assert connector.open_connections <= 2
    assert server.log_ins() == 4


async def test_a_step_beyond_the_bound_waits_for_a_connection(run, own_server, connect):
    server, connector = own_server(), connect(max_connections=1)
    logins = [server.login(fingerprint=f"deploy@{n}") for n in range(3)]
    steps = [run(invocation("sleep 0.2"), server=server, connector=connector, login=login) for login in logins]
    assert {ending for ending, _ in await asyncio.gather(*steps)} == {Exited(0)}


async def test_idle_connections_are_closed(run, own_server, connect):
    server, connector = own_server(), connect(idle_timeout_s=0.4)
    await run(invocation("true"), server=server, connector=connector)

    async def gone():
        assert connector.open_connections == 0
        assert server.sessions() == []

    await eventually_async(gone)


async def test_a_connection_is_replaced_after_so_many_channels(run, own_server, connect):
    server, connector = own_server(), connect(recycle_after_channels=3)
    for _ in range(7):
        assert (await run(invocation("true"), server=server, connector=connector))[0] == Exited(0)
    assert server.log_ins() == 3


class Moody:
    """A way to a server that hangs up on everybody until it is told to let them through."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.open = False
        self.refused = 0

    async def serve(self, reader, writer):
        if not self.open:
            self.refused += 1
            writer.close()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(_pump(reader, forth), _pump(back, writer))


async def _pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_a_cancelled_opener_does_not_take_others_down(begin, server, connect):
    """Two steps wait for the same connection; the one that opens it is cancelled while the server refuses."""
    connector, moody = connect(), Moody(server.port)
    listener = await asyncio.start_server(moody.serve, "127.0.0.1", 0)
    endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])

    async def refused():
        assert moody.refused

    first = begin(invocation("echo 1"), endpoint=endpoint, connector=connector)
    await eventually_async(refused)
    second = begin(invocation("echo 2"), endpoint=endpoint, connector=connector)
    await asyncio.sleep(0.05)
    first.cancelled.set()
    assert await first.ending() == Killed("cancelled")
    moody.open = True
    assert await second.ending() == Exited(0)
    await connector.close()
    listener.close()


def _descriptors() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{path.name} {path.readlink()}")
    return found


async def test_after_close_no_thread_no_descriptor_and_no_remote_process_is_left(run, own_server, connect):
    server = own_server()
    await run(invocation("true"), server=server, connector=connect())  # what a process loads once is loaded now
    connector = connect()
    gc.collect()
    threads, descriptors = set(threading.enumerate()), _descriptors()
    steps = [run(invocation("echo $PPID; sleep 0.2"), server=server, connector=connector) for _ in range(20)]
    leaders = [int(sink.stdout) for _, sink in await asyncio.gather(*steps)]
    with contextlib.suppress(Unreachable):
        await connector.check(server.endpoint(host_key=None), server.login())
    with contextlib.suppress(Unreachable):
        await connector.check(server.endpoint(), server.login(private_key=None, password="x", fingerprint="x@1"))
    await connector.close()

    async def nothing_left():
        new = {thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")}
        assert new == set()
        assert _descriptors() - descriptors == set()
        assert not any(map(alive, leaders))

    await eventually_async(nothing_left)
