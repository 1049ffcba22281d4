"""Is the chain what it has always been, and does every change show?"""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from domain.audit.hash_chain import GENESIS, chained_hash

FIELDS = st.lists(st.binary(max_size=20), max_size=6)


def test_the_published_vectors_hold():
    first = chained_hash(GENESIS, [b"a", b"", b"bc"])
    assert first == hashlib.sha256(b"opsconductor.event.v1\n" + b"0" * 64 + b"1:a,0:,2:bc,").hexdigest()
    assert first == "00e36c0178e5b9262c01118d4ed683fbea57fad356f1674cc98e09df693dfb5e"
    assert chained_hash(first, []) == "fc536f152f5f688e4e0cc23df517990e1346a975773ca812e9b36d84c0a8e33e"


@given(FIELDS, FIELDS)
def test_different_fields_never_share_a_hash(one, other):
    assert (chained_hash(GENESIS, one) == chained_hash(GENESIS, other)) == (one == other)


@given(FIELDS, st.sampled_from("123456789abcdef"))
def test_another_hash_before_gives_another_hash(fields, digit):
    assert chained_hash(GENESIS, fields) != chained_hash(digit + GENESIS[1:], fields)
