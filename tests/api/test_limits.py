"""What does somebody see and do whose role is limited? The one half, as if the other did not exist."""

import asyncio
import json
from pathlib import Path

import pytest

from api.freshness import Freshness
from domain.run.messages import StepEnd, StepStart
from tests.api.conftest import job, made, target
from tests.api.limited import ABSENT_JOB, ABSENT_TARGET, DENIED, PLANNED, acting_as, somebody, told, two_halves
from tests.api.server import Server, claimed_and_planned, reported, serving, wrote
from tests.api.test_runs import Follower

WEB_SWAP = {key: value for key, value in job("web-swap", concurrency="replace").items() if key != "name"}


def same_but_for_the_id(answer):
    return {**answer.json(), "correlation_id": ""}


async def names(server, path):
    return [item.get("name") or item.get("stream") for item in (await server.get(path)).json()["items"]]


async def test_lists_show_the_one_half_and_are_filtered_before_they_are_paged(server: Server):
    alice = await two_halves(server)
    for n in range(6):
        await made(server, "/targets", target(f"t-{n}", labels={"env": "staging" if n % 2 else "prod"}))
    with acting_as(server, alice):
        assert await names(server, "/jobs") == ["web-all", "web-deploy"]
        assert await names(server, "/targets?selector=name=db-01") == []
        seen, cursor = [], ""
        for _ in range(4):
            page = (await server.get(f"/targets?limit=1{cursor}", headers={"Ops-Min-Version": "target/t-5@1"})).json()
            seen += [item["name"] for item in page["items"]]
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == ["t-1", "t-3", "t-5", "web-01"] and page["next_cursor"] is None


async def test_what_is_beyond_a_limit_is_not_told_from_what_does_not_exist(server: Server):
    alice = await two_halves(server)
    run = (await made(server, "/jobs/db-deploy/runs", {}))["run_id"]
    other = run.replace("db-deploy.0", "db-deploy.f")
    with acting_as(server, alice):
        pairs = (("/targets/db-01", "/targets/db-99"), ("/jobs/db-deploy", "/jobs/db-99"), (f"/runs/{run}", f"/runs/{other}"))
        below = {"jobs": ["/revisions", "/revisions/1"], "runs": ["/steps", "/output", "/output?follow=true"]}
        for hidden, absent in pairs:
            for path in ("", "/history", "?as_of=1", *below.get(hidden.split("/")[1], ())):
                answers = [await server.get(each + path) for each in (hidden, absent)]
                assert answers[0].status_code == 404 and same_but_for_the_id(answers[0]) == same_but_for_the_id(answers[1]), path
        for method, path in (("PATCH", "/targets/%s"), ("DELETE", "/targets/%s"), ("POST", "/targets/%s/check")):
            answers = [told(await server.send(method, path % name, {})) for name in ("db-01", "db-99")]
            assert answers == [ABSENT_TARGET] * 2, (method, path)
        for method, path in (("PUT", "/jobs/%s"), ("DELETE", "/jobs/%s"), ("POST", "/jobs/%s/runs")):
            body = job("x") if method == "PUT" else {}
            body.pop("name", None)
            answers = [told(await server.send(method, path % name, body)) for name in ("db-deploy", "db-99")]
            assert answers == [ABSENT_JOB] * 2, (method, path)
        assert told(await server.post(f"/runs/{run}/cancel", {})) == (404, "run_not_found")


async def test_what_is_hidden_is_looked_for_as_long_as_what_does_not_exist(server: Server, monkeypatch):
    alice = await two_halves(server)
    run = (await made(server, "/jobs/db-deploy/runs", {}))["run_id"]
    waited, log_end = list[int](), Freshness.log_end

    async def counted(self, kinds, projections=()):
        waited[-1] += 1
        await log_end(self, kinds, projections)

    monkeypatch.setattr(Freshness, "log_end", counted)
    pairs = (("/targets/db-01", "/targets/db-99"), (f"/runs/{run}", f"/runs/{run.replace('db-deploy.0', 'db-deploy.f')}"))
    with acting_as(server, alice):
        for hidden, absent in pairs:
            for method, path, body in (
                ("GET", "", None),
                ("GET", "/history", None),
                ("GET", "?as_of=1", None),
                ("PATCH", "", {}),
            ):
                waited.clear()
                for each in (hidden, absent):
                    waited.append(0)
                    await server.send(method, each + path, body)
                assert waited[0] == waited[1], (method, hidden, path, "whether it is there could be told by the time it takes")


