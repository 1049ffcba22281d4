"""What a step gets to read: references in place of placeholders, and values only ever in the environment."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.job.definition import CommandStep, JobDefinition, ScriptStep
from domain.job.parameters import Parameter
from domain.run.messages import PlannedTarget
from domain.target import SshConnection
from processors.executor.environment import LabelMissing, Rendered, rendered

TARGET = PlannedTarget("web-01", 1, "192.0.2.7", {"env": "prod", "app/zone": "it's; $(x)"}, SshConnection("key"))
PARAMETERS = (Parameter(name="days", type="integer"), Parameter(name="note", type="string", required=False))
PRINT_PYTHON = "import sys; sys.stdout.buffer.write({{ parameters.note }}.encode())"
HOSTILE = ["'; touch /tmp/p;'", "$(id)", "`id`", "a\nb", "-rf", '"', "{{ parameters.days }}", "\\", "${PATH}", "", "x" * 100_000]


def of(step: Any, **values: Any) -> Rendered:
    job = JobDefinition(targets="env=prod", steps=(step,), parameters=PARAMETERS)
    return rendered(job, step, "backup.1", TARGET, values)


def test_every_parameter_with_a_value_and_what_the_script_asks_for_is_in_the_environment():
    step = CommandStep(name="say", run="echo {{ parameters.days }} {{ labels.app/zone }} {{ target.host }} {{ run.id }}")
    ready = of(step, days=7)
    assert ready.environment == {
        "OPS_PARAM_DAYS": "7",
        "OPS_LABEL_app_2fzone": "it's; $(x)",
        "OPS_TARGET_NAME": "web-01",
        "OPS_TARGET_HOST": "192.0.2.7",
        "OPS_RUN_ID": "backup.1",
    }
    assert ready.script == 'echo "${OPS_PARAM_DAYS}" "${OPS_LABEL_app_2fzone}" "${OPS_TARGET_HOST}" "${OPS_RUN_ID}"'


def test_a_parameter_without_a_value_is_empty_where_it_is_asked_for_and_absent_elsewhere():
    assert of(CommandStep(name="say", run="echo {{ parameters.note }}")).environment["OPS_PARAM_NOTE"] == ""
    assert "OPS_PARAM_NOTE" not in of(CommandStep(name="say", run="echo")).environment


def test_a_label_that_the_target_lacks_is_said():
    with pytest.raises(LabelMissing, match="no label role"):
        of(CommandStep(name="say", run="echo {{ labels.role }}"))


def told_by(command: list[str], ready: Rendered) -> str:
    done = subprocess.run([*command, ready.script], env=dict(ready.environment), capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_value_arrives_as_it_is_and_never_as_syntax(shell: str, value: str):
    ready = of(ScriptStep(name="say", shell=shell, body="printf %s {{ parameters.note }}"), note=value)
    assert told_by([shell, "-c"], ready) == value


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_arrives_as_it_is_in_python(value: str):
    ready = of(ScriptStep(name="say", shell="python", body=PRINT_PYTHON), note=value)
    assert told_by([sys.executable, "-I", "-c"], ready) == value


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80))
@settings(max_examples=30, deadline=None)
def test_no_value_is_ever_part_of_the_script(value: str):
    ready = of(CommandStep(name="say", run="printf %s {{ parameters.note }}"), note=value)
    assert ready.script == 'printf %s "${OPS_PARAM_NOTE}"'
    assert told_by(["sh", "-c"], ready) == value
