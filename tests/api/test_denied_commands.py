"""Do denied writes get into the audit trail, bounded, and can anybody ask why?"""

from pathlib import Path

from tests.api.conftest import job, made
from tests.api.limited import ABSENT_TARGET, DENIED, PLANNED, acting_as, somebody, told, two_halves
from tests.api.server import Server, claimed_and_planned, serving
from tests.support.eventually import eventually_async


async def test_denied_writes_are_told_of_once_a_window_with_their_numbers(tmp_path: Path):
    async with serving(tmp_path, audit_window_s=0.5) as server:
        alice = await two_halves(server, ("jobs.read", "targets.read", "targets.write"), {"targets": "env=staging"})
        with acting_as(server, alice):
            for _ in range(3):
                assert told(await server.send("PATCH", "/targets/web-01", {"host": "x.example.org"}))[:2] == DENIED
            for _ in range(2):
                assert told(await server.post("/jobs", job("new"))) == DENIED
            assert told(await server.send("DELETE", "/targets/db-01")) == ABSENT_TARGET
            assert told(await server.send("DELETE", "/targets/db-99")) == ABSENT_TARGET
            assert told(await server.get("/users")) == DENIED, "reading is no command"

        async def events() -> list[dict]:
            found = (await server.get("/audit/events?stream=user/alice&type=CommandsDenied")).json()["items"]
            assert sum(sum(event["payload"]["counts"].values()) for event in found) == 6
            return found

        found = await eventually_async(events)
        counts = {}
        for event in found:
            assert event["actor"] == {"kind": "user", "name": "alice"}
            for permission, count in event["payload"]["counts"].items():
                counts[permission] = counts.get(permission, 0) + count
        assert len(found) < 6
        assert counts == {"credentials.use": 3, "jobs.write": 2, "targets.write": 1}, "what is hidden is denied"


async def why(server: Server, user: str, permission: str, thing: str = "") -> tuple[bool, str]:
    asked = await server.get(f"/users/{user}/permissions/explain?permission={permission}" + (f"&object={thing}" if thing else ""))
    assert asked.status_code == 200, asked.text
    return asked.json()["allowed"], asked.json()["why"]


async def test_why_somebody_may_or_may_not_do_something_is_said_in_words(server: Server):
    alice = await two_halves(server)
    explained = [
        ("runs.start", "job/web-deploy", True, "web-op has runs.start within jobs web-*, targets env=staging"),
        ("runs.start", "job/web-all", True, "web-op has runs.start within jobs web-*, targets env=staging"),
        ("runs.start", "job/db-deploy", False, "web-op is limited to jobs web-*, which db-deploy is not one of"),
        ("targets.read", "target/db-01", False, "web-op is limited to targets env=staging, which db-01 is not one of"),
        ("credentials.use", "credential/web-key", False, "web-op does not have credentials.use"),
        ("users.write", "", False, "web-op does not have users.write"),
        ("jobs.write", "", True, "web-op has jobs.write within jobs web-*"),
        ("self.write", "", True, "one's own account is everybody's"),
    ]
    for permission, thing, allowed, words in explained:
        assert await why(server, "alice", permission, thing) == (allowed, words)
    assert await why(server, "admin", "runs.start", "job/web-all") == (True, "administrator has runs.start")
    await somebody(server, "nobody")
    assert await why(server, "nobody", "jobs.read") == (False, "the user has no role")
    with acting_as(server, alice):
        assert (await why(server, "alice", "runs.start", "job/web-deploy"))[0]
        for thing, code in (("job/db-deploy", "job_not_found"), ("target/db-01", "target_not_found")):
            permission = "jobs.read" if thing.startswith("job") else "targets.read"
            asked = await server.get(f"/users/alice/permissions/explain?permission={permission}&object={thing}")
            assert told(asked) == (404, code), "what one may not see is not there"
        assert told(await server.get("/users/admin/permissions/explain?permission=jobs.read")) == DENIED
    await server.send("DELETE", "/roles/web-op")
    assert await why(server, "alice", "jobs.read") == (False, "web-op was removed and grants nothing")
    await made(server, "/users", {"name": "ci", "roles": ["operator"]})
    await server.send("DELETE", "/users/ci")
    assert await why(server, "ci", "jobs.read") == (False, "the user is disabled")


async def test_what_is_said_of_a_run_is_what_is_decided_of_it(server: Server):
    alice = await two_halves(server)
    await made(server, "/jobs", job("web-once", targets="env", concurrency="forbid"))
    both, prod = [(await made(server, "/jobs/web-all/runs", {}))["run_id"] for _ in range(2)]
    once = (await made(server, "/jobs/web-once/runs", {}))["run_id"]
    with acting_as(server, alice):
        own, moved = [(await made(server, "/jobs/web-all/runs", {}))["run_id"] for _ in range(2)]
        again = await server.post("/jobs/web-once/runs", {})
        assert told(again) == (409, "job_is_running") and once not in again.text, "a run that is hidden is not named"
    beyond = "web-op is limited to targets env=staging, which not all of its targets are among"
    assert await why(server, "alice", "runs.cancel", f"run/{both}") == (False, beyond), "by the targets that it would have"
    await claimed_and_planned(server, both, PLANNED)
    for run in (prod, moved):
        await claimed_and_planned(server, run, PLANNED[:1])
        assert (await server.get(f"/runs/{run}/steps", headers={"Ops-Min-Version": f"run/{run}@3"})).status_code == 200
    for run, sees, cancels in ((both, True, False), (prod, False, False), (moved, True, False), (own, True, True)):
        with acting_as(server, alice):
            assert (await server.get(f"/runs/{run}")).status_code == (200 if sees else 404)
            assert (await server.post(f"/runs/{run}/cancel", {})).is_success is cancels
        for permission, allowed in (("runs.read", sees), ("runs.cancel", cancels)):
            assert (await why(server, "alice", permission, f"run/{run}"))[0] is allowed, (permission, run)


async def test_a_question_that_makes_no_sense_is_refused(server: Server):
    for query, fault in (
        ("", (422, "validation_failed", "permission")),
        ("permission=everything", (422, "validation_failed", "permission")),
        ("permission=jobs.read&object=target/x", (422, "validation_failed", "object")),
        ("permission=users.read&object=user/admin", (422, "validation_failed", "object")),
        ("permission=jobs.read&object=job/no-such-job", (404, "job_not_found")),
        ("permission=jobs.read&object=job/No", (404, "job_not_found")),
    ):
        assert told(await server.get(f"/users/admin/permissions/explain?{query}")) == fault
    assert told(await server.get("/users/nobody/permissions/explain?permission=jobs.read")) == (404, "user_not_found")
