"""Do lists page without gaps or repeats, whatever their order, and are cursors good for nothing else?"""

import base64

from tests.api.conftest import credential, job, made, target


async def targets_of(server, count):
    await made(server, "/credentials", credential())
    for n in range(count):
        await made(server, "/targets", target(f"web-{n:02d}", labels={"env": "prod", "odd": str(n % 2)}))
    return {"Ops-Min-Version": ",".join(f"target/web-{n:02d}@1" for n in range(count))}


async def pages(server, path, headers, field="name"):
    names, cursor = [], ""
    while cursor is not None:
        answer = await server.get(f"{path}{cursor}", headers=headers)
        assert answer.status_code == 200, answer.text
        names += [item[field] for item in answer.json()["items"]]
        following = answer.json()["next_cursor"]
        cursor = following and f"&cursor={following}"
    return names


async def test_pages_have_no_gaps_and_no_repeats_in_any_order(server):
    fresh = await targets_of(server, 11)
    names = [f"web-{n:02d}" for n in range(11)]
    assert await pages(server, "/targets?limit=3", fresh) == names
    assert await pages(server, "/targets?limit=3&sort=-name", fresh) == names[::-1]
    assert await pages(server, "/targets?limit=4&sort=created_at", fresh) == names
    assert await pages(server, "/targets?limit=4&sort=-updated_at", fresh) == names[::-1]
    assert await pages(server, "/targets?limit=2&selector=odd=1", fresh) == names[1::2]
    events = await pages(server, "/audit/events?limit=2", {}, "id")
    assert len(events) == len(set(events)) >= 13


async def test_a_cursor_is_good_only_for_its_own_list(server):
    fresh = await targets_of(server, 3)
    cursor = (await server.get("/targets?limit=1", headers=fresh)).json()["next_cursor"]
    assert (await server.get(f"/targets?limit=2&cursor={cursor}")).status_code == 200
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=="))
    raw[-3] ^= 1
    changed = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    for query in (
        f"/targets?cursor={changed}",
        f"/targets?cursor={cursor[:-1]}",
        f"/targets?cursor={cursor}A",
        "/targets?cursor=broken",
        "/targets?cursor=",
        "/targets?cursor=%27%20OR%201=1",
        f"/targets?selector=odd=1&cursor={cursor}",
        f"/targets?sort=-name&cursor={cursor}",
        f"/jobs?cursor={cursor}",
    ):
        answer = await server.get(query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), query


async def test_selectors_mean_the_same_here_as_in_a_plan(server):
    await made(server, "/credentials", credential())
    kinds = {"a": {"env": "prod"}, "b": {"env": "prod", "role": "db"}, "c": {"role": "web"}, "d": {"env": "test", "role": ""}}
    for name, labels in kinds.items():
        await made(server, "/targets", target(name, labels=labels))
    fresh = {"Ops-Min-Version": "target/a@1,target/b@1,target/c@1,target/d@1"}
    from domain.selector import matches, parse_selector

    for text in (
        "env=prod", "env!=prod", "role", "!role", "env=prod,role!=db", "name=a", "name!=a", "name", "!name", "role=", "role!=",
        "env=prod,!role", "nothing", "!nothing", "env=%", "env=PROD",
    ):  # fmt: skip
        listed = await server.get("/targets", params={"selector": text}, headers=fresh)
        meant = [name for name, labels in kinds.items() if matches(parse_selector(text), name, labels)]
        assert [item["name"] for item in listed.json()["items"]] == meant, text


async def test_a_retired_target_leaves_the_list_and_stays_readable(server):
    fresh = await targets_of(server, 2)
    version = (await server.send("DELETE", "/targets/web-00")).json()["version"]
    fresh = {"Ops-Min-Version": f"target/web-00@{version}"}
    assert [t["name"] for t in (await server.get("/targets", headers=fresh)).json()["items"]] == ["web-01"]
    assert [t["name"] for t in (await server.get("/targets?retired=true", headers=fresh)).json()["items"]] == ["web-00"]
    assert (await server.get("/targets/web-00")).json()["retired"] is True
    assert (await server.send("PATCH", "/targets/web-00", {"title": "x"})).json()["code"] == "target_retired"


