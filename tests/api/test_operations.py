"""Does the server say how it is, and does it answer clearly when the log, the database or the vault does not?"""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import update

from api.app import create_app
from api.first_start import generated_password, has_users, make_first_administrator
from api.waiting_shards import TOLD_AFTER_S
from domain.identity import KEYS
from domain.key import RecordMasterKey
from infra.memory.log import MemoryLog
from infra.memory.state_store import MemoryStateStores
from infra.wiring.role.api import warnings_of
from infra.wiring.settings import Settings
from processors.processor import Cause, system_command
from projections.tables import projection_status
from schemas.log import LogUnavailable, ResultUnknown
from schemas.outcome import Accepted
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.vault import SecretUnavailable, VaultError
from schemas.wire import WireRecord
from tests.api.conftest import credential, job, made, target
from tests.api.server import SHARDS, Server, first_start, serving
from tests.commands.owning import running


async def test_health_says_where_a_stopped_projection_stands_and_no_names(server: Server):
    await made(server, "/jobs", job("very-secret-name"))
    server.token = ""
    for path in ("/health/live", "/health/ready", "/health", "/metrics"):
        answer = await server.get(path)
        assert answer.status_code == 200 and "very-secret-name" not in answer.text and "admin" not in answer.text, path
    assert (await server.get("/health/ready")).json()["status"] == "ok"
    assert (
        'opsconductor_http_requests_total{method="POST",route="/api/v1/jobs",status="201"} 1.0'
        in (await server.get("/metrics")).text
    )
    stopped = {"state": "stopped", "stopped_at": "jobs/1/7", "error": "no"}
    with server.given.vault._writer.begin() as connection:
        connection.execute(update(projection_status).where(projection_status.c.projection == "jobs").values(stopped))
    said = (await server.get("/health/ready")).json()
    assert (said["status"], said["stopped_projections"]) == ("degraded", [{"projection": "jobs", "stopped_at": "jobs/1/7"}])
    server.given.drain.stopping = True
    assert (await server.get("/health/ready")).status_code == 503 and (await server.get("/health/live")).status_code == 200


async def test_a_foreign_record_in_one_topic_holds_up_neither_sign_ins_nor_reads_of_others(tmp_path: Path):
    async with serving(tmp_path, freshness_wait_s=5.0) as server:
        server.log.put(Partition("targets", 0), WireRecord(b"target/x", b"garbage"))
        stopped = [{"projection": name, "stopped_at": "targets/0/0"} for name in ("events", "targets")]
        async with asyncio.timeout(60):
            while (await server.get("/health/ready")).json().get("stopped_projections") != stopped:
                await asyncio.sleep(0.02)
        assert (await server.sign_in()).status_code == 200
        await made(server, "/credentials", credential())
        await made(server, "/jobs", job())
        for path, version in (
            ("/credentials", "credential/deploy-key@1"),
            ("/jobs/greet", "job/greet@1"),
            ("/users", "user/admin@2"),
        ):
            answer = await server.get(path, headers={"Ops-Min-Version": version})
            assert answer.status_code == 200, (path, answer.text)
        await server.post("/projections/jobs/rebuild")
        async with asyncio.timeout(60):
            while {p["name"]: p for p in (await server.get("/projections")).json()["items"]}["jobs"]["generation"] < 2:
                await asyncio.sleep(0.02)
        await made(server, "/jobs", job("other"))
        for version in ("job/greet@1", "job/other@1"):
            assert (await server.get("/jobs", headers={"Ops-Min-Version": version})).status_code == 200, version


async def test_writes_to_a_shard_that_cannot_be_served_are_answered_202_others_go_on_and_health_names_it(tmp_path: Path):
    async with serving(tmp_path, outcome_wait_s=0.5) as server:
        names = {shard_of(f"job/job-{number}", SHARDS): f"job-{number}" for number in range(40)}
        bad = (shard_of("user/admin", SHARDS) + 1) % SHARDS
        at = server.log.put(Partition("jobs", bad), WireRecord(b"job/very-secret-name", b"garbage"))
        server.log.fence("one")
        unserved = [{"shard": bad, "stopped_at": f"jobs/{bad}/{at}", "reason": "not_an_event"}]
        async with asyncio.timeout(60):
            while (said := await server.get("/health/ready")).json()["unserved_shards"] != unserved:
                await asyncio.sleep(0.02)
        assert (said.status_code, said.json()["status"]) == (200, "degraded") and "very-secret-name" not in said.text
        assert (await server.get("/health")).json()["unserved_shards"] == unserved
        await made(server, "/jobs", job(names[(bad + 1) % SHARDS]))
        answer = await server.post("/jobs", job(names[bad]))
        assert answer.status_code == 202, answer.text
        where = answer.headers["location"].removeprefix("/api/v1")
        assert (await server.get(where)).json()["state"] == "unknown"
        assert (await server.get("/health")).json()["waiting_shards"] == [], "not yet for long"
        server.clock.ahead += timedelta(seconds=TOLD_AFTER_S)
        (waits,) = (await server.get("/health")).json()["waiting_shards"]
        assert waits["shard"] == bad and TOLD_AFTER_S <= waits["waiting_s"] < 2 * TOLD_AFTER_S + 60
        server.log.storage._entries[Partition("jobs", bad)][at].record = None  # a broker is put back as it was
        server.log.fence("one")
        async with asyncio.timeout(60):
            while (await server.get(where)).json()["state"] != "accepted":
                await asyncio.sleep(0.02)
        healed = (await server.get("/health")).json()
        assert (healed["unserved_shards"], healed["waiting_shards"]) == ([], [])


