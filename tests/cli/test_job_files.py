"""Does what is wrong with a job file say what is wrong with it?"""

from pathlib import Path

import pytest

from infra.cli.main import app
from tests.cli.running import said_by


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: 5\n", "a job's name must be text: 5 is none; in YAML text may stand in quotes\n"),
        ("name: [a]\n", 'a job\'s name must be text: ["a"] is none; in YAML text may stand in quotes\n'),
        ("title: a\n", "a job is a mapping with a name\n"),
        ("- name: a\n", "a job is a mapping with a name\n"),
    ],
)
def test_a_job_without_a_name_that_can_be_one(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    done = said_by(app, "--url", "http://127.0.0.1:9", "job", "apply", "-f", str(tmp_path / "job.yaml"))
    assert (done.exit_code, done.stderr) == (2, said)
