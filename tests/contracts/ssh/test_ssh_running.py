"""Does a step that runs over SSH arrive, run and report byte by byte?"""

import contextlib
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.ssh.payload import NameRefused
from processors.executor.connector import Exited, Killed, Unreachable
from tests.contracts.ssh.conftest import both_ways, invocation
from tests.contracts.ssh.server import alive, members
from tests.support.eventually import eventually


@pytest.mark.parametrize("shell", ["sh", "bash", "python"])
@pytest.mark.parametrize("code", [0, 1, 77, 255])
async def test_the_exit_code_is_the_scripts_own(run, shell, code):
    script = f"raise SystemExit({code})" if shell == "python" else f"exit {code}"
    ending, _ = await run(invocation(script, shell))
    assert ending == Exited(code)


@both_ways
async def test_a_death_by_signal_is_128_and_its_number(run, padding):
    ending, _ = await run(invocation("kill -s KILL $$" + padding))
    assert ending == Exited(137)


async def test_the_streams_stay_apart_and_keep_their_order(run):
    script = "for i in 1 2 3; do echo out$i; sleep 0.1; echo err$i >&2; sleep 0.1; done"
    ending, sink = await run(invocation(script))
    assert ending == Exited(0)
    assert (sink.stdout, sink.stderr) == (b"out1\nout2\nout3\n", b"err1\nerr2\nerr3\n")
    assert [stream for stream, _ in sink.chunks] == ["stdout", "stderr"] * 3


async def test_bytes_that_are_no_text_arrive_as_they_are(run):
    everything = bytes(range(256))
    ending, sink = await run(invocation(f"import os\nos.write(1, {everything!r})\nos.write(2, {everything[::-1]!r})", "python"))
    assert ending == Exited(0)
    assert (sink.stdout, sink.stderr) == (everything, everything[::-1])


@pytest.mark.parametrize("shell", ["sh", "bash", "python"])
async def test_a_step_reads_nothing_on_its_stdin(run, shell):
    script = "import sys\nprint(repr(sys.stdin.read()))" if shell == "python" else "cat; readlink /proc/self/fd/0"
    ending, sink = await run(invocation(script, shell))
    assert ending == Exited(0)
    assert sink.stdout == (b"''\n" if shell == "python" else b"/dev/null\n")


@both_ways
@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_a_script_sees_no_arguments_and_none_of_our_variables(run, shell, padding):
    ending, sink = await run(invocation('echo $#; set | grep -c "^_ops_"; trap; kill -s INT $$; echo survived' + padding, shell))
    assert ending == Exited(130), "an interrupt ends a step as it would in a terminal"
    assert sink.stdout == b"0\n0\n"


async def test_a_python_step_is_the_main_module(run):
    ending, sink = await run(invocation("print(__name__)\ndef f(): return g()\ndef g(): return 5\nprint(f())", "python"))
    assert (ending, sink.stdout) == (Exited(0), b"__main__\n5\n")