async def test_how_it_was_is_shown_of_what_is_seen_now_and_would_have_been_seen_then(server: Server):
    alice = await two_halves(server)
    assert (await server.send("PATCH", "/targets/db-01", {"labels": {"env": "staging"}})).status_code == 200
    with acting_as(server, alice):
        fresh = {"Ops-Min-Version": "target/db-01@2"}
        assert (await server.get("/targets/db-01", headers=fresh)).json()["labels"] == {"env": "staging"}
        assert told(await server.get("/targets/db-01?as_of=1")) == ABSENT_TARGET
        assert (await server.get("/targets/db-01?as_of=2")).status_code == 200
        first, second = [item["time"] for item in (await server.get("/targets/db-01/history")).json()["items"]]
        assert await names(server, f"/targets?as_of={first}") == ["web-01"]
        assert await names(server, f"/targets?as_of={second}") == ["db-01", "web-01"]
        assert await names(server, f"/jobs?as_of={second}") == ["web-all", "web-deploy"]


async def test_a_run_starts_on_targets_within_the_limit_only(server: Server):
    alice = await two_halves(server)
    with acting_as(server, alice):
        for selector in ({}, {"targets": "env=staging"}):
            plan = await server.post("/jobs/web-all/runs", {**selector, "dry_run": True})
            assert plan.json()["targets"] == ["web-01"]
        for hidden in ("env=prod", "env=nowhere"):
            plan = await server.post("/jobs/web-all/runs", {"targets": hidden, "dry_run": True})
            assert (plan.status_code, plan.json()["targets"]) == (200, []), "whether a hidden target has the label is not told"
            assert (await server.post("/jobs/web-all/runs", {"targets": hidden})).status_code == 201
        every = (await made(server, "/jobs/web-all/runs", {}))["run_id"]
        assert (await server.get(f"/runs/{every}")).json()["selector"] == "env,env=staging"
        run = (await made(server, "/jobs/web-all/runs", {"targets": "env=staging"}))["run_id"]
        shown = (await server.get(f"/runs/{run}")).json()
        assert shown["selector"] == "env,env=staging,env=staging", "what comes to match before the plan is beyond it, too"


async def test_a_run_that_replaces_others_starts_only_where_none_of_them_could_be_beyond_the_limit(server: Server):
    alice = await two_halves(server)
    await made(server, "/jobs", job("web-swap", targets="env", concurrency="replace"))
    with acting_as(server, alice):
        denied = await server.post("/jobs/web-swap/runs", {"targets": "env=staging"})
        assert told(denied) == (*DENIED, "targets") and "db-01" not in denied.text
        assert (await server.send("PUT", "/jobs/web-swap", {**WEB_SWAP, "targets": "env=staging"})).status_code == 200
        await made(server, "/jobs/web-swap/runs", {})


async def test_a_target_is_changed_only_within_the_limit_before_and_after(server: Server):
    alice = await two_halves(server, ("targets.read", "targets.write", "credentials.use"), {"targets": "env=staging"})
    with acting_as(server, alice):
        assert told(await server.post("/targets", target("web-02", labels={"env": "prod"}))) == (*DENIED, "labels")
        await made(server, "/targets", target("web-02", labels={"env": "staging"}))
        assert told(await server.send("PATCH", "/targets/web-01", {"labels": {"env": "prod"}})) == (*DENIED, "labels")
        assert told(await server.send("PATCH", "/targets/web-01", {"labels": None})) == (*DENIED, "labels")
        assert (await server.send("PATCH", "/targets/web-01", {"labels": {"rack": "1"}})).status_code == 200
        stale = await server.send("PATCH", "/targets/web-01", {"title": "x"}, headers={"If-Match": '"1"'})
        assert told(stale) == (412, "version_conflict")
        key = {"Idempotency-Key": "k"}
        first, again = [await server.send("PATCH", "/targets/web-01", {"title": "Once"}, headers=key) for _ in range(2)]
        assert first.json() == again.json() and first.status_code == 200
        assert (await server.send("DELETE", "/targets/web-02")).status_code == 200


