"""Is every bad input told clearly, as 4xx problem details naming the field, and never as 5xx or with what was sent?"""

import asyncio
import json

from tests.api.conftest import credential, job, made, private_key, target
from tests.api.server import serving

JSON = {"Content-Type": "application/json"}


NOT_JSON = [
    b"{",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    json.dumps(target()).encode("utf-16"),
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b'{"name": "a", "name": "b"}',
    b"[" * 100_000,
    b'{"a":' * 200 + b"1" + b"}" * 200,
    b'{"name": "\xff"}',
]


async def test_what_is_not_json_is_400_and_json_that_is_no_object_422(server):
    for raw in NOT_JSON:
        answer = await server.send("POST", "/targets", content=raw, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    for raw in (b"[]", b"null", b'"x"', b"1", b"true"):
        assert (await server.send("POST", "/targets", content=raw, headers=JSON)).status_code == 422, raw


async def test_json_that_is_said_to_be_in_another_encoding_is_400(server):
    for charset in ("charset=utf-16", "charset=latin1", 'charset="iso-8859-1"', "a=b; charset*=utf-8''utf-16"):
        headers = {"Content-Type": f"application/json; {charset}"}
        answer = await server.send("POST", "/targets", content=json.dumps(target()).encode(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), answer.text
    headers = {"Content-Type": 'application/json; x-charset=latin1; profile="charset=latin1"; charset="UTF-8"'}
    body = json.dumps(target(name="in-utf-8")).encode()
    assert (await server.send("POST", "/targets", content=body, headers=headers)).status_code == 422  # its credential is unknown


def ssh_key(key, **more):
    return {"name": "c", "kind": "ssh_key", "secret": {"username": "u", "private_key": key, **more}}


CASES = {
    "slug": ("/targets", target(name="Bad Name!"), "name"),
    "slug of a job": ("/jobs", job(name="-x"), "name"),
    "unknown field": ("/targets", target(colour="red"), "colour"),
    "unknown field, nested": ("/targets", target(connection={"colour": "red"}), "connection.colour"),
    "wrong type": ("/targets", target(labels=["a"]), "labels"),
    "wrong type of a label": ("/targets", target(labels={"a": 1}), "labels.a"),
    "number as text": ("/targets", target(connection={"port": "22"}), "connection.port"),
    "port": ("/targets", target(connection={"port": 70000}), "connection.port"),
    "kind": ("/targets", target(connection={"kind": "telepathy"}), "connection.kind"),
    "kind of later": ("/targets", target(connection={"kind": "winrm"}), "connection.kind"),
    "nul": ("/targets", target(title="a\x00b"), "title"),
    "huge integer": ("/targets", target(connection={"port": 2**60}), "connection.port"),
    "huger integer": ("/targets", target(connection={"port": 10**4000}), "connection.port"),
    "mass assignment": ("/targets", target(version=9), "version"),
    "actor": ("/targets", target(actor={"kind": "system"}), "actor"),
    "missing": ("/targets", {"name": "a"}, "host"),
    "host key": ("/targets", target(connection={"host_key": "ssh-ed25519 AAAA"}), "connection.host_key"),
    "step without run": ("/jobs", job(steps=[{"name": "a", "kind": "command"}]), "steps.0.run"),
    "run of wrong type": ("/jobs", job(steps=[{"name": "a", "kind": "command", "run": 7}]), "steps.0.run"),
    "second step": ("/jobs", job(steps=[job()["steps"][0], {"name": "a", "kind": "script"}]), "steps.1.body"),
    "field of the other kind": ("/jobs", job(steps=[{"name": "a", "kind": "script", "body": "x", "run": "x"}]), "steps.0.run"),
    "step kind of later": ("/jobs", job(steps=[{"name": "a", "kind": "http"}]), "steps.0.kind"),
    "step kind": ("/jobs", job(steps=[{"name": "a", "kind": "x"}]), "steps.0.kind"),
    "no step kind": ("/jobs", job(steps=[{"name": "a", "run": "x"}]), "steps.0.kind"),
    "when": ("/jobs", job(steps=[{**job()["steps"][0], "when": "true"}]), "steps.0.when"),
    "register": ("/jobs", job(steps=[{**job()["steps"][0], "register": "x"}]), "steps.0.register"),
    "step is text": ("/jobs", job(steps=["x"]), "steps.0"),
    "steps are no list": ("/jobs", job(steps={"a": 1}), "steps"),
    "unknown template": ("/jobs", job(run="echo {{ nobody.knows }}"), "steps.0.run"),
    "quoted template": ("/jobs", job(run="echo '{{ target.name }}'"), "steps.0.run"),
    "template in a here-document": ("/jobs", job(run="cat <<EOF\n{{ target.name }}\nEOF"), "steps.0.run"),
    "template as code": ("/jobs", job(run="X=1 eval {{ target.name }}"), "steps.0.run"),
    "retries": ("/jobs", job(steps=[{**job()["steps"][0], "retries": {"max": 1.5}}]), "steps.0.retries.max"),
    "share": ("/jobs", job(strategy={"batch_size": [1]}), "strategy.batch_size"),
    "percentage": ("/jobs", job(strategy={"batch_size": "150%"}), "strategy.batch_size"),
    "job selector": ("/jobs", job(targets="==="), "targets"),
    "secret default": ("/jobs", job(parameters=[{"name": "t", "type": "secret", "default": "x"}]), "parameters.0.default"),
    "parameter type": ("/jobs", job(parameters=[{"name": "t", "type": "date"}]), "parameters.0.type"),
    "credential kind": ("/credentials", {**credential(), "kind": "psychic"}, "kind"),
    "secret field": ("/credentials", {"name": "c", "kind": "password", "secret": {"username": "u", "pass": "x"}}, "secret.pass"),
    "no secret": ("/credentials", {"name": "c", "kind": "token"}, "secret"),
    "no key": ("/credentials", ssh_key("hunter22"), "secret.private_key"),
    "passphrase needed": ("/credentials", ssh_key(private_key("hunter22")), "secret.private_key"),
    "wrong passphrase": ("/credentials", ssh_key(private_key("hunter22"), passphrase="hunter23"), "secret.private_key"),
}  # fmt: skip


async def test_what_is_wrong_is_422_naming_the_field_and_repeating_nothing(server):
    for label, (path, body, field) in CASES.items():
        answer = await server.send("POST", path, content=json.dumps(body).encode(), headers=JSON)
        told = answer.json()
        assert answer.status_code == 422 and told["code"], f"{label}: {answer.text}"
        assert field in [error["field"] for error in told["errors"]], f"{label}: {told}"
        assert "hunter2" not in answer.text and "telepathy" not in answer.text, f"{label} is repeated"


async def test_a_number_too_large_to_be_kept_is_told_as_a_number_with_its_field_and_bound(server):
    said = json.dumps(job()).removesuffix("}")
    for number, bound in (("1e400", "not a finite number"), (str(2**53 + 1), "beyond 2^53"), ("9" * 5000, "beyond 2^53")):
        answer = await server.send("POST", "/jobs", content=f'{said}, "timeout_s": {number}}}'.encode(), headers=JSON)
        told = answer.json()
        assert (answer.status_code, told["code"], len(told["errors"])) == (422, "validation_failed", 1), answer.text
        assert told["errors"][0]["field"] == "timeout_s" and bound in told["errors"][0]["message"]
    both = await server.post("/targets", target(title="a\x00b", connection={"port": 2**60}))
    assert both.json()["code"] == "unstorable_text"
    assert {error["field"] for error in both.json()["errors"]} == {"title", "connection.port"}


async def test_a_placeholder_that_may_not_stand_where_it_does_is_told_with_its_line_and_a_code(server):
    answer = await server.post("/jobs", job(run="echo\ncat <<EOF\n# $(( {{ target.name }} * 2 ))\nEOF"))
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    (error,) = answer.json()["errors"]
    assert error["field"] == "steps.0.run" and error["message"].startswith("line 3: {{ target.name }} stands in a here-document")
    assert error["message"].endswith("(placeholder_in_here_document)")


async def test_scripts_made_to_be_dear_are_refused_before_they_are_read(server):
    steps = [{"name": f"s{n}", "kind": "command", "run": "[[ " + "{{ run.id }} " * 17_000} for n in range(4)]
    for dear, field in (
        (job(run="{{ x }}" * 120_000), "steps.0.run"),
        (job(steps=steps), "steps.0.run"),
        (job(run="{{ run.id }}" * 21_000), "steps.0.run"),
    ):
        answer = await server.post("/jobs", dear)
        assert answer.status_code == 422 and [error["field"] for error in answer.json()["errors"]] == [field], answer.text[:500]


async def test_a_lone_surrogate_is_422_naming_the_field(server):
    raw = json.dumps(target()).replace('"A machine"', '"\\ud800"').encode()
    answer = await server.send("POST", "/targets", content=raw, headers=JSON)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "title"


async def test_query_parameters_are_checked(server):
    for path, field in (
        ("/targets?limit=0", "limit"),
        ("/targets?limit=1001", "limit"),
        ("/targets?limit=x", "limit"),
        ("/targets?limit=1&limit=2", "limit"),
        ("/targets?colour=red", "colour"),
        ("/targets?sort=host", "sort"),
        ("/targets?retired=maybe", "retired"),
        ("/targets?selector=%3D%3D%3D", "selector"),
        ("/targets?selector=a%00b", "selector"),
        ("/runs?state=a%00b", "state"),
        ("/audit/events?from=yesterday", "from"),
        ("/audit/events?to=2026-01-01T00:00:00", "to"),
        ("/audit/events?q=", "q"),
        ("/me?access_token=x", "access_token"),
    ):
        answer = await server.get(path)
        assert answer.status_code == 422, f"{path}: {answer.text}"
        assert answer.json()["errors"][0]["field"] == field, path


async def test_what_is_not_there_is_told_as_a_problem(server):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/targets/absent", 404),
        ("GET", "/targets/Bad%20Name", 404),
        ("GET", "/targets/a%00b", 404),
        ("GET", "/targets/absent/history", 404),
        ("GET", "/jobs/absent/revisions/1", 404),
        ("GET", "/jobs/absent/revisions/x", 404),
        ("GET", "/runs/absent", 404),
        ("GET", "/runs/absent.00000000-0000-7000-8000-000000000000/output", 404),
        ("GET", "/audit/events/x", 404),
        ("GET", "/commands/x", 404),
        ("PATCH", "/targets/absent", 404),
        ("DELETE", "/jobs/absent", 404),
        ("PUT", "/credentials/absent/secret", 404),
        ("POST", "/runs/absent.00000000-0000-7000-8000-000000000000/cancel", 404),
        ("POST", "/projections/absent/rebuild", 404),
        ("PUT", "/targets", 405),
        ("GET", "/targets/", 404),
    ):
        bodies = {"PATCH": {"title": "x"}, "PUT": {"secret": {"token": "x"}}, "POST": {}}
        answer = await server.send(method, path, bodies.get(method))
        assert answer.status_code == status and answer.json()["code"], f"{method} {path}: {answer.text}"
        assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]


