"""Can the audit trail be followed, taken away and checked?"""

import asyncio
import json
from dataclasses import replace

from api.queries.event_stream import Place
from schemas.event_envelope import hash_of
from schemas.log import Undecodable
from schemas.position import Partition
from tests.api.conftest import job, made
from tests.api.server import Server
from tests.api.test_runs import Follower


async def following(server: Server, query: str = "", **headers: str) -> Follower:
    follower = Follower(server, "/events/stream", {name.replace("_", "-"): text for name, text in headers.items()}, query)
    await follower.until(lambda f: "retry:" in f.text)
    return follower


def told(follower: Follower) -> list[tuple[str, str, str]]:
    """Id, stream and type of every event that came."""
    found = []
    for block in follower.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines.get("event") == "event":
            item = json.loads(lines["data"])
            found.append((lines["id"], item["stream"], item["type"]))
    return found


async def test_new_events_of_all_shards_are_followed_and_resumed_without_gap_or_repeat(server: Server):
    await made(server, "/jobs", job("before"))
    await server.get("/audit/events", headers={"Ops-Min-Version": "job/before@1"})
    first = await following(server)
    for n in range(6):
        await made(server, "/jobs", job(f"job-{n}"))
    await first.until(lambda f: len(told(f)) == 6)
    await first.leave()
    came = told(first)
    assert sorted(stream for _, stream, _ in came) == [f"job/job-{n}" for n in range(6)], "only what is new"
    await made(server, "/jobs", job("job-6"))
    for index, (ident, _, _) in enumerate(came):
        rest = await following(server, Last_Event_ID=ident)
        await rest.until(lambda f, missing=6 - index: len(told(f)) >= missing)
        await rest.leave()
        streams = [stream for _, stream, _ in told(rest)]
        assert sorted(streams) == sorted([stream for _, stream, _ in came[index + 1 :]] + ["job/job-6"])


async def test_followed_events_are_filtered_and_a_strange_place_is_refused(server: Server):
    follower = await following(server, "stream=job/mine&type=JobArchived")
    for name in ("other", "mine"):
        await made(server, "/jobs", job(name))
        await server.send("DELETE", f"/jobs/{name}")
    await follower.until(lambda f: told(f))
    await follower.leave()
    assert [(stream, kind) for _, stream, kind in told(follower)] == [("job/mine", "JobArchived")]
    strange = (Place({Partition("commands.people", 0): 1}).text, Place({Partition("jobs", 0): -1}).text, "x", "W10", "A" * 40_000)
    for place in strange:
        answer = await server.get("/events/stream", headers={"Last-Event-ID": place})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_header"), place
    assert (await server.get("/events/stream?limit=3")).status_code == 422


async def test_an_export_holds_every_event_once_in_order_and_obeys_the_filters(server: Server, monkeypatch):
    monkeypatch.setattr("api.routes.audit._EXPORTED_AT_ONCE", 3)
    for n in range(7):
        await made(server, "/jobs", job(f"job-{n}"))
    export = await server.get("/audit/export")
    assert export.status_code == 200 and export.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in export.text.splitlines()]
    listed = (await server.get("/audit/events?limit=1000")).json()["items"]
    assert lines == listed and len(lines) == 10, (
        "seven jobs, what made the administrator and the sign-in, without waiting for the read model"
    )
    assert len((await server.get("/audit/export?stream=job/job-3")).text.splitlines()) == 1
    assert (await server.get("/audit/export?stream=job/none")).text == ""
    assert (await server.get("/audit/export?from=yesterday")).status_code == 422


async def test_a_log_that_is_as_it_was_written_is_intact(server: Server):
    for n in range(5):
        await made(server, "/jobs", job(f"job-{n}"))
    found = (await server.post("/audit/verify")).json()
    assert (found["intact"], found["events"], found["first_bad"], found["bad"]) == (True, 8, None, [])
    assert sum(chain["events"] for chain in found["chains"]) == 8 and all(len(chain["head"]) == 64 for chain in found["chains"])


class Tampered:
    """A feed in which one partition's records hold other bodies than were written."""

    def __init__(self, feed, partition, change):
        self._feed, self._partition, self._change = feed, partition, change

    @property
    def positions(self):
        return self._feed.positions

    async def read(self, limit, within_s):
        records = await self._feed.read(limit, within_s)
        mine = [record for record in records if record.position.partition == self._partition]
        others = [record for record in records if record.position.partition != self._partition]
        bodies = self._change([record.body for record in mine])
        return others + [replace(record, body=body) for record, body in zip(mine, bodies, strict=False)]

    async def close(self):
        await self._feed.close()


def renumbered(event, version):
    """As a writer that counts wrongly would have written it: its hash is right."""
    written = replace(event, version=version)
    return replace(written, hash=hash_of(written))


CHANGES = {
    "altered": lambda bodies: [bodies[0], replace(bodies[1], payload=bodies[1].payload + b" "), *bodies[2:]],
    "dropped": lambda bodies: [bodies[0], *bodies[2:]],
    "reordered": lambda bodies: [bodies[0], bodies[2], bodies[1], *bodies[3:]],
    "inserted": lambda bodies: [bodies[0], *bodies],
    "undecodable": lambda bodies: [bodies[0], Undecodable("no JSON", b"", b""), *bodies[2:]],
    "numbered wrongly from the beginning": lambda bodies: [bodies[0], renumbered(bodies[1], 2), *bodies[2:]],
}


async def test_what_was_altered_dropped_reordered_or_inserted_is_named(server: Server):
    for n in range(12):
        await made(server, "/jobs", job(f"job-{n}"))
    chains = (await server.post("/audit/verify")).json()["chains"]
    longest = max(chains, key=lambda chain: chain["events"])
    partition, real = Partition(longest["topic"], longest["shard"]), server.log.reader.feed
    offsets = [offset for offset, record in server.log.storage.committed(partition, 0) if record is not None]
    assert len(offsets) >= 4
    for name, change in CHANGES.items():

        async def tampered(start, change=change):
            return Tampered(await real(start), partition, change)

        server.log.reader.feed = tampered
        found = (await server.post("/audit/verify")).json()
        position = f"{partition.topic}/{partition.shard}/{offsets[1]}"
        assert found["intact"] is False and found["first_bad"]["position"] == position, (name, found["first_bad"])
        assert len(found["bad"]) == 1 and found["first_bad"]["reason"]


async def test_where_events_are_missing_at_the_beginning_is_named_and_the_rest_is_checked(server: Server):
    for n in range(12):
        await made(server, "/jobs", job(f"job-{n}"))
    whole = (await server.post("/audit/verify")).json()
    longest = max(whole["chains"], key=lambda chain: chain["events"])
    partition = Partition(longest["topic"], longest["shard"])
    server.log.delete_before(partition, 2)
    answer = await server.post("/audit/verify")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["intact"] is False and found["first_bad"]["position"] == f"{partition.topic}/{partition.shard}/0"
    assert "missing" in found["first_bad"]["reason"] and len(found["bad"]) == 1
    assert found["events"] == whole["events"] - longest["events"]


async def test_one_check_of_the_log_at_a_time(server: Server):
    real, begun, gate = server.log.reader.feed, asyncio.Event(), asyncio.Event()

    async def slow(start):
        begun.set()
        await gate.wait()
        return await real(start)

    server.log.reader.feed = slow
    first = asyncio.create_task(server.post("/audit/verify"))
    await asyncio.wait_for(begun.wait(), 60)
    second = await server.post("/audit/verify")
    assert (second.status_code, second.json()["code"]) == (503, "overloaded")
    gate.set()
    assert (await first).json()["intact"] is True
