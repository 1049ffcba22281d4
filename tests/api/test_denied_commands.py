"""Do denied writes get into the audit trail, bounded, and can anybody ask why?"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from api.counted import DeniedWrite, denied_commands
from api.denied import KINDS, OTHERS, folder_of
from api.routes.all import TABLE
from domain.user.decide import MAX_DENIED_NAMED
from tests.api.conftest import job, made, target
from tests.api.limited import ABSENT_TARGET, DENIED, PLANNED, acting_as, somebody, told, two_halves
from tests.api.server import Server, claimed_and_planned, serving
from tests.api.test_api_tokens import issued
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

        found = await denials(server, 6)
        assert all(event["actor"] == {"kind": "user", "name": "alice"} for event in found) and len(found) < 6
        counts, about, _ = summed(found)
        assert counts == {"credentials.use": 3, "jobs.write": 2, "targets.write": 1}, "what is hidden is denied"
        assert about == {
            ("credentials.use", "credential/deploy-key"): 3,
            ("jobs.write", "job"): 2,
            ("targets.write", "target/db-01"): 1,
        }


async def denials(server: Server, number: int, user: str = "alice") -> list[dict[str, Any]]:
    """The events that tell of a user's denied commands, once they tell of so many."""

    async def events() -> list[dict[str, Any]]:
        found = (await server.get(f"/audit/events?stream=user/{user}&type=CommandsDenied")).json()["items"]
        assert sum(sum(event["payload"]["counts"].values()) for event in found) == number
        return found

    return await eventually_async(events)


def summed(found: list[dict[str, Any]]) -> tuple[Counter[str], Counter[tuple[str, str]], int]:
    """What events of denied commands tell: by permission, by what they were about, and how many were about something else."""
    counts, about, others = Counter[str](), Counter[tuple[str, str]](), 0
    for payload in (event["payload"] for event in found):
        counts.update(payload["counts"])
        about.update({(each["permission"], each["object"]): each["count"] for each in payload["about"]})
        others += payload["others"]
        assert sum(payload["counts"].values()) == sum(each["count"] for each in payload["about"]) + payload["others"]
    return counts, about, others


async def test_what_denied_commands_were_about_is_named_as_far_as_it_could_be_a_name(tmp_path: Path):
    run = f"web-all.{uuid4()}"
    async with serving(tmp_path, audit_window_s=0.5) as server:
        alice = await somebody(server, "alice", "viewer")
        tried = [
            ("PATCH", "/targets/web-01", "targets.write", "target/web-01"),
            ("DELETE", "/targets/Canary%20Text", "targets.write", "target"),
            ("POST", "/targets", "targets.write", "target"),
            ("POST", "/jobs/web-all/runs", "runs.start", "job/web-all"),
            ("POST", f"/runs/{run}/cancel", "runs.cancel", f"run/{run}"),
            ("POST", "/runs/canary-text/cancel", "runs.cancel", "run"),
            ("DELETE", "/users/bob/tokens/canary-text", "users.write", "user/bob"),
            ("PUT", "/credentials/web-key/secret", "credentials.write", "credential/web-key"),
            ("DELETE", "/signing-keys/canary-text", "signing_keys.write", "key/installation"),
        ]
        with acting_as(server, alice):
            for method, path, *_ in tried:
                answer = await server.send(method, path, {"canary": "text"} if method == "PUT" else None)
                assert answer.status_code == 403, (path, answer.text)
        counts, about, others = summed(await denials(server, len(tried)))
        wanted = Counter((permission, thing) for *_, permission, thing in tried)
        assert (about, others) == (wanted, 0) and sum(counts.values()) == len(tried)
        assert "anary" not in str(await denials(server, len(tried)))


async def test_what_a_new_thing_is_to_be_called_is_named_once_it_could_be_its_name(tmp_path: Path):
    async with serving(tmp_path, audit_window_s=0.5) as server:
        with acting_as(server, await two_halves(server)):
            assert told(await server.post("/jobs", job("db-new"))) == (*DENIED, "name")
            assert told(await server.post("/targets", target("db-02", labels={"env": "prod"}))) == (*DENIED, "labels")
            assert told(await server.post("/targets", target("web-02", labels={"env": "staging"})))[:2] == DENIED
        _, about, _ = summed(await denials(server, 3))
        assert about == {
            ("jobs.write", "job/db-new"): 1,
            ("targets.write", "target/db-02"): 1,
            ("credentials.use", "credential/deploy-key"): 1,
        }


