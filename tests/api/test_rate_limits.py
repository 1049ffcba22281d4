"""How many requests may come, by account and by address, and what is said to one too many?"""

from datetime import timedelta
from pathlib import Path

from api.rate_limit import MOST_NAMES, Buckets, SharedBuckets
from tests.api.conftest import job, made
from tests.api.server import PASSWORD, serving


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(buckets: Buckets, count: int, name: str = "alice") -> int:
    """How many of so many requests at once go through."""
    return sum(not buckets.take("account_reads", name) for _ in range(count))


def test_a_minutes_worth_may_come_at_once_and_then_no_more_than_the_rate() -> None:
    seconds = Seconds()
    buckets = Buckets({"account_reads": 60}, seconds)
    assert taken(buckets, 100) == 60
    assert buckets.take("account_reads", "alice") == 1.0, "the wait is said"
    seconds.now += 10
    assert taken(buckets, 100) == 10, "what was refused cost nothing"
    seconds.now += 3600
    assert taken(buckets, 100) == 60, "and no more is saved up"
    assert taken(buckets, 1, "bob") == 1


def test_a_rate_of_zero_is_none_and_keeps_nothing() -> None:
    buckets = Buckets({"account_reads": 0}, Seconds())
    assert taken(buckets, 100_000) == 100_000
    assert buckets._full_at == {}


def test_what_is_kept_is_bounded_and_whoever_sends_goes_on_being_counted() -> None:
    buckets = Buckets({"account_reads": 60}, Seconds())
    for n in range(MOST_NAMES + 1000):
        buckets.take("account_reads", f"10.{n}")
        if n % 1000 == 0:
            buckets.take("account_reads", "alice")
    assert len(buckets._full_at["account_reads"]) == MOST_NAMES
    assert taken(buckets, 100) == 60 - 51


def test_processes_that_tell_each_other_let_no_more_through_together_than_one() -> None:
    seconds, total = Seconds(), 0
    one, two = SharedBuckets({"account_reads": 600}, seconds), SharedBuckets({"account_reads": 600}, seconds)
    through = 0
    for _ in range(120):
        through += taken(one, 30) + taken(two, 30)
        for process in (one, two):
            total += process.untold().get(("account_reads", "alice"), 0)
            process.heard(("account_reads", "alice"), total)
        seconds.now += 1
    assert 600 + 10 * 118 <= through <= 600 + 10 * 119 + 60, "what is let through too much before it is heard is owed"


def test_a_total_that_was_lost_or_is_stale_takes_nothing_away() -> None:
    seconds, key = Seconds(), ("account_reads", "alice")
    buckets = SharedBuckets({"account_reads": 60}, seconds)
    buckets.heard(key, 1_000_000)
    assert taken(buckets, 5) == 5, "when it is heard for the first time nobody knows since when it was counted"
    buckets.heard(key, 3)
    assert taken(buckets, 5) == 5, "the counter was lost"
    seconds.now += 61
    buckets.heard(key, 5000)
    assert taken(buckets, 60) == 60, "all of it may have been long ago"


async def test_an_account_that_sends_too_much_is_told_when_to_go_on_and_others_are_not_held_up(tmp_path: Path) -> None:
    async with serving(tmp_path, rates={"account_reads": 20, "account_writes": 5}) as server:
        await made(server, "/users", {"name": "alice", "password": PASSWORD, "roles": ["viewer"]})
        statuses = [(await server.get("/me")).status_code for _ in range(25)]
        assert statuses[:5] == [200] * 5 and statuses[-3:] == [429] * 3
        refused = await server.get("/me")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 4
        assert (await server.post("/jobs", job())).status_code == 201, "writes are counted apart from reads"
        writes = [(await server.post("/jobs", job(f"job-{n}"))).status_code for n in range(5)]
        assert writes == [201] * 3 + [429] * 2
        admin = server.token
        assert (await server.sign_in("alice")).status_code == 200
        assert (await server.get("/me")).status_code == 200
        server.token = admin
        server.clock.ahead += timedelta(seconds=60)
        assert (await server.get("/me")).status_code == 200


async def test_the_tokens_of_an_account_share_its_allowance(tmp_path: Path) -> None:
    async with serving(tmp_path, rates={"account_reads": 10}) as server:
        issued = (
            await server.post("/users/admin/tokens", {"expires_at": (server.clock.now() + timedelta(days=1)).isoformat()})
        ).json()
        server.token = issued["token"]
        statuses = [(await server.get("/me")).status_code for _ in range(12)]
        assert statuses.count(200) == 10
        assert (await server.sign_in()).status_code == 200
        assert (await server.get("/me")).status_code == 429


async def test_who_is_not_signed_in_is_counted_by_address_and_cannot_use_up_what_the_signed_in_there_have(tmp_path: Path) -> None:
    async with serving(tmp_path, rates={"address_reads": 8}) as server:
        token, server.token = server.token, "forged"
        statuses = [(await server.get("/me")).status_code for _ in range(10)]
        assert statuses == [401] * 8 + [429] * 2
        assert (await server.get("/openapi.json")).status_code == 429
        server.token = token
        assert (await server.get("/me")).status_code == 200, "the same address, but somebody we know"


async def test_who_watches_the_server_is_never_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, rates={"address_reads": 1}) as server:
        for path in ("/health/live", "/health/ready", "/health", "/metrics") * 3:
            assert (await server.get(path)).status_code == 200
