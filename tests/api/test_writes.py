"""What does a write answer, and what does sending it again, at once or against another version?"""

import asyncio
from collections import Counter

from tests.api.conftest import credential, job, made, target
from tests.api.limited import acting_as, somebody, told
from tests.api.server import serving


async def test_a_write_answers_stream_version_command_id_etag_and_location(server):
    await made(server, "/credentials", credential())
    answer = await server.post("/targets", target())
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["stream"], body["version"], body["name"]) == ("target/web-01", 1, "web-01") and body["command_id"]
    assert answer.headers["etag"] == '"1"' and answer.headers["location"] == "/api/v1/targets/web-01"
    seen = await server.get("/targets/web-01", headers={"Ops-Min-Version": "target/web-01@1"})
    assert seen.status_code == 200 and seen.headers["etag"] == '"1"' and seen.json()["labels"] == {"env": "prod"}


async def test_a_command_sent_again_is_the_same_command_and_another_under_its_key_is_refused(server):
    await made(server, "/credentials", credential())
    key = {"Idempotency-Key": "k1"}
    answers = [await server.post("/targets", target(), headers=key) for _ in range(3)]
    assert {(a.status_code, a.json()["version"], a.json()["command_id"]) for a in answers} == {
        (201, 1, answers[0].json()["command_id"])
    }
    other = await server.post("/targets", target(title="Other"), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    history = await server.get("/targets/web-01/history", headers={"Ops-Min-Version": "target/web-01@1"})
    assert [event["type"] for event in history.json()["items"]] == ["TargetRegistered"]
    again = await server.post("/targets", target())
    assert (again.status_code, again.json()["code"]) == (409, "target_exists")


async def test_a_repeated_command_is_answered_from_memory_though_its_references_are_gone(server):
    await made(server, "/credentials", credential())
    key = {"Idempotency-Key": "k1"}
    first = await server.post("/targets", target(), headers=key)
    assert (await server.send("DELETE", "/credentials/deploy-key")).status_code == 200
    again = await server.post("/targets", target(), headers=key)
    assert (again.status_code, again.json()) == (201, first.json())


async def test_of_many_changes_of_one_version_exactly_one_wins(server):
    await made(server, "/credentials", credential())
    await made(server, "/targets", target())
    sent = (server.send("PATCH", "/targets/web-01", {"title": f"t{n}"}, headers={"If-Match": '"1"'}) for n in range(20))
    answers = await asyncio.gather(*sent)
    assert sorted(a.status_code for a in answers) == [200] + [412] * 19


async def test_if_match_is_read_strictly(server):
    await made(server, "/credentials", credential())
    await made(server, "/targets", target())
    for text in ('W/"1"', '"1","2"', "1", '"x"', '"99999999999999999999"', '"01"', '""'):
        answer = await server.send("PATCH", "/targets/web-01", {"title": "x"}, headers={"If-Match": text})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_if_match"), text
    assert (await server.send("PATCH", "/targets/web-01", {"title": "x"}, headers={"If-Match": "*"})).status_code == 200
    assert (await server.send("PATCH", "/targets/absent", {"title": "x"}, headers={"If-Match": "*"})).status_code == 404
    assert (await server.post("/targets", target("web-02"), headers={"If-Match": "*"})).status_code == 412


async def test_a_patch_is_a_merge_patch(server):
    await made(server, "/credentials", credential())
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG"
    await made(server, "/targets", target(labels={"env": "prod", "role": "web"}, connection={"port": 2222, "host_key": key}))
    patch = {"title": None, "labels": {"role": None, "zone": "a"}, "connection": {"port": None, "host_key": None}}
    answer = await server.send("PATCH", "/targets/web-01", patch, headers={"Content-Type": "application/merge-patch+json"})
    assert answer.status_code == 200, answer.text
    seen = await server.get("/targets/web-01", headers={"Ops-Min-Version": f"target/web-01@{answer.json()['version']}"})
    assert seen.json()["title"] == "" and seen.json()["labels"] == {"env": "prod", "zone": "a"}
    assert seen.json()["connection"] == {"kind": "ssh", "port": 22, "credential": "deploy-key", "host_key": None}
    for body, field in (({"host": None}, "host"), ({"connection": {"credential": None}}, "connection.credential")):
        refused = await server.send("PATCH", "/targets/web-01", body)
        assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == field


async def test_a_reference_made_a_moment_ago_is_never_absent(server):
    for n in range(10):
        await made(server, "/credentials", credential(f"key-{n}"))
        await made(server, "/targets", target(f"web-{n}", connection={"credential": f"key-{n}"}))
        await made(server, "/jobs", job(f"job-{n}"))
        await made(server, f"/jobs/job-{n}/runs", {})
    absent = await server.post("/targets", target("web-x", connection={"credential": "absent"}))
    assert absent.status_code == 422 and absent.json()["errors"][0]["field"] == "connection.credential"
    assert (await server.post("/jobs/absent/runs", {})).json()["code"] == "job_not_found"


async def test_a_target_carries_no_credential_that_cannot_log_in_to_it(server):
    await made(server, "/credentials", credential())
    await made(server, "/credentials", {"name": "api-key", "kind": "token", "secret": {"token": "not-for-ssh"}})
    await made(server, "/targets", target())
    other = {"connection": {"credential": "api-key"}}
    for refused in (
        await server.post("/targets", target("web-02", **other)),
        await server.send("PATCH", "/targets/web-01", other),
    ):
        assert refused.status_code == 422, refused.text
        (error,) = refused.json()["errors"]
        assert error["field"] == "connection.credential" and "of kind token" in error["message"]


async def test_who_does_not_want_to_wait_is_told_where_to_ask(server):
    answer = await server.post("/jobs", job(), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202 and answer.headers["location"].startswith("/api/v1/commands/")
    path = answer.headers["location"].removeprefix("/api/v1")
    async with asyncio.timeout(60):
        while (said := (await server.get(path)).json())["state"] == "unknown":
            await asyncio.sleep(0.02)
    assert (said["state"], said["stream"], said["version"]) == ("accepted", "job/greet", 1)


async def test_without_an_outcome_in_time_nothing_is_called_rejected(server):
    async def silent(command_id, within_s):
        return None

    server.log.outcomes.wait = silent
    answer = await server.post("/jobs", job())
    assert answer.status_code == 202 and answer.json()["state"] == "unknown"


async def test_read_your_own_writes_in_a_list(server):
    await made(server, "/credentials", credential())
    for n in range(20):
        await made(server, "/targets", target(f"web-{n}", labels={"ryw": str(n)}))
        listed = await server.get(f"/targets?selector=ryw={n}", headers={"Ops-Min-Version": f"target/web-{n}@1"})
        assert [item["name"] for item in listed.json()["items"]] == [f"web-{n}"]


async def test_how_fresh_an_answer_must_be_is_read_strictly_and_waited_for_bounded(tmp_path):
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        for header, text, status in (
            ("Ops-Min-Version", "target/web-01@99", 503),
            ("Ops-Min-Version", "target/web-01", 400),
            ("Ops-Min-Version", "spaceship/x@1", 400),
            ("Ops-Min-Version", "target/web-01@1,", 400),
            ("Ops-Min-Position", "targets/0/999999", 400),
            ("Ops-Min-Position", "targets/77/1", 400),
            ("Ops-Min-Position", "nothing/0/1", 400),
            ("Ops-Min-Position", "targets/0", 400),
        ):
            answer = await server.get("/targets", headers={header: text})
            assert answer.status_code == status and answer.json()["code"], (header, text, answer.text)
        await made(server, "/jobs", job())
        events = (await server.get("/audit/events?stream=job/greet", headers={"Ops-Min-Version": "job/greet@1"})).json()
        position = events["items"][0]["position"]
        assert (await server.get("/jobs", headers={"Ops-Min-Position": position})).status_code == 200


NEVER = {"Ops-Min-Version": "target/nope@1"}


async def test_who_waits_for_what_never_comes_holds_up_nobody_else(tmp_path):
    bounds = {"max_in_flight": 12, "max_waiting": 6, "max_waiting_per_account": 4, "freshness_wait_s": 5.0}
    async with serving(tmp_path, **bounds) as server:
        tokens = [await somebody(server, name, "viewer") for name in ("alice", "bob")]
        asked = []
        for token in tokens:
            with acting_as(server, token):
                asked.append([asyncio.create_task(server.get("/me", headers=NEVER)) for _ in range(6)])
                await asyncio.wait(asked[-1], timeout=1)
        for token in (*tokens, server.token):
            with acting_as(server, token):
                assert (await server.get("/me")).status_code == 200, "what does not wait is answered"
        answers = [[await task for task in tasks] for tasks in asked]
        lag, own, all_together = (503, "projection_lag"), (429, "too_many_waiting"), (503, "overloaded")
        assert [Counter(told(answer) for answer in each) for each in answers] == [{lag: 4, own: 2}, {lag: 2, all_together: 4}]
        assert all(answer.headers["retry-after"] == "1" for each in answers for answer in each)
        with acting_as(server, tokens[0]):
            assert told(await server.get("/me", headers=NEVER)) == lag, "and then there is room again"
