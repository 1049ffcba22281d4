"""Is a secret never in an answer, a command, an event or a file in clear; and is what came to nothing destroyed?"""

import asyncio

import pytest

from schemas.log import LogUnavailable
from schemas.outcome import Outcome, Rejected
from schemas.vault import SecretUnavailable, bound_to_credential, bound_to_run
from tests.api.conftest import credential, job, made, private_key, target
from tests.api.server import PASSWORD


async def test_a_secret_is_nowhere_in_clear(server):
    canary = "S3cr3t-canary-9911"
    key = private_key()
    lines = [line for line in key.splitlines() if len(line) > 40]
    await made(server, "/credentials", {"name": "deploy-key", "kind": "ssh_key", "secret": {"username": "u", "private_key": key}})
    await made(server, "/credentials", {"name": "pw", "kind": "password", "secret": {"username": "u", "password": canary}})
    await made(server, "/credentials", {"name": "win", "kind": "winrm", "secret": {"username": "u", "password": canary}})
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": canary}})
    await made(server, "/targets", target())
    await made(server, "/jobs", job(parameters=[{"name": "token", "type": "secret"}]))
    run = (await made(server, "/jobs/greet/runs", {"parameters": {"token": canary}}))["run_id"]
    fresh = {"Ops-Min-Version": f"run/{run}@1"}
    shown = await server.get(f"/runs/{run}", headers=fresh)
    assert shown.json()["parameters"] == {"token": "***"}
    for path in (
        f"/runs/{run}/history",
        f"/audit/events?stream=run/{run}",
        "/audit/events?limit=1000",
        "/credentials/pw",
        "/metrics",
    ):
        assert (await server.get(path, headers=fresh)).status_code == 200
    dry = await server.post("/jobs/greet/runs", {"parameters": {"token": canary}, "dry_run": True})
    assert dry.status_code == 200
    stored = server.everything_stored() + b"".join(server.answers)
    assert b"deploy-key" in stored and run.encode() in stored, "the scan sees what is stored"
    for secret in (canary, PASSWORD, *lines):
        assert secret.encode() not in stored


async def test_a_secret_opens_only_for_what_it_is_bound_to(server):
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": "t0"}})
    event = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@1"})).json()["items"][0]
    ident = event["payload"]["secret"]
    assert await server.given.vault.open(ident, bound_to_credential("tok", 1)) == b'{"token":"t0"}'
    with pytest.raises(SecretUnavailable):
        await server.given.vault.open(ident, bound_to_credential("tok", 2))


async def test_a_rejected_secret_is_destroyed_and_a_repeated_one_stays(server):
    body = {"name": "tok", "kind": "token", "secret": {"token": "t0"}}
    key = {"Idempotency-Key": "k"}
    first = await server.post("/credentials", body, headers=key)
    again = await server.post("/credentials", body, headers=key)
    assert first.json() == again.json(), again.text
    for other in ({**body, "secret": {"token": "t1"}}, {**body, "title": "x"}):
        assert (await server.post("/credentials", other, headers=key)).json()["code"] == "idempotency_key_reused"
        assert (await server.post("/credentials", other)).json()["code"] == "credential_exists"
    event = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@1"})).json()["items"][0]
    assert await server.given.vault.open(event["payload"]["secret"], bound_to_credential("tok", 1)) == b'{"token":"t0"}'
    assert await sealed(server) == {event["payload"]["secret"], await password_of_admin(server)}


