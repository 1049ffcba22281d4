"""Can a value become syntax? Real shells answer."""

import os
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.job.quoting import SHELLS, inside_quotes, reference

HOSTILE = "a b'; touch p #$(touch p)`touch p`\"&|<>\\ *?~!%{{x}}${IFS}\u2019\u2018\u201c\u201dé\nsecond -rf\r\n\t\x7f"
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200)

SCRIPTS = {
    "sh": ("/bin/sh", "printf %s {value}"),
    "bash": ("/bin/bash", "printf %s {value}"),
    "python": (shutil.which("python3"), "import sys; sys.stdout.buffer.write(({value}).encode())"),
}


@pytest.mark.parametrize("shell", SCRIPTS)
@settings(max_examples=25, deadline=None)
@example(HOSTILE)
@example("-rf")
@example("$(( $(touch p) ))")
@given(VALUES)
def test_a_value_arrives_byte_for_byte_in_a_real_shell(shell, value):
    program, template = SCRIPTS[shell]
    script = template.format(value=reference(shell, "OPS_PARAM_X"))
    environment = {"PATH": os.environ["PATH"], "OPS_PARAM_X": value}
    done = subprocess.run(
        [program, "-"] if shell == "python" else [program],
        input=script.encode(),
        env=environment,
        capture_output=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, value.encode(), b"")


def test_the_powershell_reference_is_a_variable_and_no_string():
    assert reference("powershell", "OPS_PARAM_X") == "${env:OPS_PARAM_X}"


@pytest.mark.parametrize(
    ("shell", "text", "inside"),
    [
        ("sh", "echo @", False),
        ("sh", "echo '@'", True),
        ("sh", 'echo "@"', True),
        ("sh", "echo 'a' @ 'b'", False),
        ("sh", 'echo "a"@"b"', False),
        ("sh", 'echo "$(cat @)"', False),
        ("sh", 'echo "$(cat "@")"', True),
        ("sh", "echo \"$(cat '@')\"", True),
        ("sh", 'echo "$(cat x) @"', True),
        ("sh", r"echo \" @", False),
        ("sh", r'echo "\"@"', True),
        ("sh", r"echo 'a\' @", False),
        ("sh", "# it's\necho @", False),
        ("sh", "echo a#'b @", True),
        ("sh", 'echo "\'" @', False),
        ("sh", "echo $((1+@))", True),
        ("sh", "echo $((1+(2*3)))@", False),
        ("sh", "echo $(( (1+2) * @ ))", True),
        ("sh", 'echo $(( $(cat "x") + @ ))', True),
        ("bash", "(( x = @ ))", True),
        ("bash", "((a); b) @", False),
        ("bash", "f() { echo @; }", False),
        ("bash", 'case "$x" in a) echo @;; esac', False),
        ("powershell", "Write '`'@", False),
        ("powershell", 'Write "`"@"', True),
        ("powershell", 'Write "a""@"', True),
        ("python", "print(@)", False),
        ("python", "print('@')", True),
        ("python", "'''it's''' + @", False),
        ("python", '"""a "quoted" @"""', True),
        ("python", r"'\'@'", True),
        ("python", "# it's\n@", False),
        ("python", "f'{@}'", True),
    ],
)
def test_a_placeholder_may_not_stand_in_quotes_or_arithmetic(shell, text, inside):
    assert inside_quotes(shell, text, text.index("@")) is inside


@given(st.sampled_from(SHELLS), st.text("ab'\"\\`$()#\n {}", max_size=60), st.data())
def test_any_text_can_be_scanned_at_any_place(shell, text, data):
    assert inside_quotes(shell, text, data.draw(st.integers(0, len(text)))) in (True, False)
