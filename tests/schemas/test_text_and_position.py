"""What can be stored everywhere, where is a record, and whose command is it?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.actor import Actor, system
from schemas.command_envelope import people_command_id, system_command_id
from schemas.position import Partition, Position, parse_position
from schemas.text import MAX_SAFE_INTEGER, unstorable


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": "x", "b": [1, 2.5, None, True], "c": {"d": "é\n\u2028\U0001f600"}}, []),
        ({"a": "x\x00"}, ["a"]),
        ({"a": ["ok", "\ud800"]}, ["a.1"]),
        ({"a": {"b\x00": 1}}, ["a"]),
        ({"\udfff": 1}, [""]),
        ({"a": float("nan"), "b": float("inf"), "c": -float("inf")}, ["a", "b", "c"]),
        ({"a": MAX_SAFE_INTEGER, "b": MAX_SAFE_INTEGER + 1, "c": -(10**30)}, ["b", "c"]),
        (("x", {"y": ("\x00",)}), ["1.y.0"]),
        ("\x00", [""]),
    ],
)
def test_what_cannot_be_stored_is_named(value, paths):
    assert [path for path, _ in unstorable(value)] == paths


@given(st.from_type(Position).filter(lambda p: "/" not in p.topic and p.shard >= 0 and 0 <= p.offset < 10**18))
def test_a_position_is_read_as_it_is_written(position):
    assert parse_position(str(position)) == position
    assert position.partition == Partition(position.topic, position.shard)


@pytest.mark.parametrize(
    "text",
    ["", "runs", "runs/1", "runs/1/2/3", "runs/-1/2", "runs/1/-2", "runs/1/ 2", "runs/1/2e3", "runs/١/2", "runs/1/" + "9" * 19],
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError):
        parse_position(text)


PEOPLE = st.builds(Actor, st.sampled_from(("user", "token")), st.from_regex(r"[a-z:-]{1,8}", fullmatch=True))
STREAMS = st.from_regex(r"[a-z]{1,3}/[a-z.-]{1,5}", fullmatch=True)
KEYS = st.text(st.characters(codec="utf-8"), max_size=12)


@given(PEOPLE, STREAMS, KEYS, PEOPLE, STREAMS, KEYS)
def test_two_people_streams_or_keys_never_share_a_command_id(actor, stream, key, actor2, stream2, key2):
    same = (actor, stream, key) == (actor2, stream2, key2)
    assert (people_command_id(actor, stream, key) == people_command_id(actor2, stream2, key2)) is same


@given(PEOPLE, STREAMS, KEYS)
def test_the_ids_of_people_and_of_the_system_never_meet(actor, stream, key):
    person = people_command_id(actor, stream, key)
    for role, cause, ordinal in ((f"{actor.kind}:{actor.name}", stream, key), (system("executor").name, stream, key)):
        assert system_command_id(role, cause, ordinal) != person
    assert people_command_id(system("executor"), stream, key) != system_command_id("system:executor", stream, key)


def test_each_answer_to_one_event_has_an_id_of_its_own_and_the_same_again():
    ids = {system_command_id("executor", cause, ordinal) for cause in ("e1", "e2") for ordinal in (0, 1, "claim")}
    assert len(ids) == 6
    assert system_command_id("executor", "e1", 0) in ids and system_command_id("sweeper", "e1", 0) not in ids
