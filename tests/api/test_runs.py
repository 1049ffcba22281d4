"""Is a run shown as it is: complete when it is final, its output in order, followed live and resumed without gap or repeat?"""

import asyncio
import json

from api.queries.runs import completeness
from api.read_models import ReadModels
from api.routes.all import TABLE
from domain.run.messages import PlannedTarget, StepEnd, StepStart
from domain.target import SshConnection
from schemas.partitioning import shard_of
from schemas.position import Partition
from tests.api.conftest import job, made
from tests.api.server import claimed_and_planned, reported, scope_of, serving, wrote

WEB = PlannedTarget("web-01", 1, "10.0.0.5", {"env": "prod"}, SshConnection("deploy-key"))


async def running_run(server, targets=(WEB,)):
    await made(server, "/jobs", job())
    run = (await made(server, "/jobs/greet/runs", {"reason": "because"}))["run_id"]
    await claimed_and_planned(server, run, targets)
    await reported(server, run, StepStart("only", "web-01", 1))
    return run


async def finished_run(server, *texts):
    run = await running_run(server)
    end = await wrote(server, run, *texts)
    await reported(server, run, StepEnd("only", "web-01", 1, "succeeded", 0, None, end))
    return run


async def final(server, run):
    async with asyncio.timeout(60):
        while (answer := await server.get(f"/runs/{run}")).status_code == 404 or answer.json()["state"] != "succeeded":
            await asyncio.sleep(0.02)
    return answer.json()