async def test_health_tells_what_the_log_would_not_survive(tmp_path: Path):
    kafka = {"log_url": "kafka://localhost:9092", "database_url": "postgresql://h/d", "redis_url": "redis://h"}
    (warning,) = warnings_of(Settings(log_replication=1, **kafka))
    assert warning.startswith("not durable against broker loss")
    assert not warnings_of(Settings(log_replication=3, **kafka)) and not warnings_of(Settings(log_replication=1))
    async with serving(tmp_path, warnings=(warning,)) as server:
        answer = await server.get("/health/ready")
        assert answer.status_code == 200 and answer.json()["warnings"] == [warning], "it is told, and is no fault"


async def test_projections_are_shown_and_rebuilt_on_demand(server: Server):
    await made(server, "/jobs", job())
    await server.get("/jobs", headers={"Ops-Min-Version": "job/greet@1"})
    before = {p["name"]: p for p in (await server.get("/projections")).json()["items"]}
    assert {"targets", "jobs", "runs", "run_output", "events"} <= set(before) and before["jobs"]["state"] == "live"
    answer = await server.post("/projections/jobs/rebuild")
    assert answer.status_code == 202, answer.text
    async with asyncio.timeout(60):
        while True:
            after = {p["name"]: p for p in (await server.get("/projections")).json()["items"]}
            if after["jobs"]["generation"] == before["jobs"]["generation"] + 1 and after["jobs"]["state"] == "live":
                break
            await asyncio.sleep(0.05)
    assert (await server.get("/jobs/greet")).status_code == 200


async def test_with_the_log_down_nothing_is_acknowledged_and_reading_goes_on(server: Server):
    await made(server, "/jobs", job())
    await server.get("/jobs/greet", headers={"Ops-Min-Version": "job/greet@1"})

    async def down(*_):
        raise LogUnavailable("down")

    async def unknown(*_):
        raise ResultUnknown("maybe")

    server.log.sender.send = down
    answer = await server.post("/jobs", job("other"))
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable") and answer.headers["retry-after"]
    assert (await server.get("/jobs/greet")).status_code == 200
    server.log.sender.send = unknown
    answer = await server.post("/jobs", job("other"))
    assert (answer.status_code, answer.json()["code"]) == (503, "result_unknown")
    where = answer.headers["location"].removeprefix("/api/v1")
    assert (await server.get(where)).json()["state"] == "unknown"
    server.log.reader.ends = down
    answer = await server.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["log"]) == (503, "unavailable")
    assert (await server.get("/projections")).status_code == 503


async def test_a_command_that_was_sent_is_never_told_as_not_written_and_keeps_its_secret(server: Server):
    from tests.api.test_secrets import sealed

    async def down(*_):
        raise LogUnavailable("the outcomes cannot be followed")

    before = await sealed(server)
    real, server.log.outcomes.wait = server.log.outcomes.wait, down
    answer = await server.post("/credentials", credential())
    assert answer.status_code == 202, answer.text
    assert len(await sealed(server)) == len(before) + 1
    server.log.outcomes.wait = real
    assert (await server.post("/credentials", credential())).json()["code"] == "credential_exists"


async def test_an_unknown_result_keeps_the_secret_and_a_refused_write_does_not(server: Server):
    from tests.api.test_secrets import sealed

    before = await sealed(server)

    async def unknown(*_):
        raise ResultUnknown("maybe")

    real, server.log.sender.send = server.log.sender.send, unknown
    assert (await server.post("/credentials", credential())).status_code == 503
    assert len(await sealed(server)) == len(before) + 1
    server.log.sender.send = real
    await made(server, "/credentials", credential())
    assert (await server.post("/credentials", credential())).status_code == 409
    assert len(await sealed(server)) == len(before) + 2


