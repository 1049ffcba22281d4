"""When may a job be defined, revised and archived, and what is wrong with a definition?"""

from dataclasses import replace

import pytest

from domain.job.decide import ArchiveJob, DefineJob, JobArchived, JobDefined, JobRevised, JobState, ReviseJob, fold
from domain.job.definition import (
    MAX_FILLED,
    MAX_JOB_SECONDS,
    MAX_PLACEHOLDERS,
    MAX_SCRIPT,
    MAX_SCRIPTS,
    MAX_STEPS,
    CommandStep,
    JobDefinition,
    Retries,
    ScriptStep,
    Strategy,
    check_definition,
    environment_names,
    share_of,
)
from domain.job.parameters import Parameter
from domain.job.quoting import MOST_STEPS
from domain.rejection import Invalid
from tests.support.specification import given

ROTATE = "job/rotate"
STEP = CommandStep(name="rotate", run="logrotate -f {{ parameters.file }}")
FILE = Parameter(name="file", type="string")
JOB = JobDefinition(targets="env=prod", steps=(STEP,), parameters=(FILE,))
DEFINED = JobDefined("rotate", 1, JOB)
OTHER = replace(JOB, title="Other")


def test_a_defined_job_begins_at_revision_1():
    given(ROTATE, []).when(DefineJob("rotate", JOB)).then([DEFINED])


def test_a_name_once_taken_stays_taken():
    given(ROTATE, [DEFINED]).when(DefineJob("rotate", JOB)).then_rejected("job_exists")
    given(ROTATE, [DEFINED, JobArchived()]).when(DefineJob("rotate", JOB)).then_rejected("job_exists")


def test_each_revision_counts_on_and_an_equal_one_is_no_revision():
    history = given(ROTATE, [DEFINED]).when(ReviseJob(OTHER)).then([JobRevised(2, OTHER)])
    given(ROTATE, history).when(ReviseJob(OTHER)).then_nothing()
    given(ROTATE, history).when(ReviseJob(JOB)).then([JobRevised(3, JOB)])


def test_an_archived_job_changes_no_more():
    archived = given(ROTATE, [DEFINED]).when(ArchiveJob()).then([JobArchived()])
    given(ROTATE, archived).when(ArchiveJob()).then_rejected("job_archived")
    given(ROTATE, archived).when(ReviseJob(OTHER)).then_rejected("job_archived")


def test_what_was_never_defined_is_not_found():
    given(ROTATE, []).when(ArchiveJob()).then_rejected("job_not_found")
    given(ROTATE, []).when(ReviseJob(JOB)).then_rejected("job_not_found")


def step(**more):
    return CommandStep(**{"name": "s", "run": "true", **more})


def script(body, shell="sh"):
    return ScriptStep(name="s", body=body, shell=shell)


