"""What may be a name, and in which shard does a stream live?"""

from uuid import UUID

import pytest

from domain.identity import (
    is_run_id,
    is_slug,
    job_of,
    kind_of,
    listed_name,
    name_of,
    partition_key,
    roles_in,
    run_id,
    stream_of,
    users_in,
)

RUN = "rotate-logs.018f4e5c-7a3b-7c1d-9e2f-0123456789ab"


@pytest.mark.parametrize("name", ["a", "0", "web-01", "a--b", "a" * 63])
def test_slugs_are_slugs(name):
    assert is_slug(name)


@pytest.mark.parametrize("name", ["", "-", "-a", "a-", "A", "a_b", "a.b", "a/b", "a b", "a\n", "ä", "а", "a" * 64, "\u0661"])
def test_other_texts_are_not(name):
    assert not is_slug(name)


def test_a_run_lives_with_its_job_users_live_together_and_everything_else_lives_by_itself():
    assert partition_key(f"run/{RUN}") == "job/rotate-logs"
    assert partition_key("user/bob") == partition_key("user/admin") == "user/admin"
    assert partition_key("role/web-op") == "user/admin"
    assert partition_key("target/web-01") == "target/web-01"
    assert (kind_of("target/web-01"), name_of("target/web-01")) == ("target", "web-01")


def test_among_those_that_live_with_users_a_role_is_told_from_a_user_of_the_same_name():
    listed = [listed_name(stream) for stream in ("user/bob", "role/bob", "user/admin")]
    assert listed == ["bob", "role/bob", "admin"]
    assert (users_in(listed), roles_in(listed)) == (("bob", "admin"), ("bob",))


def test_a_run_id_says_its_job():
    made = run_id("rotate-logs", UUID("018f4e5c-7a3b-7c1d-9e2f-0123456789ab"))
    assert made == RUN and job_of(made) == "rotate-logs" and is_run_id(made)
    assert stream_of("run", made) == f"run/{RUN}"


@pytest.mark.parametrize(
    "text",
    ["", "job", "job.", ".", RUN.upper(), RUN[:-1], RUN + "0", RUN.replace("-", ""), "A." + RUN.split(".")[1], "{" + RUN + "}"],
)
def test_what_only_looks_like_a_run_id_is_none(text):
    assert not is_run_id(text)
