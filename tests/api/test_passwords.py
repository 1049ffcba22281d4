"""Does an unknown user cost what a wrong password costs?"""

import time
from statistics import median

from api.passwords import hashed, matches


def test_the_right_password_matches_and_nothing_else():
    kept = hashed("correct-horse-battery", b"0" * 16)
    assert matches(kept, "correct-horse-battery") and not matches(kept, "wrong") and not matches(None, "")
    assert hashed("correct-horse-battery", b"1" * 16) != kept and b"correct" not in kept
    assert not matches(b"no hash", "x")
    assert matches(hashed("é" * 5_000, b"0" * 16), "é" * 5_000) and not matches(hashed("é" * 5_000, b"0" * 16), "é" * 4_999)


def test_nobodys_hash_costs_as_much_as_a_real_one():
    kept = hashed("correct-horse-battery", b"0" * 16)
    real, nobody = [], []
    for _ in range(7):  # in turn, so that a busy machine slows both
        for times, one in ((real, kept), (nobody, None)):
            begin = time.process_time()
            matches(one, "wrong")
            times.append(time.process_time() - begin)
    assert 0.5 < median(nobody) / median(real) < 2, (real, nobody)