hostile = st.text(
    st.one_of(
        st.sampled_from(list("'\"`$(){}\\\n\r\t -!#&;|<>*?~=%^@[]é漢😀\x01\x1b\x7f\xa0\u2028")),
        st.characters(exclude_characters="\0", exclude_categories=("Cs",)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_hostile_values_arrive_byte_by_byte(run, shell):
    """Many values a step, so that a hundred examples cost one connection and a few steps."""
    batches = []

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(hostile, min_size=20, max_size=20))
    def collect(values):
        batches.append(values)

    collect()
    for values in batches:
        names = [f"OPS_V{i}" for i in range(len(values))]
        script = "\n".join(f"printf '%s\\0' \"${name}\"" for name in names)
        ending, sink = await run(invocation(script, shell, **dict(zip(names, values, strict=True))))
        assert ending == Exited(0)
        assert sink.stdout == b"".join(value.encode() + b"\0" for value in values)


@pytest.mark.parametrize("value", ["", "\n", "'\n\n", "-n", "$(touch /tmp/never)", "`id`", "run.1-1\n", "a'b\"c\\", "\\n%s"])
async def test_awkward_values_arrive_byte_by_byte(run, value):
    ending, sink = await run(invocation('printf "%s|" "$OPS_V"', OPS_V=value))
    assert (ending, sink.stdout) == (Exited(0), value.encode() + b"|")


async def test_a_value_of_100_kb_arrives_whole(run):
    value = ("é'\n$x" * 20_000)[:50_000]
    ending, sink = await run(invocation('printf %s "$BIG"', BIG=value))
    assert (ending, sink.stdout) == (Exited(0), value.encode())


@pytest.mark.parametrize("shell", ["sh", "bash", "python"])
async def test_a_script_of_a_megabyte_arrives_whole(run, shell):
    body = "é'x" * 330_000
    quoted = '"' + body + '"'
    script = (
        f"T={quoted}\nimport sys\nsys.stdout.buffer.write(T.encode())" if shell == "python" else f'T={quoted}\nprintf %s "$T"'
    )
    ending, sink = await run(invocation(script, shell))
    assert ending == Exited(0)
    assert hashlib.sha256(sink.stdout).digest() == hashlib.sha256(body.encode()).digest()


@pytest.mark.parametrize("line", [".", " .", ". ", "last"])
async def test_a_script_that_ends_in_a_here_document_or_holds_what_ends_a_payload_runs(run, line):
    said = f"{line}\n".encode()
    assert (await run(invocation(f"cat <<E\n{line}\nE")))[1].stdout == said
    assert (await run(invocation(f"cat <<E\n{line}\nE\necho done")))[1].stdout == said + b"done\n"
    assert (await run(invocation('echo "$OPS_A"', OPS_A=f"\n{line}\n")))[1].stdout == b"\n" + said + b"\n"


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "BASH_ENV", "IFS", "ENV", "PYTHONPATH", "_ops_s", "A=B", "1A", "A B", "É", ""]
)
async def test_a_name_that_steers_a_program_is_refused_without_its_value(run, name):
    with pytest.raises(NameRefused) as refused:
        await run(invocation("true", **{name: "the-value"}))
    assert "the-value" not in str(refused.value)


async def test_our_own_prefix_is_never_refused(run):
    assert (await run(invocation('echo "$OPS_PATH"', OPS_PATH="x")))[1].stdout == b"x\n"


@pytest.mark.parametrize("both", [False, True])
async def test_twenty_megabytes_on_each_stream_do_not_block(run, both):
    script = "head -c 20000000 /dev/zero >&2" + ("& head -c 20000000 /dev/zero; wait" if both else "; head -c 20000000 /dev/zero")
    ending, sink = await run(invocation(script))
    assert ending == Exited(0)
    assert (len(sink.stdout), len(sink.stderr)) == (20_000_000, 20_000_000)


WAITS_FOR_ALL = """exec python3 -c "
import os
try:
    while True: os.wait()
except ChildProcessError: print('none left')
"
"""


@both_ways
@pytest.mark.parametrize("script", [WAITS_FOR_ALL, "sleep 0.2 & wait; echo none left", "pkill -KILL -P $$; echo none left"])
async def test_a_step_has_no_children_but_its_own(run, script, padding):
    ending, sink = await run(invocation(script + padding))
    assert (ending, sink.stdout) == (Exited(0), b"none left\n")


@both_ways
async def test_a_background_child_that_holds_the_output_is_left_alone(run, padding):
    ending, sink = await run(invocation("sleep 600 & echo $!" + padding))
    child = int(sink.stdout)
    try:
        assert isinstance(ending, Exited)
        assert ending.exit_code == 0
        assert "background" in (ending.note or "")
        assert alive(child)
    finally:
        os.kill(child, 9)


