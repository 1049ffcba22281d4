"""Where there is no terminal to ask for a secret at, is that one line that says how it is given instead?"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.roles.harness import PROGRAM


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("login", "password at: give it with --password-file"),
        ("login --user admin", "password at: give it with --password-file"),
        ("user create u", "new password at: give it with --password-file"),
        ("user password u", "new password at: give it with --password-file"),
        ("user own-password", "current password at"),
        ("credential create c --username u", "password at: give it with a key: --key-file"),
    ],
)
def test_a_password_without_a_terminal(words: str, said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OPSCONDUCTOR_URL": "http://127.0.0.1:9", "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [PROGRAM, *words.split()],
        env=environment,
        input="correct-horse-battery\ncorrect-horse-battery\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (2, f"there is no terminal to ask for the {said}\n")
