"""Can a value become syntax? Real shells answer."""

import os
import shutil
import subprocess
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.job.quoting import SHELLS, reference, refused_places

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
        timeout=60,
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
        ("bash", "[[ @ == a-eq ]]", False),
        ("bash", "[ @ -eq 1 ]", False),
        ("bash", "[[ x -eq 1 ]] && echo @", False),
        ("bash", "[[ @ == b && x -eq 1 ]]", False),
        ("sh", "echo [@]", False),
        ("sh", "echo a[0-9] @", False),
        ("sh", "echo a[ \n@", False),
        ("sh", 'echo "${x:-it\'s}" @', False),
        ("sh", "echo ${x#'}'} @", False),
        ("sh", "echo ${x%)} ${#x} @", False),
        ("sh", "echo ${x:-@}", True),
        ("sh", "grep -v @", False),
        ("sh", "let x=1; echo @", False),
        ("sh", "echo let @", False),
        ("sh", "eval x; printf %s @", False),
        ("powershell", "$a[@]", False),
        ("powershell", "${env:X} @", False),
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
    at = text.index("@")
    assert refused_places(shell, text, [at]) == ({at} if inside else set())


@given(st.sampled_from(SHELLS), st.text("ab'\"\\`$()[]#\n {}", max_size=60), st.data())
def test_any_text_can_be_scanned_and_many_places_at_once_are_judged_as_one_by_one(shell, text, data):
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    assert refused_places(shell, text, places) == {at for at in places if refused_places(shell, text, [at])}


EVALUATED = "a[$(touch ran)]"
"""In bash, arithmetic on a variable of this value runs the command."""


@pytest.mark.parametrize(
    "text",
    [
        "echo $((@))",
        "echo $[@]",
        "a[@]=1",
        "b=(1); echo ${b[@]}",
        "b=abc; echo ${b:@}",
        "[[ @ -eq 1 ]]",
        "[[ 1 -gt @ ]]",
        "[[ -n x && @ -le 3 ]]",
        "[[ -v @ ]]",
        "[ -v @ ]",
        "if test -v @; then :; fi",
        "printf -v @ x",
        "let @",
        "declare -i z=@",
        "true && let x=1 @",
        "eval echo @",
    ],
)
def test_where_bash_would_evaluate_a_value_no_placeholder_may_stand(text, tmp_path):
    script = text.replace("@", reference("bash", "OPS_PARAM_X"))
    environment = {"PATH": os.environ["PATH"], "OPS_PARAM_X": EVALUATED}
    subprocess.run(
        ["/bin/bash"], input=script.encode(), env=environment, cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert (tmp_path / "ran").exists()
    for shell in ("sh", "bash"):
        assert refused_places(shell, text, [text.index("@")])


def test_a_large_script_full_of_placeholders_is_judged_in_one_pass():
    text = "echo {{ run.id }}\n" * 14_000
    began = time.monotonic()
    assert not refused_places("bash", text, range(5, len(text), 18))
    assert time.monotonic() - began < 5