@both_ways
async def test_a_detached_background_child_outlives_the_channel(run, begin, padding):
    ending, sink = await run(invocation("sleep 600 >/dev/null 2>&1 & echo $!" + padding))
    child = int(sink.stdout)
    try:
        assert ending == Exited(0)
        await run(invocation("sleep 0.3"))  # time for a watcher that was not ended to do harm
        assert alive(child)
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize("shell", ["sh", "bash", "python"])
async def test_no_value_and_no_script_shows_in_a_process_list(begin, shell):
    script = "import os\nprint(os.getpid(), flush=True)\n'scriptsecret'; os.system('sleep 600')"
    step = begin(invocation(script if shell == "python" else "echo $$; : scriptsecret; sleep 600; :", shell, TOKEN="valuesecret"))
    leader = int(await step.sink.until(b"\n"))
    lines = [line for line in _command_lines() if b"scriptsecret" in line or b"valuesecret" in line]
    assert alive(leader)
    assert lines == []
    step.cancelled.set()
    await step.ending()


def _command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes())
    return lines


@both_ways
async def test_nothing_of_a_step_that_ended_stays_on_the_target(run, padding):
    _, sink = await run(invocation("cut -d' ' -f5 /proc/$$/stat" + padding))
    group = int(sink.stdout)
    eventually(lambda: not members(group))


async def test_a_shell_that_is_not_there_is_unreachable(run):
    with pytest.raises(Unreachable) as refused:
        await run(invocation("1", "powershell"))
    assert refused.value.code == "shell_not_found"


async def test_a_login_shell_that_runs_nothing_is_unreachable_and_says_so(run, own_server):
    closed = own_server("ForceCommand echo come back later; exit 1")
    with pytest.raises(Unreachable) as refused:
        await run(invocation("true"), server=closed)
    assert refused.value.code == "shell_not_found"
    assert "come back later" in refused.value.message


async def test_what_a_login_shell_says_first_is_not_the_steps_output(run, own_server):
    chatty = own_server('ForceCommand printf "welcome "; eval "$SSH_ORIGINAL_COMMAND"')
    ending, sink = await run(invocation("echo mine"), server=chatty)
    assert (ending, sink.stdout) == (Exited(0), b"mine\n")


@both_ways
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox ash"])
async def test_the_wrapper_runs_in_every_posix_shell(run, own_server, tmp_path, shell, padding):
    """The log-in shell is the one named; /bin/sh is whatever the machine has."""
    if os.system(f"command -v {shell.split()[0]} >/dev/null") != 0:
        pytest.skip(f"no {shell} on this machine")
    script = tmp_path / "login"
    script.write_text(f'#!/bin/sh\nexec {shell} -c "$(printf %s "$SSH_ORIGINAL_COMMAND" | sed "s,/bin/sh,{shell},g")"\n')
    script.chmod(0o755)
    tmp_path.chmod(0o755)
    server = own_server(f"ForceCommand {script}")
    ending, sink = await run(invocation('printf %s "$OPS_V"; exit 3' + padding, OPS_V="a'\n$(b)"), server=server)
    assert (ending, sink.stdout) == (Exited(3), b"a'\n$(b)")


@both_ways
async def test_a_server_that_makes_no_session_gets_one_made(begin, own_server, padding):
    """Killing the group must never reach what the server itself runs in it."""
    server = own_server('ForceCommand sh -c "$SSH_ORIGINAL_COMMAND"; echo survived')
    step = begin(invocation(f"cut -d' ' -f5,6 /proc/$$/stat; echo $PPID; echo up; sleep 600{padding}"), server=server)
    group, session, leader = (await step.sink.until(b"up")).split()[:3]
    assert group == session == leader
    step.cancelled.set()
    assert await step.ending() == Killed("cancelled")
    assert b"survived" in step.sink.stdout


@pytest.mark.parametrize("step", [invocation("echo ok\n.\0\necho no"), invocation("echo $A", A=".\0")], ids=["script", "value"])
async def test_nul_which_a_shell_would_drop_is_never_sent(run, step):
    with pytest.raises(ValueError, match="NUL"):
        await run(step)