async def test_two_secrets_under_one_key_at_once_do_not_harm_each_other(server):
    bodies = [{"name": "tok", "kind": "token", "secret": {"token": f"t{n}"}} for n in range(4)]
    answers = await asyncio.gather(*(server.post("/credentials", body, headers={"Idempotency-Key": "k"}) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422]
    first = [answer.status_code for answer in answers].index(201)
    event = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@1"})).json()["items"][0]
    kept = await server.given.vault.open(event["payload"]["secret"], bound_to_credential("tok", 1))
    assert kept == b'{"token":"t%d"}' % first
    assert len(await sealed(server)) == 1 + 1, "and those of the others are destroyed"


async def test_a_repeated_creation_that_nobody_remembers_keeps_the_secret_of_the_first(server):
    body, key = {"name": "tok", "kind": "token", "secret": {"token": "t0"}}, {"Idempotency-Key": "k"}
    assert (await server.post("/credentials", body, headers=key)).status_code == 201
    sent = []

    async def send(command):
        sent.append(command)

    async def find(command_id):
        return None

    async def wait(command_id, within_s):
        command = sent[0]
        result = Rejected("credential_exists", "credential tok exists already")
        return Outcome(**{name: getattr(command, name) for name in SHARED}, result=result)

    server.log.sender.send, server.log.outcomes.find, server.log.outcomes.wait = send, find, wait
    assert (await server.post("/credentials", body, headers=key)).status_code == 409
    event = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@1"})).json()["items"][0]
    assert await server.given.vault.open(event["payload"]["secret"], bound_to_credential("tok", 1)) == b'{"token":"t0"}'


SHARED = ("command_id", "stream", "type", "actor", "fingerprint", "correlation_id", "time")


async def sealed(server):
    from sqlalchemy import select

    from infra.vaults.tables import secrets

    with server.given.engine.connect() as connection:
        kept = set(connection.execute(select(secrets.c.secret_id)).scalars())
        return kept - {"api-signing-key", "api-cursors-key", "api-fingerprints-key", "api-identities-key"}


async def password_of_admin(server):
    return (await server.get("/users/admin/history")).json()["items"][0]["payload"]["password"]


async def test_rotating_seals_for_the_next_revision_also_when_another_was_first(server):
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": "t0"}})
    answers = await asyncio.gather(
        *(server.send("PUT", "/credentials/tok/secret", {"secret": {"token": f"t{n}"}}) for n in range(1, 5))
    )
    assert [a.status_code for a in answers] == [200] * 4, [a.text for a in answers]
    assert sorted(a.json()["version"] for a in answers) == [2, 3, 4, 5]
    events = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@5"})).json()["items"]
    tokens = [await server.given.vault.open(e["payload"]["secret"], bound_to_credential("tok", e["version"])) for e in events]
    assert len(set(tokens)) == 5
    assert len(await sealed(server)) == 5 + 1, "what was sealed for a revision that another took is destroyed"
    wrong = await server.send("PUT", "/credentials/tok/secret", {"secret": credential()["secret"]})
    assert wrong.status_code == 422


async def test_rotating_again_under_the_same_key_changes_nothing(server):
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": "t0"}})
    key, body = {"Idempotency-Key": "k"}, {"secret": {"token": "t1"}}
    first, again = [await server.send("PUT", "/credentials/tok/secret", body, headers=key) for _ in range(2)]
    assert first.json() == again.json() and first.json()["version"] == 2
    assert len(await sealed(server)) == 2 + 1


async def test_a_run_requested_again_under_its_key_is_the_same_run_with_the_same_secret(server):
    await made(server, "/jobs", job(parameters=[{"name": "token", "type": "secret"}]))
    key, body = {"Idempotency-Key": "k"}, {"parameters": {"token": "t0"}}
    first = await server.post("/jobs/greet/runs", body, headers=key)
    assert (await server.send("PUT", "/jobs/greet", job(run="echo bye"))).status_code == 200
    again = await server.post("/jobs/greet/runs", body, headers=key)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = await server.post("/jobs/greet/runs", {"parameters": {"token": "t1"}}, headers=key)
    assert other.json()["code"] == "idempotency_key_reused"
    run = first.json()["run_id"]
    event = (await server.get(f"/runs/{run}/history", headers={"Ops-Min-Version": f"run/{run}@1"})).json()["items"][0]
    ident = event["payload"]["parameters"]["token"]["sealed"]
    assert await server.given.vault.open(ident, bound_to_run(run, "token")) == b"t0"


async def test_a_job_revised_in_between_is_run_as_it_is_now(server):
    await made(server, "/jobs", job())
    await server.get("/jobs/greet", headers={"Ops-Min-Version": "job/greet@1"})
    real, behind = server.log.sender.send, []

    async def revising(command):
        if command.type == "RequestRun" and not behind:
            behind.append(command.command_id)
            assert (await server.send("PUT", "/jobs/greet", job(run="echo bye"))).status_code == 200
        await real(command)

    server.log.sender.send = revising
    answer = await server.post("/jobs/greet/runs", {})
    assert answer.status_code == 201, answer.text
    outcome = await server.log.outcomes.find(behind[0])
    assert isinstance(outcome.result, Rejected) and outcome.result.code == "job_revised_meanwhile"
    run = answer.json()["run_id"]
    assert (await server.get(f"/runs/{run}", headers={"Ops-Min-Version": f"run/{run}@1"})).json()["revision"] == 2


def overtaken(server, kind, by):
    """The next command of this kind is decided after what `by` does; the list holds its id once it is sent."""
    real, sent = server.log.sender.send, []

    async def send(command):
        if command.type == kind and not sent:
            sent.append(command.command_id)
            assert (await by()).status_code == 200
        await real(command)

    server.log.sender.send = send
    return sent


async def came_to_nothing(server, command_id, code):
    outcome = await server.log.outcomes.wait(command_id, 60)
    assert isinstance(outcome.result, Rejected) and outcome.result.code == code


async def test_a_rotation_whose_first_attempt_was_overtaken_and_never_answered_is_done_when_sent_again(server):
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": "t0"}})
    path, body, key = "/credentials/tok/secret", {"secret": {"token": "mine"}}, {"Idempotency-Key": "k"}
    sent = overtaken(server, "RotateCredential", lambda: server.send("PUT", path, {"secret": {"token": "another's"}}))
    assert (await server.send("PUT", path, body, headers={**key, "Prefer": "respond-async"})).status_code == 202
    await came_to_nothing(server, sent[0], "credential_rotated_meanwhile")
    await server.get("/credentials/tok", headers={"Ops-Min-Version": "credential/tok@2"})
    again = [await server.send("PUT", path, body, headers=key) for _ in range(2)]
    assert [(a.status_code, a.json()["version"]) for a in again] == [(200, 3)] * 2, again[0].text


async def test_a_run_whose_first_attempt_was_overtaken_and_never_answered_is_started_when_sent_again(server):
    await made(server, "/jobs", job())
    await server.get("/jobs/greet", headers={"Ops-Min-Version": "job/greet@1"})
    key = {"Idempotency-Key": "k"}
    sent = overtaken(server, "RequestRun", lambda: server.send("PUT", "/jobs/greet", job(run="echo bye")))
    assert (await server.post("/jobs/greet/runs", {}, headers={**key, "Prefer": "respond-async"})).status_code == 202
    await came_to_nothing(server, sent[0], "job_revised_meanwhile")
    await server.get("/jobs/greet", headers={"Ops-Min-Version": "job/greet@2"})
    again = [await server.post("/jobs/greet/runs", {}, headers=key) for _ in range(2)]
    assert [a.status_code for a in again] == [201] * 2 and again[0].json() == again[1].json(), again[0].text


async def test_a_secret_sealed_for_a_revision_that_another_took_is_sealed_anew_for_the_next(server):
    await made(server, "/credentials", {"name": "tok", "kind": "token", "secret": {"token": "t0"}})
    path, key, real = "/credentials/tok/secret", {"Idempotency-Key": "k"}, server.log.sender.send

    async def away(command):
        raise LogUnavailable("away")

    server.log.sender.send = away
    assert (await server.send("PUT", path, {"secret": {"token": "mine"}}, headers=key)).status_code == 503
    server.log.sender.send = real
    assert (await server.send("PUT", path, {"secret": {"token": "another's"}})).status_code == 200
    await server.get("/credentials/tok", headers={"Ops-Min-Version": "credential/tok@2"})
    assert (await server.send("PUT", path, {"secret": {"token": "mine"}}, headers=key)).json()["version"] == 3
    event = (await server.get("/credentials/tok/history", headers={"Ops-Min-Version": "credential/tok@3"})).json()["items"][-1]
    assert await server.given.vault.open(event["payload"]["secret"], bound_to_credential("tok", 3)) == b'{"token":"mine"}'
