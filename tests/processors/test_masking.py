"""No form of a secret survives in a step's output, however it is cut into pieces, and nothing else is changed."""

import json
import time
from base64 import b64encode, urlsafe_b64encode
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.executor.masking import MASK, Forms, Masker, forms_of

TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
FEW = st.text(alphabet="ab\n", max_size=60)
SECRET = st.one_of(st.text(alphabet="ab", min_size=4, max_size=9), TEXT.filter(lambda text: len(text) >= 4))


def masked(forms: Forms, *pieces: str) -> str:
    masker = Masker(forms)
    return "".join([*map(masker.feed, pieces), masker.end()])


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(places)]


def shown_ways(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        b64encode(raw).decode(),
        urlsafe_b64encode(raw).decode(),
        raw.hex(),
        raw.hex().upper(),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    ]


@given(st.lists(SECRET, min_size=1, max_size=3), FEW | TEXT, st.data())
@settings(max_examples=400, deadline=None)
def test_any_cut_into_pieces_shows_the_same_text(secrets: list[str], noise: str, data: st.DataObject):
    forms = Forms(secrets)
    parts = data.draw(st.lists(st.sampled_from([noise, *secrets, *(secret[:-1] for secret in secrets)]), max_size=6))
    text = "".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    assert masked(forms, *in_pieces(text, cuts)) == masked(forms, text)
    assert masked(forms, *text) == masked(forms, text)


@given(SECRET, TEXT, TEXT, st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=300, deadline=None)
def test_no_form_of_a_secret_survives(secret: str, before: str, after: str, cuts: list[int]):
    forms = Forms([secret])
    for shown in shown_ways(secret):
        seen = masked(forms, *in_pieces(before + shown + after, cuts))
        assert MASK in seen
        for form in forms_of(secret):
            assert form not in seen.replace(MASK, "\x00")


@given(SECRET, FEW | TEXT)
@settings(max_examples=300, deadline=None)
def test_what_gives_nothing_away_is_left_as_it_is(secret: str, text: str):
    forms = Forms([secret])
    if not any(form in text for form in forms_of(secret)):
        assert masked(forms, text) == text


ASCII = st.text(alphabet=st.characters(codec="ascii"), min_size=8, max_size=40)


@given(st.binary(max_size=5), ASCII, st.binary(max_size=5))
@settings(max_examples=300, deadline=None)
def test_base64_of_a_text_around_the_secret_hides_it_at_every_alignment(before: bytes, secret: str, after: bytes):
    shown = b64encode(before + secret.encode() + after).decode()
    seen = masked(Forms([secret]), shown)
    assert MASK in seen
    left = seen.replace(MASK, "")
    # Besides the text around it, at most the characters that mix it with its neighbours are left.
    assert len(left) <= len(shown) - (len(secret) * 8 // 6 - 2)


def test_only_a_tail_that_could_begin_a_secret_is_held_back():
    masker = Masker(Forms(["hunter2"]))
    assert masker.feed("Password: ") == "Password: "
    assert masker.feed("hunt") == ""
    assert masker.feed("ing season\n") == "hunting season\n"
    assert masker.feed("hunter") == ""
    assert masker.feed("2!") == "***!"


def test_overlapping_secrets_become_one_mask_and_touching_ones_two():
    forms = Forms(["abcdef", "defghi"])
    assert masked(forms, "-abcdefghi-") == "-***-"
    assert masked(forms, "-abcdefdefghi-") == "-******-"


def test_a_secret_whose_beginning_is_its_end_is_found_wherever_it_stands():
    assert masked(Forms(["abcab"]), *"xabcabcabcabx") == "x***x"


def test_a_short_secret_is_masked_whole_and_a_blank_one_is_none():
    assert masked(Forms(["abc", "", " \n"]), "abc  aab", "cab") == "***  a***ab"
    assert masked(Forms(["7"]), "4", "7", "77") == "4*********"
    assert masked(Forms(["x1"]), "785831 eDE= ", "x", "2") == "785831 *** x2"


LINES = "\n".join(f"{n}" * 70 for n in "abcdefgh")
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LINES}\n-----END OPENSSH PRIVATE KEY-----\n"


def test_every_line_of_a_private_key_is_masked_by_itself():
    forms = Forms([KEY])
    assert masked(forms, KEY[36:]).count("a" * 10) == 0
    assert masked(forms, f"said: {'c' * 70}\n") == "said: ***\n"


@pytest.mark.parametrize("width", [76, 64])
def test_the_wrapped_base64_of_a_long_secret_is_masked(width: int):
    whole = b64encode(KEY.encode()).decode()
    wrapped = "\n".join(whole[at : at + width] for at in range(0, len(whole), width))
    assert set(masked(Forms([KEY]), wrapped)) <= {"*", "\n"}


def test_ten_megabytes_with_a_key_and_fifty_secrets_to_look_for_take_seconds_at_most():
    forms = Forms([KEY, *(f"secret-number-{n}-of-fifty" for n in range(50))])
    masker = Masker(forms)
    piece = ("the quick brown fox says secret-number and jumps\n" * 700)[:32_768]
    began = time.process_time()
    shown = sum(len(masker.feed(piece)) for _ in range(320))
    assert shown + len(masker.end()) == 320 * 32_768
    assert time.process_time() - began < 10