async def test_jobs_are_defined_and_runs_cancelled_within_the_limit(server: Server):
    alice = await two_halves(server)
    run = (await made(server, "/jobs/web-all/runs", {}))["run_id"]
    with acting_as(server, alice):
        mine = (await made(server, "/jobs/web-deploy/runs", {}))["run_id"]
        assert told(await server.post("/jobs", job("db-new"))) == (*DENIED, "name")
        await made(server, "/jobs", job("web-new"))
        assert told(await server.post(f"/runs/{run}/cancel", {})) == (404, "run_not_found"), "not planned yet"
        assert (await server.post(f"/runs/{mine}/cancel", {})).status_code == 200
    await claimed_and_planned(server, run, PLANNED)
    with acting_as(server, alice):
        cancel = await server.post(f"/runs/{run}/cancel", {}, headers={"Ops-Min-Version": f"run/{run}@3"})
        assert told(cancel) == DENIED and "db-01" not in cancel.text


async def test_of_a_run_only_the_targets_within_the_limit_are_shown(server: Server):
    alice = await two_halves(server)
    run = (await made(server, "/jobs/web-all/runs", {}))["run_id"]
    await claimed_and_planned(server, run, PLANNED)
    await reported(server, run, StepStart("only", "db-01", 1), StepStart("only", "web-01", 1))
    await wrote(server, run, "hidden\n", target="db-01")
    end = await wrote(server, run, "shown\n", target="web-01")
    with acting_as(server, alice):
        follower = Follower(server, f"/runs/{run}/output")
        await follower.until(lambda f: "shown" in f.text)
        ends = [StepEnd("only", name, 1, "succeeded", 0, None, end) for name in ("web-01", "db-01")]
        await reported(server, run, *ends)
        await follower.until(lambda f: "event: end" in f.text)
        assert "hidden" not in follower.text
        shown = await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@9"})
        assert shown.json()["state"] == "succeeded"
        assert [item["target"] for item in (await server.get(f"/runs/{run}/steps")).json()["items"]] == ["web-01"]
        assert [item["text"] for item in (await server.get(f"/runs/{run}/output")).json()["items"]] == ["shown\n"]
        assert told(await server.get(f"/runs/{run}/history")) == (404, "run_not_found"), "its events name db-01"
        assert "db-01" not in (await server.get("/audit/events?limit=1000")).text


async def test_of_a_run_that_is_partly_seen_neither_the_number_nor_the_ends_of_the_others_are_told(server: Server):
    alice = await two_halves(server)
    both, web = [(await made(server, "/jobs/web-all/runs", {}))["run_id"] for _ in range(2)]
    for run, planned in ((both, PLANNED), (web, PLANNED[1:])):
        await claimed_and_planned(server, run, planned)
        names = [target.name for target in planned]
        await reported(server, run, *(StepStart("only", name, 1) for name in names))
        await reported(server, run, *(StepEnd("only", name, 1, "failed", 1, None, 0) for name in names))
    fresh = {"Ops-Min-Version": f"run/{both}@8,run/{web}@6"}
    assert (await server.get(f"/runs/{both}", headers=fresh)).json()["targets"]["failed"] == 2
    with acting_as(server, alice):
        for query in ("", "?as_of=2999-01-01T00:00:00Z"):
            one = {run: (await server.get(f"/runs/{run}{query}")).json() for run in (both, web)}
            listed = {item["id"]: item for item in (await server.get(f"/runs{query}")).json()["items"]}
            assert one == listed
            assert one[both]["targets"] == {"total": 1}
            assert (one[web]["targets"]["total"], one[web]["targets"]["failed"]) == (1, 1), "all of it is within the limit"