async def test_jobs_keep_every_revision(server):
    await made(server, "/jobs", job())
    revised = await server.send("PUT", "/jobs/greet", job(run="echo two"))
    assert revised.status_code == 200 and revised.json()["version"] == 2
    assert (await server.send("PUT", "/jobs/greet", job(name="other"))).json()["errors"][0]["field"] == "name"
    fresh = {"Ops-Min-Version": "job/greet@2"}
    assert (await server.get("/jobs/greet", headers=fresh)).json()["revision"] == 2
    assert (await server.get("/jobs/greet/revisions/1")).json()["steps"][0]["run"] == "echo hello"
    assert [r["revision"] for r in (await server.get("/jobs/greet/revisions")).json()["items"]] == [1, 2]
    assert (await server.send("DELETE", "/jobs/greet")).status_code == 200
    refused = await server.post("/jobs/greet/runs", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "job_archived")


async def test_the_audit_trail_is_searched_by_who_what_when_and_words(server):
    await made(server, "/jobs", job(run="echo 100%_sure"))
    await made(server, "/jobs", job(name="other"))
    fresh = {"Ops-Min-Version": "job/other@1"}
    for query, streams in (
        ("q=100%25_SURE", ["job/greet"]),
        ("q=100__sure", []),
        ("type=JobDefined", ["job/greet", "job/other"]),
        ("type=JobDefined&sort=-time", ["job/other", "job/greet"]),
        ("actor=system:setup", ["user/admin", "user/admin"]),
        ("stream=job/other", ["job/other"]),
        ("from=2999-01-01T00:00:00Z", []),
        ("type=JobDefined&to=2999-01-01T00:00:00%2B02:00", ["job/greet", "job/other"]),
    ):
        answer = await server.get(f"/audit/events?{query}", headers=fresh)
        assert [event["stream"] for event in answer.json()["items"]] == streams, query
    event = answer.json()["items"][0]
    assert event["actor"] == {"kind": "user", "name": "admin"} and event["position"].startswith("jobs/")
    assert (await server.get(f"/audit/events/{event['id']}")).json() == event
    outcome = (await server.get(f"/commands/{event['command_id']}")).json()
    assert (outcome["state"], outcome["stream"], outcome["event_ids"]) == ("accepted", "job/greet", [event["id"]])


async def test_a_dry_run_shows_the_plan_and_records_nothing(server):
    fresh = await targets_of(server, 5)
    await made(server, "/jobs", job(strategy={"batch_size": "50%"}))
    plan = (await server.post("/jobs/greet/runs", {"dry_run": True, "targets": "name!=web-04"}, headers=fresh)).json()
    assert plan["targets"] == [f"web-0{n}" for n in range(4)] and (plan["job"], plan["revision"]) == ("greet", 1)
    assert plan["batches"] == [["web-00", "web-01"], ["web-02", "web-03"]] and plan["steps"][0]["run"] == "echo hello"
    assert (await server.get("/runs")).json()["items"] == []


async def test_users_are_shown_with_their_roles_and_never_with_a_password(server):
    listed = (await server.get("/users")).json()
    assert [(user["name"], user["roles"]) for user in listed["items"]] == [("admin", ["administrator"])]
    shown = await server.get("/users/admin")
    assert shown.json() == listed["items"][0] and shown.headers["etag"] == f'"{shown.json()["version"]}"'
    assert set(shown.json()) == {
        "name",
        "title",
        "sealed_title",
        "roles",
        "disabled",
        "erased",
        "linked",
        "service",
        "last_sign_in_at",
        "created_at",
        "updated_at",
        "version",
    }
    assert (await server.get("/users/admin?as_of=1")).json()["roles"] == []
    assert (await server.get("/users?as_of=2001-01-01T00:00:00Z")).json()["items"] == []
    assert len((await server.get(f"/users?as_of={shown.json()['updated_at']}")).json()["items"]) == 1
    assert (await server.get("/users/nobody")).json()["code"] == "user_not_found"