async def test_a_body_that_is_too_large_is_413_before_anybody_is_asked_who_they_are(server):
    chunks = [b'{"name": "'] + [b"x" * 65_536] * 160 + [b'"}']
    status, body, taken = await server.raw("POST", "/api/v1/targets", chunks, JSON)
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")
    assert taken == len(chunks), "it is drained, so that the answer can be read"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, _ = await server.raw("POST", "/api/v1/auth/token", [b"a=" + b"x" * 70_000], form)
    assert status == 413
    lying = {**JSON, "Content-Length": "5"}
    assert (await server.raw("POST", "/api/v1/targets", chunks, lying))[0] == 413


async def test_a_body_that_does_not_come_is_408_and_a_compressed_one_415(tmp_path):
    async with serving(tmp_path, receive_s=0.2) as server:
        never: list[asyncio.Event] = []

        async def receive():
            if never:
                await asyncio.Event().wait()
            never.append(asyncio.Event())
            return {"type": "http.request", "body": b"{", "more_body": True}

        sent: list[dict] = []

        async def send(message):
            sent.append(message)

        from tests.api.server import scope_of

        await asyncio.wait_for(server.app(scope_of("POST", "/api/v1/targets", JSON), receive, send), 60)
        assert sent[0]["status"] == 408
        answer = await server.send("POST", "/targets", content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"})
        assert answer.status_code == 415


async def test_forms_are_read_strictly(server):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for raw, status in (
        (b"&".join(b"a%d=1" % n for n in range(5_000)), 400),
        (b"username=%ff&password=x&grant_type=password", 400),
        (b"username=a&username=b&password=x&grant_type=password", 400),
        (b"username=a&password=x", 422),
        (b"username=a&password=x&grant_type=magic", 422),
        (b"username=a&password=x&grant_type=password&colour=red", 422),
        (b"", 422),
    ):
        answer = await server.send("POST", "/auth/token", content=raw, headers=form)
        assert answer.status_code == status and answer.json()["code"], (raw[:60], answer.text)
    assert (await server.post("/auth/token", {"username": "admin"})).status_code == 415


async def test_parameters_are_checked_before_a_run_is_requested(server):
    parameters = [
        {"name": "days", "type": "integer", "default": 7, "minimum": 1, "maximum": 90},
        {"name": "who", "type": "string"},
    ]
    await made(server, "/jobs", job(parameters=parameters))
    for given, field in (
        ({}, "who"),
        ({"who": "a", "x": 1}, "x"),
        ({"who": "a", "days": "many"}, "days"),
        ({"who": "a", "days": 91}, "days"),
        ({"who": "a", "days": 7.5}, "days"),
        ({"who": 5}, "who"),
        ({"who": None}, "who"),
        ({"who": ["a"]}, "who"),
        ({"who": {"sealed": "x"}}, "who"),
        ({"who": "x" * 100_001}, "who"),
    ):
        answer = await server.post("/jobs/greet/runs", {"parameters": given})
        assert answer.status_code == 422, (given, answer.text)
        assert f"parameters.{field}" in [e["field"] for e in answer.json()["errors"]], answer.text
        assert "xxx" not in answer.text


async def test_correlation_ids_are_kept_when_they_are_harmless(server):
    for sent, kept in (("abc-1.2_X", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a\tb", False), ("é", False)):
        answer = await server.get("/me", headers={"X-Correlation-Id": sent.encode("latin-1")})
        assert (answer.headers["x-correlation-id"] == sent) is kept, sent
        assert answer.headers["x-content-type-options"] == "nosniff"
    answer = await server.post("/jobs", job(), headers={"X-Correlation-Id": "mine-1"})
    events = await server.get("/audit/events?correlation_id=mine-1", headers={"Ops-Min-Version": "job/greet@1"})
    assert [event["type"] for event in events.json()["items"]] == ["JobDefined"], answer.text


async def test_too_many_requests_at_once_are_503(tmp_path):
    async with serving(tmp_path, max_in_flight=2) as server:
        answers = await asyncio.gather(*(server.get("/me") for _ in range(20)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503} and codes.count(200) >= 2, codes
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
        server.given.drain.stopping = True
        assert (await server.get("/me")).json()["code"] == "shutting_down"
