"""Does an unknown user cost what a wrong password costs, and is a weak first password refused?"""

import time
from statistics import median

import pytest
from pydantic import ValidationError

from api.passwords import hashed, matches
from infra.wiring.settings import Settings


def test_the_right_password_matches_and_nothing_else():
    kept = hashed("correct-horse-battery", b"0" * 16)
    assert matches(kept, "correct-horse-battery") and not matches(kept, "wrong") and not matches(None, "")
    assert hashed("correct-horse-battery", b"1" * 16) != kept and b"correct" not in kept
    assert not matches(b"no hash", "x")
    assert matches(hashed("é" * 5_000, b"0" * 16), "é" * 5_000) and not matches(hashed("é" * 5_000, b"0" * 16), "é" * 4_999)


def test_a_password_is_the_same_however_a_keyboard_writes_its_letters():
    composed, apart = "caf\u00e9 au lait", "cafe\u0301 au lait"
    for chosen in (composed, apart):
        kept = hashed(chosen, b"0" * 16)
        assert matches(kept, composed) and matches(kept, apart) and not matches(kept, "cafe au lait")


def test_nobodys_hash_costs_as_much_as_a_real_one():
    kept = hashed("correct-horse-battery", b"0" * 16)
    real, nobody = [], []
    for _ in range(7):  # in turn, so that a busy machine slows both
        for times, one in ((real, kept), (nobody, None)):
            begin = time.process_time()
            matches(one, "wrong")
            times.append(time.process_time() - begin)
    assert 0.5 < median(nobody) / median(real) < 2, (real, nobody)


def test_a_first_password_that_is_too_short_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setenv("OPSCONDUCTOR_ADMIN_PASSWORD", "seven77")
    with pytest.raises(ValidationError, match="at least 8 characters") as refused:
        Settings()
    assert "seven77" not in str(refused.value.errors(include_input=False))
    monkeypatch.setenv("OPSCONDUCTOR_ADMIN_PASSWORD", "eight888")
    given = Settings().admin_password
    assert given is not None and given.get_secret_value() == "eight888"
    monkeypatch.setenv("OPSCONDUCTOR_ADMIN_PASSWORD", "")
    assert Settings().admin_password is None, "set to nothing is not set"