async def test_a_run_names_of_those_it_waits_for_only_what_the_caller_sees(server: Server):
    alice = await two_halves(server)
    await made(server, "/jobs", job("web-turns", targets="env", concurrency="queue"))
    first, second, third = [(await made(server, "/jobs/web-turns/runs", {}))["run_id"] for _ in range(3)]
    await claimed_and_planned(server, first, PLANNED[1:])
    await claimed_and_planned(server, second, PLANNED[:1])
    with acting_as(server, alice):
        last = (await made(server, "/jobs/web-turns/runs", {}))["run_id"]
    fresh = {"Ops-Min-Version": f"run/{first}@3,run/{second}@3,run/{last}@1"}
    assert (await server.get(f"/runs/{last}/steps", headers=fresh)).status_code == 200
    with acting_as(server, alice):
        assert (await server.get(f"/runs/{last}")).json()["waits_for"] == [first]
        assert [item["waits_for"] for item in (await server.get("/runs")).json()["items"] if item["id"] == last] == [[first]]
        assert (await server.get(f"/runs/{last}?as_of=1")).json()["waits_for"] == [first]
    assert (await server.get(f"/runs/{last}")).json()["waits_for"] == [first, second, third]


async def test_a_run_is_seen_once_it_touches_a_target_within_the_limit_and_at_once_by_who_asked_for_it(server: Server):
    alice = await two_halves(server)
    prod, both, web = [(await made(server, "/jobs/web-all/runs", {}))["run_id"] for _ in range(3)]
    with acting_as(server, alice):
        own = (await made(server, "/jobs/web-all/runs", {}))["run_id"]
        fresh = {"Ops-Min-Version": f"run/{own}@1"}
        assert [item["id"] for item in (await server.get("/runs", headers=fresh)).json()["items"]] == [own]
        assert (await server.get(f"/runs/{own}")).status_code == 200
        for run in (prod, both, web):
            for path in ("", "/history", "/steps", "/output", "?as_of=1"):
                assert told(await server.get(f"/runs/{run}{path}")) == (404, "run_not_found"), "not planned yet"
    for run, planned in ((prod, PLANNED[:1]), (both, PLANNED), (web, PLANNED[1:])):
        await claimed_and_planned(server, run, planned)
    assert (await server.get(f"/runs/{web}/steps", headers={"Ops-Min-Version": f"run/{web}@3"})).status_code == 200
    with acting_as(server, alice):
        for path in ("/runs", "/runs?as_of=2999-01-01T00:00:00Z"):
            seen, cursor = set(), ""
            while cursor is not None:
                page = (await server.get(f"{path}{'&' if '?' in path else '?'}limit=1{cursor}")).json()
                seen |= {item["id"] for item in page["items"]}
                cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
            assert seen == {own, both, web}, path
        statuses = {run: (await server.get(f"/runs/{run}")).status_code for run in (prod, both, web)}
        assert statuses == {prod: 404, both: 200, web: 200}
        histories = {run: (await server.get(f"/runs/{run}/history")).status_code for run in (prod, both, web, own)}
        assert histories == {prod: 404, both: 404, web: 200, own: 404}


