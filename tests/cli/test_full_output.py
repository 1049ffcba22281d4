"""Is what cannot be written told by a line and status 74, whichever command it is of, and nothing else said of what was done?"""

from pathlib import Path

import pytest

from tests.cli.full_device import FULL, onto_full
from tests.cli.scripted_server import access_token, answering


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "run list --help", "--version", "permissions", "permissions -o json"])
def test_what_needs_no_server(words: str, unbuffered: str, tmp_path: Path) -> None:
    assert onto_full(tmp_path, *words.split(), PYTHONUNBUFFERED=unbuffered) == FULL


def test_a_sign_in_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct-horse-battery\n")
    tokens = {"access_token": access_token(1), "refresh_token": "refresh-1"}
    with answering(lambda asked: asked.answer(200, tokens)) as url:
        signing_in = ["--url", url, "login", "--user", "u", "--password-file", str(tmp_path / "password")]
        assert onto_full(tmp_path, *signing_in, "-o", "json") == FULL
        assert onto_full(tmp_path, *signing_in, status=0) == f"signed in to {url} as u\n", "nothing had to be written"
