"""What do people get while Kafka, Postgres or Redis is away, and does everything come back by itself?

These tests stop services, so they have native ones of their own.
"""

import os
import signal
import time
from typing import Any

import httpx2
import pytest

from api.waiting_shards import TOLD_AFTER_S
from infra.deploy.services.native_process import NativeService
from tests.roles.fleet import Fleet, Load, all_final, caught_up, nothing_doubled, nothing_lost, versions_are_gapless
from tests.roles.harness import Installation
from tests.roles.rest import Rest
from tests.support.eventually import eventually
from tests.support.frozen import freeze

pytestmark = pytest.mark.services

ANSWERS_WITHIN_S = 20
"""No request may take longer, whatever is away."""
RECOVERS_WITHIN_S = 120
"""An owner that hangs in a call (30 s) ends, its shards are free a session (30 s) later, its transaction after 15 s more; an
executor whose consumer is stuck ends after a minute."""


def timed(rest: Rest, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and problem code of one request, which must be answered in time."""
    began = time.monotonic()
    answer = rest.ask(method, path, body)
    took = time.monotonic() - began
    assert took < ANSWERS_WITHIN_S, f"{method} {path} took {took:.1f} s"
    if answer.status_code < 400:
        return answer.status_code, ""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def recovered(installation: Installation) -> bool:
    """Ready again; a role that ended (a supervisor's business) is started anew."""
    if fallen := installation.start_fallen():
        print(f"ended by themselves: {fallen}")
    return installation.answers_ready()


def readiness_ends(installation: Installation) -> None:
    """Of all that rest on what is away."""
    ready = {"projections", "executor-1", "executor-2", "sweeper"} - installation.unready().keys()
    assert not ready, f"{ready} still say that they are ready"


def came_to_nothing(rest: Rest, run: str) -> list[dict[str, Any]]:
    return [step for step in rest.get(f"/runs/{run}/steps?limit=200")["items"] if step["state"] != "succeeded"][:5]


def a_run_succeeds(rest: Rest, installation: Installation) -> None:
    run = rest.write("POST", "/jobs/trace/runs", {}).body["run_id"]

    def done() -> bool:
        installation.start_fallen()
        state = rest.get(f"/runs/{run}")["state"]
        assert state == "succeeded", (state, state == "failed" and came_to_nothing(rest, run))
        return True

    eventually(done, within=RECOVERS_WITHIN_S, every=0.5)


def test_without_kafka_writes_are_answered_503_queries_go_on_and_all_comes_back(
    house: tuple[Installation, Rest, Fleet], services: dict[str, NativeService]
) -> None:
    installation, rest, _ = house
    a_run_succeeds(rest, installation)
    kafka = services["kafka-1"].pid
    freeze(kafka)
    try:
        told = {timed(rest, "POST", "/jobs/trace/runs", {}) for _ in range(2)}
        assert {status for status, _ in told} <= {202, 503}, told
        assert {code for status, code in told if status == 503} <= {"log_unavailable", "result_unknown"}, told
        assert timed(rest, "GET", "/runs") == (200, "")
        eventually(lambda: not installation.answers_ready())
        eventually(lambda: readiness_ends(installation))
    finally:
        os.kill(kafka, signal.SIGCONT)
    eventually(lambda: recovered(installation), within=RECOVERS_WITHIN_S)
    a_run_succeeds(rest, installation)
    eventually(lambda: recovered(installation) and not installation.unready(), within=RECOVERS_WITHIN_S)
    assert "opsconductor_log_undecided_seconds" in installation.metrics("projections")
    assert "opsconductor_threads" in installation.metrics("executor-1")


def test_without_any_owner_writes_wait_and_health_tells_where(house: tuple[Installation, Rest, Fleet]) -> None:
    installation, rest, _ = house
    owners = ("commands-1", "commands-2")

    def health() -> Any:
        return httpx2.get(f"{installation.url}/health", timeout=20, trust_env=False).json()

    for name in owners:
        installation.stop(name)
    try:
        waits = rest.ask("POST", "/jobs/trace/runs", {})
        assert waits.status_code == 202, waits.text
        assert health()["status"] == "ok", "not yet for long"
        (told,) = eventually(lambda: health()["waiting_shards"], within=30)
        assert told["waiting_s"] >= TOLD_AFTER_S and health()["status"] == "degraded"
        assert installation.answers_ready(), "whoever reads is answered"
    finally:
        installation.start(*owners)
    where = waits.headers["location"].removeprefix("/api/v1")
    eventually(lambda: rest.ask("GET", where).json()["state"] == "accepted", within=RECOVERS_WITHIN_S)
    eventually(lambda: health()["status"] == "ok" and not installation.unready(), within=RECOVERS_WITHIN_S)


def test_without_postgres_requests_are_answered_503_and_all_comes_back(
    house: tuple[Installation, Rest, Fleet], services: dict[str, NativeService]
) -> None:
    installation, rest, _ = house
    services["postgres"].stop()
    try:
        assert timed(rest, "GET", "/runs") == (503, "read_models_unavailable")
        status, code = timed(rest, "POST", "/jobs/trace/runs", {})
        assert status == 503 and code in ("read_models_unavailable", "vault_unavailable", "projection_lag"), code
        answer = httpx2.post(
            f"{rest.url}/api/v1/auth/token",
            data={"grant_type": "password", "username": "admin", "password": rest.password},
            timeout=ANSWERS_WITHIN_S, trust_env=False,
        )  # fmt: skip
        assert answer.status_code == 503, answer.text
        eventually(lambda: readiness_ends(installation))
    finally:
        services["postgres"].start()
    eventually(lambda: recovered(installation), within=RECOVERS_WITHIN_S)
    a_run_succeeds(rest, installation)
    eventually(lambda: recovered(installation) and not installation.unready(), within=RECOVERS_WITHIN_S)


def test_without_redis_people_sign_in_for_a_while_and_everything_else_goes_on(
    house: tuple[Installation, Rest, Fleet], services: dict[str, NativeService]
) -> None:
    installation, rest, _ = house
    services["redis"].kill9()
    try:
        assert rest.sign_in()["refresh_token"] is None
        a_run_succeeds(rest, installation)
    finally:
        services["redis"].start()
    eventually(lambda: rest.sign_in()["refresh_token"] is not None)


@pytest.mark.faults  # the short chaos kills them in every run
def test_services_that_come_and_go_under_load_lose_and_double_nothing(
    house: tuple[Installation, Rest, Fleet], services: dict[str, NativeService]
) -> None:
    """The last one here: the log and the traces of all tests above are looked at, too."""
    installation, rest, fleet = house
    before = len(rest.items("/runs"))
    load = Load(installation.rest, 12)
    for name in ("postgres", "kafka-1"):
        seen = len(fleet.lines())
        eventually(lambda seen=seen: len(fleet.lines()) >= seen + 60, within=60)
        services[name].kill9()
        services[name].start()
    acknowledged = load.finish(120)
    eventually(lambda: recovered(installation), within=RECOVERS_WITHIN_S)
    eventually(lambda: ended(installation, rest, before + 12), within=2 * RECOVERS_WITHIN_S, every=0.5)
    eventually(lambda: caught_up(rest), within=120)
    rows = installation.rows()
    nothing_lost(rows, [*rest.acknowledged, *acknowledged])
    versions_are_gapless(rows)
    print(nothing_doubled(rows, fleet))


def ended(installation: Installation, rest: Rest, runs: int) -> bool:
    """Every run has ended; whoever ends by itself (an executor whose consumer is stuck, after a minute) is started again."""
    installation.start_fallen()
    try:
        return all_final(rest, runs)
    except AssertionError as unfinished:
        told = "\n".join(f"--- {name}\n{installation.log_end(name, 1500)}" for name in installation.processes)
        raise AssertionError(f"{unfinished}\n{told}") from None