async def test_the_audit_trail_shows_the_streams_that_may_be_read(server: Server):
    alice = await two_halves(server)
    run = (await made(server, "/jobs/db-deploy/runs", {}))["run_id"]
    mine = (await made(server, "/jobs/web-deploy/runs", {}))["run_id"]
    early, both = [(await made(server, "/jobs/web-all/runs", {}))["run_id"] for _ in range(2)]
    for planned, on in ((mine, PLANNED[1:]), (both, PLANNED)):
        await claimed_and_planned(server, planned, on)
        assert (await server.get(f"/runs/{planned}/steps", headers={"Ops-Min-Version": f"run/{planned}@3"})).status_code == 200
    hidden = {"user/alice", "role/web-op", "target/db-01", f"run/{run}", f"run/{early}", f"run/{both}"}
    fresh = {"Ops-Min-Version": f"run/{run}@1,run/{mine}@3,run/{early}@1,run/{both}@3"}
    every = (await server.get("/audit/events?limit=1000", headers=fresh)).json()["items"]
    assert hidden <= {item["stream"] for item in every}
    with acting_as(server, alice):
        seen = {"target/web-01", "job/web-all", "job/web-deploy", f"run/{mine}"}
        assert set(await names(server, "/audit/events?limit=1000")) == seen
        lines = (await server.get("/audit/export")).text.splitlines()
        assert {json.loads(line)["stream"] for line in lines} == seen
        for item in every:
            status = (await server.get(f"/audit/events/{item['id']}")).status_code
            assert status == (200 if item["stream"] in seen else 404), item["stream"]
            outcome = (await server.get(f"/commands/{item['command_id']}")).status_code
            assert outcome == (200 if item["actor"]["name"] == "alice" else 404), "somebody else's is not told"
        assert told(await server.post("/audit/verify", {})) == DENIED
        follower = Follower(server, "/events/stream", query="")
        await follower.until(lambda f: f.status == 200)
    await made(server, "/jobs", job("db-new"))
    await made(server, "/jobs", job("web-new"))
    await follower.until(lambda f: "job/web-new" in f.text)
    assert "db-new" not in follower.text
    await follower.leave()


async def test_that_a_hidden_version_exists_is_not_to_be_had_by_waiting_for_it(tmp_path: Path):
    async with serving(tmp_path, freshness_wait_s=1.5) as server:
        with acting_as(server, await two_halves(server)):
            assert (await server.get("/me", headers={"Ops-Min-Version": "target/web-01@1"})).status_code == 200
            for stream in ("target/db-01@1", "job/db-deploy@1"):
                hidden = await server.get("/me", headers={"Ops-Min-Version": stream})
                assert told(hidden) == (503, "projection_lag")
            assert told(await server.get("/me", headers={"Ops-Min-Version": "user/admin@1"})) == DENIED


async def test_a_stream_ends_once_its_reader_may_see_it_no_more(server: Server):
    alice = await two_halves(server)
    with acting_as(server, alice):
        run = (await made(server, "/jobs/web-deploy/runs", {}))["run_id"]
        await server.get("/me", headers={"Ops-Min-Version": f"run/{run}@1"})
        follower = Follower(server, f"/runs/{run}/output")
        await follower.until(lambda f: f.status == 200)
    assert (await server.send("PATCH", "/roles/web-op", {"limits": {"jobs": "db-*"}})).status_code == 200
    await asyncio.wait_for(follower.task, 60)
    assert "event: end" not in follower.text


async def test_an_api_token_of_the_limited_is_limited_alike(server: Server):
    alice = await two_halves(server)
    with acting_as(server, alice):
        body = {"expires_at": "2030-01-01T00:00:00Z", "permissions": ["jobs.read", "runs.start"]}
        token = (await made(server, "/users/alice/tokens", body))["token"]
    with acting_as(server, token):
        assert await names(server, "/jobs") == ["web-all", "web-deploy"]
        assert (await server.post("/jobs/web-all/runs", {"dry_run": True})).json()["targets"] == ["web-01"]
        assert told(await server.get("/targets")) == DENIED, "beyond its scope"


@pytest.mark.parametrize("also", ["viewer", "administrator"])
async def test_a_second_role_widens_what_it_permits(server: Server, also: str):
    await two_halves(server)
    with acting_as(server, await somebody(server, "carol", "web-op", also)):
        assert "db-01" in await names(server, "/targets")
        plan = (await server.post("/jobs/web-all/runs", {"dry_run": True})).json()
        assert plan["targets"] == (["db-01", "web-01"] if also == "administrator" else ["web-01"])
