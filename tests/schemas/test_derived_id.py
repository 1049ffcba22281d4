"""Is a derived id the one that it always was?"""

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from schemas.derived_id import derived_id


@given(st.uuids(), st.text(st.characters(codec="utf-8"), max_size=50))
def test_a_derived_id_is_the_one_of_uuid5(namespace, name):
    assert derived_id(namespace, name) == uuid5(namespace, name)


def test_a_derived_id_stays_what_it_is_for_ever():
    assert str(derived_id(UUID(int=1), "0")) == "6ff55b57-2b5f-5022-ad8b-524631694aa1"