FAULTS = [
    ({"targets": ""}, ["targets"]),
    ({"targets": "==="}, ["targets"]),
    ({"title": "\n"}, ["title"]),
    ({"timeout_s": 0.5}, ["timeout_s"]),
    ({"timeout_s": MAX_JOB_SECONDS + 1}, ["timeout_s"]),
    ({"timeout_s": float("nan")}, ["timeout_s"]),
    ({"strategy": Strategy(parallelism=0)}, ["strategy.parallelism"]),
    ({"strategy": Strategy(parallelism=1001)}, ["strategy.parallelism"]),
    ({"strategy": Strategy(batch_size=0)}, ["strategy.batch_size"]),
    ({"strategy": Strategy(batch_size="0%")}, ["strategy.batch_size"]),
    ({"strategy": Strategy(batch_size="101%")}, ["strategy.batch_size"]),
    ({"strategy": Strategy(batch_size="25")}, ["strategy.batch_size"]),
    ({"strategy": Strategy(batch_size="٢٥%")}, ["strategy.batch_size"]),
    ({"strategy": Strategy(batch_size=True)}, ["strategy.batch_size"]),
    ({"strategy": Strategy(max_failures=-1, batch_size="")}, ["strategy.batch_size", "strategy.max_failures"]),
    ({"parameters": (FILE, FILE)}, ["parameters.1.name"]),
    ({"steps": ()}, ["steps"]),
    ({"steps": tuple(step(name=f"s{n}") for n in range(MAX_STEPS + 1))}, ["steps"]),
    ({"steps": (step(name="No Slug"),)}, ["steps.0.name"]),
    ({"steps": (step(), step())}, ["steps.1.name"]),
    ({"steps": (step(timeout_s=0),)}, ["steps.0.timeout_s"]),
    ({"steps": (step(timeout_s=86_401),)}, ["steps.0.timeout_s"]),
    ({"steps": (step(retries=Retries(-1)),)}, ["steps.0.retries.max"]),
    ({"steps": (step(retries=Retries(21, -1)),)}, ["steps.0.retries.max", "steps.0.retries.backoff_s"]),
    ({"steps": (step(run=" \n"),)}, ["steps.0.run"]),
    ({"steps": (step(run="x" * (MAX_SCRIPT + 1)),)}, ["steps.0.run"]),
    ({"steps": (script(""),)}, ["steps.0.body"]),
    ({"steps": (script("x", "fish"),)}, ["steps.0.shell"]),
    ({"steps": (step(run="echo {{ parameters.unknown }}"),)}, ["steps.0.run"]),
    ({"steps": (step(run="echo {{ secret }}"),)}, ["steps.0.run"]),
    ({"steps": (step(run="echo {{ target.password }}"),)}, ["steps.0.run"]),
    ({"steps": (step(run="echo {{ labels.a-. }}"),)}, []),
    ({"steps": (step(run="echo '{{ parameters.file }}'"),)}, ["steps.0.run"]),
    ({"steps": (step(run="echo $(( {{ parameters.file }} ))"),)}, ["steps.0.run"]),
    ({"steps": (script("print('{{ run.id }}')", "python"),)}, ["steps.0.body"]),
    (
        {"targets": "", "steps": (step(run="{{ x }}"), script("'{{ run.id }}' {{ y }}"))},
        ["targets", "steps.1.name", "steps.0.run", "steps.1.body", "steps.1.body"],
    ),
    (
        {"steps": (step(run="echo {{ target.name }} {{ target.host }} {{ run.id }} {{ labels.app/x }} {{ parameters.file }}"),)},
        [],
    ),
    ({"steps": (step(run="{{ parameters.file }} --version"),)}, ["steps.0.run"]),
    ({"steps": (script("cat <<EOF\n{{ parameters.file }}\nEOF"),)}, ["steps.0.body"]),
    ({"steps": (script("[[ {{ parameters.file }} -eq 1 ]]", "bash"),)}, ["steps.0.body"]),
    ({"steps": (script("[[ {{ parameters.n }} -eq 1 ]]", "bash"),), "parameters": (Parameter(name="n", type="integer"),)}, []),
    ({"steps": (step(run="{{ run.id }}" * (MAX_SCRIPT // 11)), script("echo '{{ run.id }}'"))}, ["steps.1.name", "steps.0.run"]),
    ({"steps": (step(run="echo" + " {{ run.id }}" * MAX_PLACEHOLDERS),)}, []),
    ({"steps": (step(run="echo" + " {{ run.id }}" * (MAX_PLACEHOLDERS + 1)),)}, ["steps.0.run"]),
    (
        {"steps": (step(run="echo" + " {{ run.id }}" * 600), replace(step(run="echo" + " {{ run.id }}" * 600), name="t"))},
        ["steps.1.run"],
    ),
    ({"steps": tuple(replace(step(run="#" * MAX_SCRIPT), name=f"s{n}") for n in range(4))}, []),
    ({"steps": tuple(replace(step(run="#" * (MAX_SCRIPTS // 5 + 1)), name=f"s{n}") for n in range(5))}, ["steps"]),
    (
        {"steps": tuple(replace(step(run="echo {{ run.id }} #" + "#" * (MAX_FILLED // 2)), name=f"s{n}") for n in range(2))},
        ["steps.1.run"],
    ),
    (
        {"steps": tuple(replace(step(run="a;" * (MOST_STEPS // 4) + "echo {{ run.id }}"), name=f"s{n}") for n in range(2))},
        ["steps.1.run"],
    ),
    ({"strategy": Strategy("100%", 1, "0%"), "timeout_s": 1, "concurrency": "queue"}, []),
    ({"strategy": Strategy(1_000_000, 1000, 0)}, []),
]


@pytest.mark.parametrize(("more", "fields"), FAULTS)
def test_a_definition_names_every_field_at_fault(more, fields):
    definition = replace(JOB, **more)
    define, revise = given(ROTATE, []).when(DefineJob("rotate", definition)), given(ROTATE, [DEFINED]).when(ReviseJob(definition))
    if fields:
        define.then_rejected("validation_failed", *fields)
        revise.then_rejected("validation_failed", *fields)
    else:
        define.then([JobDefined("rotate", 1, definition)])
        revise.then([JobRevised(2, definition)])


def test_what_is_wrong_with_a_placeholder_has_a_code_and_names_its_line():
    definition = replace(JOB, steps=(step(run="echo\necho {{ parameters.file }} \\\n  '{{ parameters.file }}'"),))
    with pytest.raises(Invalid) as refused:
        check_definition(definition)
    (error,) = refused.value.errors
    assert error.field == "steps.0.run"
    assert error.message.startswith("line 3: {{ parameters.file }} stands in quotes")
    assert error.message.endswith("(placeholder_in_quotes)")


def test_a_job_that_was_defined_when_more_was_accepted_stays_as_it_was():
    before = replace(JOB, steps=(script("cat <<EOF\n{{ parameters.file }}\nEOF"),))
    history = [JobDefined("rotate", 1, before)]
    assert fold(JobState(), history).definition == before
    given(ROTATE, history).when(ReviseJob(JOB)).then([JobRevised(2, JOB)])
    given(ROTATE, history).when(ReviseJob(before)).then_rejected("validation_failed", "steps.0.body")


@pytest.mark.parametrize("name", ["", "Rotate", "a.b"])
def test_a_job_is_named_by_a_slug(name):
    given(ROTATE, []).when(DefineJob(name, JOB)).then_rejected("validation_failed", "name")


@pytest.mark.parametrize(
    ("share", "total", "least", "number"),
    [
        (None, 10, 1, None),
        (3, 10, 1, 3),
        ("25%", 10, 1, 2),
        ("25%", 3, 1, 1),
        ("10%", 9, 0, 0),
        ("10%", 10, 0, 1),
        ("100%", 7, 1, 7),
        ("0%", 100, 0, 0),
        ("33%", 0, 1, 1),
    ],
)
def test_a_share_is_rounded_down_but_not_below_its_least(share, total, least, number):
    assert share_of(share, total, least) == number


def test_a_parameter_has_an_environment_variable():
    assert environment_names((FILE,)) == {"file": "OPS_PARAM_FILE"}
