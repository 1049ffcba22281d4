"""Can a value become syntax? Real shells answer."""

import os
import random
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.job.placement import AS_CODE, EVALUATED, IN_EXPANSION, TYPED
from domain.job.quoting import SHELLS, reference, refused_places
from domain.job.shell_reading import refused_ranges
from domain.job.shell_state import Reading
from domain.job.template import names_in, referring, variable_of
from tests.domain import shell_scripts

HOSTILE = "a b'; touch p #$(touch p)`touch p`\"&|<>\\ *?~!%{{x}}${IFS}\u2019\u2018\u201c\u201dé\nsecond -rf\r\n\t\x7f"
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200)
PIECES = (
    "a[",
    "]",
    "$(touch ran)",
    "`touch ran`",
    "touch ran",
    "'",
    '"',
    "\\",
    "\n",
    " ",
    "-v",
    "-n",
    "=1",
    "(",
    ")",
    "{",
    "}",
    ";",
    "EOF",
    "!",
)
EVIL = [
    HOSTILE,
    "a[$(touch ran)]",
    "a[$(touch ran)]=1",
    "-v",
    "!",
    "(",
    "$(touch ran)",
    "'; touch ran; '",
    "'; touch ran #",
    '"; touch ran; "',
    "([$(touch ran)]=1)",
    "($(touch ran))",
    "touch ran",
    "touch",
    "-c",
    "\ntouch ran\n",
    "",
    "-n",
    "x" * 100_000,
]
ENGINES = {"bash": ["bash"], "dash": ["dash"], "busybox": ["busybox", "sh"]}
PLACEHOLDER, NUMBER = "{{ parameters.x }}", "{{ parameters.n }}"


def script_of(text):
    return text.replace("@(", "\x00").replace("@", PLACEHOLDER).replace("\x00", "@(").replace("%N", NUMBER).replace("§", "@")


def refused(text, shell="bash"):
    """The code for each placeholder that is refused in a script of the tables."""
    text = script_of(text)
    found, _ = refused_places(shell, text, names_in(text), {"parameters.n"})
    return {number: reason.code for number, reason in found.items()}


