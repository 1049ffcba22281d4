"""Is a thing shown as it was: by the version of its stream or by a time, alone and in lists?"""

from datetime import datetime, timedelta

from tests.api.conftest import credential, job, made, target
from tests.api.server import Server


async def times_of(server: Server, path: str, version: int) -> list[str]:
    history = await server.get(f"{path}/history", headers=seen(path, version))
    return [item["time"] for item in history.json()["items"]]


def seen(path: str, version: int) -> dict[str, str]:
    kind, name = path.strip("/").split("/")
    return {"Ops-Min-Version": f"{kind.removesuffix('s')}/{name}@{version}"}


def just_before(time: str) -> str:
    return (datetime.fromisoformat(time) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")


async def a_target_with_a_past(server: Server) -> list[str]:
    await made(server, "/credentials", credential())
    await made(server, "/targets", target(labels={"env": "prod"}))
    await server.send("PATCH", "/targets/web-01", {"title": "Renamed", "labels": {"env": None, "zone": "a"}})
    await server.send("DELETE", "/targets/web-01")
    return await times_of(server, "/targets/web-01", 4)


async def test_a_target_is_shown_at_every_version_and_at_every_time_it_had(server: Server):
    times = await a_target_with_a_past(server)
    assert len(times) == 4
    titles = {1: "A machine", 2: "Renamed", 3: "Renamed", 4: "Renamed"}
    for version, title in titles.items():
        was = await server.get(f"/targets/web-01?as_of={version}")
        assert (was.status_code, was.json()["title"], was.json()["version"]) == (200, title, version)
        assert was.headers["etag"] == f'"{version}"' and was.json()["retired"] == (version == 4)
    assert (await server.get(f"/targets/web-01?as_of={times[0]}")).json()["labels"] == {"env": "prod"}
    assert (await server.get(f"/targets/web-01?as_of={just_before(times[3])}")).json()["retired"] is False
    now = (await server.get("/targets/web-01")).json()
    assert (await server.get("/targets/web-01?as_of=4")).json() == now
    assert (await server.get("/targets/web-01?as_of=2099-01-01T00:00:00+02:00")).json() == now, "an unescaped plus sign, too"


async def test_what_was_not_there_then_is_absent_and_what_is_no_time_is_refused(server: Server):
    times = await a_target_with_a_past(server)
    for then in ("5", just_before(times[0]), "2001-01-01T00:00:00Z"):
        was = await server.get(f"/targets/web-01?as_of={then}")
        assert (was.status_code, was.json()["code"]) == (404, "target_not_found"), then
    for then in (
        "0",
        "-1",
        "",
        "x",
        "1.5",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "20260101T000000Z",
        "%00",
    ):
        was = await server.get(f"/targets/web-01?as_of={then}")
        assert (was.status_code, [e["field"] for e in was.json()["errors"]]) == (422, ["as_of"]), then


async def test_jobs_credentials_and_runs_have_a_past_too(server: Server):
    await made(server, "/credentials", credential())
    await server.send("PUT", "/credentials/deploy-key/secret", {"secret": credential()["secret"]})
    await made(server, "/jobs", job(run="echo one"))
    run = (await made(server, "/jobs/greet/runs", {}))["run_id"]
    await server.send("PUT", "/jobs/greet", job(run="echo two"))
    await server.post(f"/runs/{run}/cancel", {"reason": "too late"})
    await server.get("/me", headers={"Ops-Min-Version": f"credential/deploy-key@2,job/greet@2,run/{run}@3"})
    assert (await server.get("/credentials/deploy-key?as_of=1")).json()["revision"] == 1
    was = (await server.get("/jobs/greet?as_of=1")).json()
    assert (was["revision"], was["steps"][0]["run"]) == (1, "echo one")
    assert (await server.get(f"/runs/{run}?as_of=1")).json()["state"] == "requested"
    now = (await server.get(f"/runs/{run}")).json()
    assert (now["cancelled_by"], now["cancel_reason"]) == ("admin", "too late")
    assert now["error"] == {"code": "cancelled", "message": "cancelled by admin"}
    assert now["state"] == "cancelled" and (await server.get(f"/runs/{run}?as_of={now['version']}")).json() == now


async def test_a_list_is_shown_as_it_was_with_its_filters_and_pages(server: Server):
    await made(server, "/credentials", credential())
    for n in range(5):
        await made(server, "/targets", target(f"web-{n}", labels={"env": "prod" if n != 2 else "test"}))
    [before] = await times_of(server, "/targets/web-4", 1)
    await server.send("PATCH", "/targets/web-0", {"labels": {"env": "test"}})
    await server.send("DELETE", "/targets/web-1")
    await made(server, "/targets", target("web-5", labels={"env": "prod"}))
    fresh = {"Ops-Min-Version": "target/web-0@2,target/web-1@2,target/web-5@1"}
    now = (await server.get("/targets?selector=env=prod", headers=fresh)).json()["items"]
    assert [item["name"] for item in now] == ["web-3", "web-4", "web-5"]
    names: list[str] = []
    cursor = ""
    while True:
        page = (await server.get(f"/targets?selector=env=prod&as_of={before}&limit=2&sort=-name{cursor}")).json()
        names += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert names == ["web-4", "web-3", "web-1", "web-0"]
    assert (await server.get(f"/credentials?as_of={before}")).json()["items"][0]["name"] == "deploy-key"
    assert (await server.get("/jobs?as_of=2001-01-01T00:00:00Z")).json() == {"items": [], "next_cursor": None}
    for query, field in (("as_of=1", "as_of"), (f"as_of={before}&sort=updated_at", "sort")):
        refused = await server.get(f"/targets?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


async def test_runs_are_listed_by_the_state_they_had(server: Server):
    await made(server, "/jobs", job())
    run = (await made(server, "/jobs/greet/runs", {}))["run_id"]
    [requested] = await times_of(server, f"/runs/{run}", 1)
    await server.post(f"/runs/{run}/cancel", {})
    await server.get("/runs", headers=seen(f"/runs/{run}", 3))
    then = (await server.get(f"/runs?job=greet&state=requested&as_of={requested}")).json()["items"]
    assert [item["id"] for item in then] == [run] and then[0]["finished_at"] is None
    assert (await server.get(f"/runs?state=cancelled&as_of={requested}")).json()["items"] == []
    assert (await server.get("/runs?state=nonsense")).status_code == 422


async def test_a_long_list_is_looked_at_in_parts_and_loses_nothing(server: Server, monkeypatch):
    monkeypatch.setattr("api.as_of._AT_ONCE", 2)
    monkeypatch.setattr("api.as_of._MOST", 4)
    await made(server, "/credentials", credential())
    for n in range(9):
        await made(server, "/targets", target(f"web-{n}", labels={"last": "yes" if n == 8 else "no"}))
    [time] = await times_of(server, "/targets/web-8", 1)
    await server.get("/targets", headers=seen("/targets/web-8", 1))
    sizes, names, cursor = [], [], ""
    while True:
        page = (await server.get(f"/targets?selector=last=yes&as_of={time}{cursor}")).json()
        sizes.append(len(page["items"]))
        names += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (sizes, names) == ([0, 0, 1], ["web-8"])


async def test_a_clock_that_went_back_brings_no_event_without_those_before_it(server: Server):
    await made(server, "/credentials", credential())
    await made(server, "/targets", target())
    server.clock.ahead = timedelta(minutes=5)
    await server.send("PATCH", "/targets/web-01", {"title": "From the future", "labels": {}})
    server.clock.ahead = timedelta()
    await server.send("PATCH", "/targets/web-01", {"host": "10.0.0.9"})
    times = await times_of(server, "/targets/web-01", 3)
    assert times[0] < times[2] < times[1], "the second change is told as earlier than the first"
    then = (await server.get(f"/targets/web-01?as_of={times[2]}")).json()
    assert (then["version"], then["title"], then["host"]) == (1, "A machine", "10.0.0.5")
    assert (await server.get(f"/targets/web-01?as_of={times[1]}")).json()["version"] == 3