async def test_with_the_database_or_the_vault_down_the_answer_is_503(server: Server):
    async def down(*_):
        raise VaultError("down")

    server.given.vault.seal = down
    answer = await server.post("/credentials", credential())
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_unavailable")
    from infra.sql.engine import open_reader

    gone = create_app(replace(server.given, engine=open_reader("sqlite:////nowhere/at-all.db")))
    server.http = type(server.http)(transport=type(server.http._transport)(app=gone), base_url="http://test")
    for path, status in (("/targets", 503), ("/health/ready", 503), ("/health", 200), ("/health/live", 200)):
        answer = await server.get(path)
        assert answer.status_code == status, (path, answer.text)
    assert (await server.sign_in()).status_code == 503
    await server.http.aclose()


async def test_a_defect_of_ours_is_500_with_the_correlation_id_and_nothing_else(server: Server):
    async def broken(*_):
        raise KeyError("very secret detail")

    server.log.outcomes.wait = broken
    answer = await server.post("/jobs", job(), headers={"X-Correlation-Id": "find-me"})
    assert (answer.status_code, answer.json()["code"], answer.json()["correlation_id"]) == (500, "internal_error", "find-me")
    assert "secret detail" not in answer.text
    assert (await server.get("/me")).status_code == 200, "the server goes on"


async def test_the_first_administrator_is_made_once_and_never_reset(server: Server):
    assert await has_users(server.log.reader)
    assert not await make_first_administrator(first_start(server.given), "admin", generated_password(server.given.ids))
    assert not await make_first_administrator(first_start(server.given), "boss", generated_password(server.given.ids))
    assert (await server.sign_in()).status_code == 200
    await made(server, "/jobs", job())
    made_users = await server.get("/audit/events?type=UserCreated", headers={"Ops-Min-Version": "job/greet@1"})
    assert [event["stream"] for event in made_users.json()["items"]] == ["user/admin"]
    users = [Partition("users", shard) for shard in range(server.log.reader.shards)]
    at = dict.fromkeys(users, 0)
    feed = await server.log.reader.feed(at)
    ends = await server.log.reader.ends(users)
    seen = []
    while any(feed.positions[partition] < end for partition, end in ends.items()):
        seen += [record.body for record in await feed.read(100, 0.1)]
    await feed.close()
    assert {event.stream for event in seen} == {"user/admin"}
    assert [event.type for event in seen] == ["UserCreated", "RoleGranted", "SignedIn", "SignedIn"]


async def test_what_is_told_of_keys_before_anybody_is_there_keeps_no_administrator_from_being_made():
    log = MemoryLog(2)
    async with running(log, MemoryStateStores()):
        command = system_command("vault", KEYS, RecordMasterKey(1), uuid.uuid4(), Cause("c", None, None), datetime.now(UTC))
        await log.sender.send(command)
        outcome = await log.outcomes.wait(command.command_id, 60)
        assert outcome is not None and isinstance(outcome.result, Accepted)
        assert not await has_users(log.reader)


async def test_a_first_start_that_broke_off_is_finished_by_the_same_password(server: Server):
    class Fresh:
        shards = server.log.reader.shards

        async def ends(self, partitions):
            return dict.fromkeys(partitions, 0)

        async def feed(self, start):
            return await server.log.reader.feed(start)

    setup = replace(first_start(server.given), reader=Fresh())
    assert await make_first_administrator(setup, "admin", "correct-horse-battery"), "the same command gets the same outcome"
    assert not await make_first_administrator(setup, "admin", "another-password"), "and another does not reset it"
    assert (await server.sign_in()).status_code == 200
    user = (await server.get("/users/admin/history")).json()["items"][0]["payload"]
    assert (await server.given.vault.open(user["password"], "user/admin")).startswith(b"$argon2id$")
    try:
        await server.given.vault.open(user["password"], "user/root")
    except SecretUnavailable:
        return
    raise AssertionError("it opened for another user")


async def test_a_target_is_checked_on_demand(server: Server):
    await made(server, "/credentials", credential())
    await made(server, "/targets", target())
    key = {"Idempotency-Key": "k"}
    answers = [await server.post("/targets/web-01/check", {}, headers=key) for _ in range(2)]
    assert answers[0].status_code == 200 and answers[0].json() == answers[1].json() and answers[0].json()["check"]
    history = (await server.get("/targets/web-01/history", headers={"Ops-Min-Version": "target/web-01@2"})).json()["items"]
    assert history[-1]["payload"] == {"check": answers[0].json()["check"]}


async def test_while_nobody_decides_signing_in_and_out_say_so_and_blame_nothing_else(server: Server):
    async def undecided(*_):
        return None

    server.log.outcomes.wait = undecided
    for answer in (await server.sign_in(), await server.post("/auth/logout", {})):
        assert (answer.status_code, answer.json()["code"]) == (503, "result_unknown"), answer.text
        assert "decided" in answer.json()["detail"] and answer.headers["retry-after"]