def run(engine, text, value, folder):
    script = referring(script_of(text), lambda name: reference("bash", variable_of(name)))
    environment = {
        "PATH": os.environ["PATH"],
        "SHELL": "/bin/bash",
        "OPS_PARAM_X": value,
        "OPS_PARAM_N": "7",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        ENGINES[engine], input=script.encode(), env=environment, cwd=folder, capture_output=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which nothing may appear."""
    return tmp_path_factory.mktemp("values")


@pytest.mark.parametrize("text", shell_scripts.ACCEPTED)
def test_where_a_value_stays_a_value_a_placeholder_may_stand(text):
    assert (refused(text, "sh"), refused(text)) == ({}, {})


@pytest.mark.parametrize("text", shell_scripts.ACCEPTED_IN_BASH)
def test_the_same_in_what_only_bash_knows(text):
    assert refused(text) == {}


def arrives(engine, value, folder):
    """Every accepted script, each in a subshell of its own, prints the value byte for byte and does nothing else."""
    forms = shell_scripts.ACCEPTED + (shell_scripts.ACCEPTED_IN_BASH if engine == "bash" else [])
    for begin in range(0, len(forms), 40):
        some = forms[begin : begin + 40]
        done = run(engine, "\n".join(f"(\n{form}\n)" for form in some), value, folder)
        printed = done.stdout.split(b"\0")[:-1]
        wrong = [form for form, text in zip(some, printed, strict=False) if text != value.encode()]
        assert not wrong and len(printed) == len(some), (wrong, done.stderr[-500:])
    assert os.listdir(folder) == []


@pytest.mark.parametrize("value", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize("engine", ENGINES)
def test_each_accepted_script_gets_a_hostile_value_byte_for_byte_and_runs_nothing_of_it(engine, value, folder):
    arrives(engine, value, folder)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=15, deadline=None)
@given(VALUES | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_each_accepted_script_gets_any_value_byte_for_byte_and_runs_nothing_of_it(engine, folder, value):
    arrives(engine, value, folder)


@pytest.mark.parametrize("text", shell_scripts.EVALUATED + shell_scripts.RUN)
def test_where_bash_would_run_a_value_no_placeholder_may_stand(text, tmp_path):
    for value in EVIL:
        run("bash", text, value, tmp_path)
    assert (tmp_path / "ran").exists(), "this script is harmless"
    places = len(names_in(script_of(text)))
    assert set(refused(text)) == set(refused(text, "sh")) == set(range(places))


@pytest.mark.parametrize(("text", "engine"), shell_scripts.RUN_ELSEWHERE.items())
def test_where_another_shell_would_run_a_value_no_placeholder_may_stand_in_sh(text, engine, tmp_path):
    for value in EVIL:
        run(engine, text, value, tmp_path)
    assert (tmp_path / "ran").exists(), "this script is harmless"
    assert refused(text, "sh")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_script_put_together_at_random_runs_nothing_of_a_value_where_it_is_accepted(engine, tmp_path):
    chance, tried = random.Random(7), 0
    while tried < 60:
        text = "".join(chance.choices(shell_scripts.BITS, k=chance.randint(3, 14)))
        if "@" not in text.replace("@(", "") or refused(text, "bash" if engine == "bash" else "sh"):
            continue
        tried += 1
        for value in ("a[$(touch ran)]", "$(touch ran)", "touch ran", "touch", "'; touch ran #", "-v"):
            run(engine, text, value, tmp_path)
            assert not (tmp_path / "ran").exists(), (text, value)


@pytest.mark.parametrize(("text", "code"), shell_scripts.OTHERWISE_WRONG.items(), ids=range(len(shell_scripts.OTHERWISE_WRONG)))
def test_where_a_value_would_be_a_name_code_or_unclear_no_placeholder_may_stand(text, code):
    assert code in refused(text).values()
    assert refused(text, "sh")


def test_digits_may_stand_where_other_values_would_be_evaluated_but_not_in_quotes():
    for text in ("[[ % -eq 1 ]]", "let n=%", "declare -i n=%", "[ % -eq 1 ]", "RANDOM=%"):
        assert refused(text.replace("%", "@"), "sh") and not refused(text.replace("%", "%N"), "sh"), text
    assert refused("echo $((%N))") == {0: IN_EXPANSION.code}
    assert {reason.code for reason in (EVALUATED, AS_CODE, TYPED) if reason.numbers_may} == {
        "placeholder_evaluated",
        "placeholder_as_code",
        "placeholder_assigned_typed",
    }


SCRIPTS = {"python": (shutil.which("python3"), "import sys; sys.stdout.buffer.write(({value}).encode())")}


@settings(max_examples=25, deadline=None)
@example(HOSTILE)
@example("-rf")
@given(VALUES)
def test_a_value_arrives_byte_for_byte_in_python(value):
    program, template = SCRIPTS["python"]
    script = template.format(value=reference("python", "OPS_PARAM_X"))
    environment = {"PATH": os.environ["PATH"], "OPS_PARAM_X": value}
    done = subprocess.run([program, "-"], input=script.encode(), env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, value.encode(), b"")


def test_the_powershell_reference_is_a_variable_and_no_string():
    assert reference("powershell", "OPS_PARAM_X") == "${env:OPS_PARAM_X}"


@pytest.mark.parametrize(
    ("shell", "text", "inside"),
    [
        ("sh", "echo 'a' @ 'b'", False),
        ("sh", 'echo "a"@"b"', False),
        ("sh", 'echo "$(cat "@")"', True),
        ("sh", 'echo "$(cat x) @"', True),
        ("sh", r'echo "\"@"', True),
        ("sh", r"echo 'a\' @", False),
        ("sh", "echo a#'b @'", True),
        ("sh", "echo $'it\\'s' @", True),
        ("bash", "echo $'it\\'s' @", False),
        ("sh", "grep -v @", False),
        ("sh", "let x=1; echo @", False),
        ("sh", "echo let @", False),
        ("sh", "eval x; printf x @", False),
        ("sh", "useradd -m -s /bin/bash -c @ @", False),
        ("sh", "sudo -u @ systemctl restart @", False),
        ("sh", "sudo -u @ env A=@ nice -n 5 make B=@", False),
        ("sh", "docker exec @ ls @", False),
        ("sh", "find @ -name @ -exec rm {} \\;", False),
        ("sh", "find . -exec test -e {} \\; -exec cp {} @ \\; -name @", False),
        ("sh", "docker exec -i web sh -c 'cat > f' < @", False),
        ("sh", 'timeout @ "$DIR"/tool @', False),
        ("sh", "ssh -p 22 web%@ uptime", False),
        ("sh", "docker inspect --format {{.Name}} @", False),
        ("powershell", "$a[@]", False),
        ("powershell", "${env:X} @", False),
        ("powershell", "Write '`'@", False),
        ("powershell", 'Write "`"@"', True),
        ("powershell", 'Write "a""@"', True),
        ("powershell", 'Write "a $(Get @) b" @', False),
        ("powershell", 'Write "a $(Get (x)) @"', True),
        ("powershell", "Write %'\nit's @\n'%", True),
        ("powershell", "# it's\n<# \" #> Write @", False),
        ("powershell", "Write \u2018@\u2019", True),
        ("powershell", "Write `@", True),
        ("python", "print(@)", False),
        ("python", "print('@')", True),
        ("python", "'''it's''' + @", False),
        ("python", '"""a "quoted" @"""', True),
        ("python", r"'\'@'", True),
        ("python", "# it's\n@", False),
        ("python", "f'{@}'", True),
    ],
)
def test_a_placeholder_may_not_stand_in_quotes(shell, text, inside):
    text = text.replace("@", PLACEHOLDER).replace("%", "@")
    found, _ = refused_places(shell, text, names_in(text))
    assert bool(found) is inside


@given(st.sampled_from(SHELLS), st.text("ab'\"\\`$()[]#\n {}<E;&|=!", max_size=80), st.data())
def test_any_text_can_be_read_and_is_read_in_no_more_steps_than_it_has_characters(shell, text, data):
    for at in sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)), reverse=True):
        text = text[:at] + PLACEHOLDER + text[at:]
    found, steps = refused_places(shell, text, names_in(text))
    assert set(found) <= set(range(len(names_in(text)))) and steps <= len(text) + 1


PATTERNS = [
    *(
        "$(",
        '"$(',
        "$((",
        "((",
        "(",
        "a ",
        "a;",
        "' '",
        '"',
        "${a:-",
        "`a`",
        "\\a",
        "# x\n",
        "[[ a ]]\n",
        "[[ ",
        "a[1]=",
        "a=(b)\n",
    ),
    *(
        "case a in a) ",
        "case a in a) ;; esac\n",
        "<<E\nE\n",
        "cat <<E\n$(a)\nE\n",
        "cat <<E ",
        "@(",
        ")",
        "{a,b}",
        "for x in a; do\n",
    ),
    *(
        "f()\n",
        "> f ",
        "eval x\n",
        "env -u x ",
        "find -exec ",
        "[ a = b ]\n",
        "$'a'",
        "$[",
        ";;",
        "sh -c ",
        "\\\n",
        "#\n",
        "'\\''",
    ),
    *(f"echo {PLACEHOLDER}\n", f"$({PLACEHOLDER}", f'eval "$({PLACEHOLDER} ', f"[[ {PLACEHOLDER} ", f"# {PLACEHOLDER}\n"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_twice_the_text_takes_about_twice_the_steps(pattern):
    def steps(size):
        text = f"echo {PLACEHOLDER}\n" + pattern * (size // len(pattern))
        reading = Reading(text, names_in(text), True, 1_000_000)
        refused_ranges(reading)
        return reading.steps

    assert steps(16_384) <= 16_400 and steps(32_768) <= 2 * steps(16_384) + 100


def test_what_takes_too_many_steps_is_refused_and_not_read_to_the_end():
    text = f"echo {PLACEHOLDER}\n" + "a;" * 1000 + f"\necho {PLACEHOLDER}"
    for shell, more in (("bash", ""), ("python", "''\n" * 1000), ("powershell", "''\n" * 1000)):
        found, steps = refused_places(shell, more + text, names_in(text), (), 100)
        assert steps <= 101 and 1 in found and found[1].code == "placeholder_unclear", shell
