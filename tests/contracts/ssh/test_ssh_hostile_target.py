"""What can a target do to us that is none, or means us harm? Every call ends in time, and memory stays small."""

import asyncio
import contextlib
import resource
import time

import pytest

from processors.executor.connector import Cancellation, Exited, Unreachable
from tests.contracts.ssh.conftest import invocation

HELLO = b"SSH-2.0-Hostile\r\n"


async def endless_banner(writer):
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def endless_lines(writer):
    while True:
        writer.write(b"hello\r\n" * 1000)
        await writer.drain()


async def drip(writer):
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.1)


async def packet_of_four_gigabytes(writer):
    writer.write(HELLO + b"\xff\xff\xff\xf4\x04\x14")
    await endless_banner(writer)


async def packet_of_no_size(writer):
    writer.write(HELLO + b"\0" * 64)
    await asyncio.sleep(30)


async def noise_after_the_banner(writer):
    writer.write(HELLO)
    while True:
        writer.write(b"\0\0\0\x0c\x0a\x02\0" + b"\0" * 9)
        await asyncio.sleep(0)


async def banner_then_silence(writer):
    writer.write(HELLO)
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    "behaviour",
    [
        endless_banner,
        endless_lines,
        drip,
        packet_of_four_gigabytes,
        packet_of_no_size,
        noise_after_the_banner,
        banner_then_silence,
    ],
)
async def test_whatever_answers_at_the_port_is_given_up_in_time(server, connect, behaviour):
    tasks = []

    async def serve(_, writer):
        tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await behaviour(writer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(Unreachable) as refused:
        await connect(connect_timeout_s=1.0, refusals_for_s=1.0).check(endpoint, server.login())
    assert time.monotonic() - began < 10
    if behaviour is packet_of_four_gigabytes:
        assert refused.value.code == "connect_failed", "not read until the time is over"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000, "kilobytes"
    for task in tasks:
        task.cancel()
    listener.close()


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_server_of_another_kind_is_told_as_what_it_says(server, connect, hangs_up):
    async def greet(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        if not hangs_up:
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])
    with pytest.raises(Unreachable) as refused:
        await connect(connect_timeout_s=1.0).check(endpoint, server.login())
    assert refused.value.code == "connect_failed"
    assert "is no SSH server: it says '220 mail.example ESMTP'" in refused.value.message
    listener.close()


async def test_a_server_that_says_something_before_it_says_what_it_is_is_an_ssh_server(server, connect):
    """As RFC 4253 §4.2 lets it; what fails afterwards is told as that."""

    async def greet(_, writer):
        writer.write(b"Welcome to the bastion\r\n" + HELLO)
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])
    with pytest.raises(Unreachable) as refused:
        await connect(refusals_for_s=1.0).check(endpoint, server.login())
    assert "is no SSH server" not in refused.value.message
    listener.close()


async def test_a_server_that_refuses_for_now_in_words_is_tried_again(server, connect):
    came = []

    async def refuse(_, writer):
        came.append(1)
        writer.write(b"Exceeded MaxStartups\r\n")
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    endpoint = server.endpoint(port=listener.sockets[0].getsockname()[1])
    with pytest.raises(Unreachable) as refused:
        await connect(refusals_for_s=1.0).check(endpoint, server.login())
    assert refused.value.code == "too_many_connections" and len(came) > 1
    listener.close()


async def test_output_without_end_is_drained_until_the_time_is_over_in_little_memory(server, connector):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = 0

    def count(_, data):
        nonlocal taken
        taken += len(data)

    step = invocation("cat /dev/zero & cat /dev/zero >&2", timeout_s=2.0)
    await connector.run(server.endpoint(), server.login(), step, count, Cancellation())
    assert taken > 20_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000, "kilobytes"


async def test_a_login_shell_that_talks_without_end_before_the_step_is_bounded(run, own_server):
    server = own_server('ForceCommand head -c 3000000 /dev/zero; eval "$SSH_ORIGINAL_COMMAND"')
    ending, sink = await run(invocation("echo mine"), server=server)
    assert (ending, sink.stdout) == (Exited(0), b"mine\n")