async def test_of_many_things_a_window_the_first_are_named_and_the_others_counted(tmp_path: Path):
    async with serving(tmp_path, audit_window_s=1.0) as server:
        alice = await somebody(server, "alice", "viewer")
        with acting_as(server, alice):
            for number in range(MAX_DENIED_NAMED + 3):
                for _ in range(2):
                    assert told(await server.send("DELETE", f"/targets/t-{number}")) == DENIED
        found = await denials(server, 2 * (MAX_DENIED_NAMED + 3))
        assert all(len(event["payload"]["about"]) <= MAX_DENIED_NAMED for event in found)
        counts, about, others = summed(found)
        assert counts == {"targets.write": 2 * (MAX_DENIED_NAMED + 3)} and sum(about.values()) + others == sum(counts.values())
        assert about["targets.write", "target/t-0"] == 2


async def test_a_thing_too_many_is_counted_without_its_name_and_one_that_is_named_goes_on_to_be():
    told_of = list[Any]()
    noted, noon = denied_commands(0.01), datetime(2026, 1, 1, 12, tzinfo=UTC)

    async def tell(command: Any) -> None:
        told_of.append(command)

    for number in (*range(MAX_DENIED_NAMED + 2), 0, 0, MAX_DENIED_NAMED):
        noted.note("alice", DeniedWrite("targets.write", f"target/t-{number}"), noon, tell)
    await eventually_async(lambda: asyncio.sleep(0, bool(told_of)))
    (command,) = told_of
    assert command.counts == {"targets.write": MAX_DENIED_NAMED + 5}
    assert [(each.object, each.count) for each in command.about] == [
        ("target/t-0", 3),
        *((f"target/t-{number}", 1) for number in range(1, MAX_DENIED_NAMED)),
    ]


async def test_what_denied_commands_were_about_is_told_to_who_may_read_the_whole_audit_trail_alone(tmp_path: Path):
    """A role limited to one half would learn of the other by what somebody else tried there."""
    async with serving(tmp_path, audit_window_s=0.5) as server:
        await two_halves(server)
        await made(server, "/roles", {"name": "front-desk", "permissions": ["users.read", "users.write"]})
        desk = await somebody(server, "desk", "front-desk", "web-op")
        eve = await somebody(server, "eve", "viewer")
        with acting_as(server, eve):
            assert told(await server.send("DELETE", "/targets/db-01")) == DENIED
        (event,) = await denials(server, 1, "eve")
        assert event["id"] in [each["id"] for each in (await server.get("/users/eve/history")).json()["items"]]
        with acting_as(server, desk):
            for path in ("/users/eve/history", "/audit/events?stream=user/eve", "/audit/events?q=db-01", "/audit/export"):
                answer = await server.get(path)
                assert answer.status_code == 200 and "db-01" not in answer.text, path
            assert "UserCreated" in (await server.get("/users/eve/history")).text
            assert told(await server.get(f"/audit/events/{event['id']}")) == (404, "event_not_found")


def test_what_a_write_is_about_is_known_of_every_route():
    """What is none of these is about the own account."""
    of_own = {folder_of(route) for route in TABLE if route.method != "GET" and route.permission} - set(KINDS) - set(OTHERS)
    assert of_own == {"me", "auth"}


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


async def test_an_api_token_that_asks_about_its_owner_is_told_what_it_may_not_do_itself(server: Server):
    token = await issued(server, "admin", permissions=["self.read", "jobs.read", "users.read"])
    await made(server, "/users", {"name": "bob", "roles": ["operator"]})
    with acting_as(server, token["token"]):
        for permission in ("users.write", "self.write", "runs.start"):
            assert await why(server, "admin", permission) == (False, f"the API token was not issued for {permission}")
        assert await why(server, "admin", "jobs.read") == (True, "administrator has jobs.read")
        assert await why(server, "admin", "self.read") == (True, "one's own account is everybody's")
        assert await why(server, "bob", "runs.start") == (True, "operator has runs.start"), "of others it is asked as they are"
    assert (await why(server, "admin", "users.write"))[0], "the owner who signed in may"


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