async def test_a_final_run_is_complete(server):
    run = await finished_run(server, *(f"line {n}\n" for n in range(250)))
    shown = await final(server, run)
    assert (shown["targets"]["total"], shown["targets"]["succeeded"], shown["requested_by"]) == (1, 1, "admin")
    assert (shown["job"], shown["revision"], shown["reason"]) == ("greet", 1, "because")
    [step] = (await server.get(f"/runs/{run}/steps")).json()["items"]
    assert (step["step"], step["target"], step["state"], step["exit_code"]) == ("only", "web-01", "succeeded", 0)
    texts, cursor = [], ""
    while cursor is not None:
        page = (await server.get(f"/runs/{run}/output?limit=100{cursor}")).json()
        texts += [item["text"] for item in page["items"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert texts == [f"line {n}\n" for n in range(250)]
    by_time = (await server.get(f"/runs/{run}/output?sort=time&stream=stdout&limit=1000")).json()["items"]
    assert [item["text"] for item in by_time] == texts
    assert (await server.get(f"/runs/{run}/output?stream=stderr")).json()["items"] == []
    assert [item["id"] for item in (await server.get("/runs?job=greet&state=succeeded")).json()["items"]] == [run]


async def test_a_final_run_whose_output_is_not_there_yet_is_not_shown_as_final(tmp_path):
    async with serving(tmp_path, freshness_wait_s=0.3) as server:
        run = await running_run(server)
        end = await wrote(server, run, "one\n")
        await reported(server, run, StepEnd("only", "web-01", 1, "succeeded", 0, None, end + 5))
        await server.get("/runs", headers={"Ops-Min-Version": f"run/{run}@7"})
        answer = await server.get(f"/runs/{run}")
        assert (answer.status_code, answer.json()["code"]) == (503, "projection_lag")
        assert (await server.get("/runs")).status_code == 503
        await wrote(server, run, "two\n", "three\n", "four\n", "five\n", "six\n", begin=2)
        assert (await final(server, run))["state"] == "succeeded"


def test_who_asks_for_a_version_of_a_run_waits_for_the_steps_by_which_its_targets_are_counted():
    """Who sees a part of a run is shown the number of the targets that they see, which is that of its steps."""
    shows = [route for route in TABLE if (route.method, route.path) in (("GET", "/api/v1/runs"), ("GET", "/api/v1/runs/{run}"))]
    assert [route.reads for route in shows] == [("runs", "run_steps")] * 2


async def test_cancelling_answers_200_until_the_run_is_final(server):
    await made(server, "/jobs", job())
    run = (await made(server, "/jobs/greet/runs", {}))["run_id"]
    assert (await server.post(f"/runs/{run}/cancel", {"reason": "enough"})).status_code == 200
    again = await server.post(f"/runs/{run}/cancel", {})
    assert (again.status_code, again.json()["code"]) == (409, "run_finished")
    assert (await server.post(f"/runs/{run}/cancel", {"why": "x"})).status_code == 422


class Follower:
    """Reads server-sent events as they come."""

    def __init__(self, server, path, headers=None, query="follow=true", begin=True):
        self.status, self.text, self.over = 0, "", False
        self._gone = asyncio.Event()
        head = {"Authorization": f"Bearer {server.token}", **(headers or {})}
        self._begun = False
        if begin:
            scope = scope_of("GET", f"/api/v1{path}", head, query)
            self.task = asyncio.create_task(server.app(scope, self._receive, self._send))

    async def _receive(self):
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"").decode()

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition(self):
                await asyncio.sleep(0.01)

    async def leave(self):
        self._gone.set()
        await asyncio.wait_for(self.task, 60)

    @property
    def events(self):
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
            if fields.get("event") == "output":
                found.append((int(fields["id"]), json.loads(fields["data"])["text"]))
        return found


async def test_output_is_followed_while_it_is_written_and_resumed_without_gap_or_repeat(server):
    run = await running_run(server)
    await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@5"})
    first = Follower(server, f"/runs/{run}/output")
    await wrote(server, run, "a", "b")
    await first.until(lambda f: len(f.events) == 2)
    assert first.status == 200 and "event: end" not in first.text
    await first.leave()
    end = await wrote(server, run, "c", "d", begin=3)
    second = Follower(server, f"/runs/{run}/output", {"Last-Event-ID": str(first.events[-1][0])})
    await second.until(lambda f: len(f.events) == 2)
    await reported(server, run, StepEnd("only", "web-01", 1, "succeeded", 0, None, end))
    await asyncio.wait_for(second.task, 60)
    assert [text for _, text in first.events + second.events] == ["a", "b", "c", "d"]
    assert second.text.rstrip().endswith("event: end\ndata: {}")
    third = await server.get(f"/runs/{run}/output?follow=true")
    assert third.headers["content-type"].startswith("text/event-stream") and third.text.count("event: output") == 4
    wrong = await server.get(f"/runs/{run}/output?follow=true", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 400
    assert (await server.get(f"/runs/{run}/output?follow=true&limit=3")).status_code == 422


async def test_live_streams_end_when_the_server_stops_and_are_bounded(tmp_path):
    async with serving(tmp_path, max_streams_per_actor=1, heartbeat_s=0.1) as server:
        run = await running_run(server)
        await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@5"})
        follower = Follower(server, f"/runs/{run}/output")
        await follower.until(lambda f: ": still here" in f.text)
        more = await server.get(f"/runs/{run}/output?follow=true")
        assert (more.status_code, more.json()["code"]) == (429, "too_many_streams")
        server.given.drain.stopping = True
        await asyncio.wait_for(follower.task, 60)
        assert "event: end" not in follower.text, "the client comes again"


async def test_a_reader_who_takes_nothing_is_let_go_and_one_who_goes_leaves_nothing_behind(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("api.live.SEND_WITHIN_S", 0.2)
    async with serving(tmp_path, max_streams_per_actor=1) as server:
        run = await running_run(server)
        await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@5"})
        for spec_version in ("2.0", "2.4"):
            stuck = Follower(server, f"/runs/{run}/output", begin=False)
            scope = scope_of("GET", f"/api/v1/runs/{run}/output", {"Authorization": f"Bearer {server.token}"}, "follow=true")
            scope["asgi"]["spec_version"] = spec_version

            async def never(message):
                if message["type"] == "http.response.body":
                    await asyncio.Event().wait()

            await asyncio.wait_for(server.app(scope, stuck._receive, never), 60)
        gone = Follower(server, f"/runs/{run}/output")
        await gone.until(lambda f: "retry" in f.text)
        await gone.leave()
        follower = Follower(server, f"/runs/{run}/output")
        await follower.until(lambda f: f.status == 200)
        await follower.leave()
        assert server.given.wakeups._waiters == {} and not caplog.records


def test_a_final_run_is_complete_once_its_last_event_and_its_last_output_are_passed():
    run = "greet.00000000-0000-7000-8000-000000000000"
    row = {"id": run, "state": "succeeded", "offset": 41, "output_end": 7}
    shard = shard_of(f"run/{run}", 3)
    further = {**row, "offset": 50, "output_end": 3}
    assert completeness([row, further], 3) == ({Partition("runs", shard): 51}, {Partition("run-output", shard): 7})
    assert completeness([{**row, "state": "running"}], 3) == ({}, {})


async def test_a_run_that_goes_on_is_read_with_one_question_beside_who_asks(server, monkeypatch):
    run = await running_run(server)
    await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@4"})
    asked = []
    ask = ReadModels.ask

    def counted(models, question):
        asked.append(question)
        return ask(models, question)

    monkeypatch.setattr(ReadModels, "ask", counted)
    assert (await server.get(f"/runs/{run}")).json()["state"] == "running"
    assert len(asked) == 2
