"""Of fifty secrets put through everything that takes one, is any to be found anywhere after a run, in any common encoding?"""

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from redis import Redis
from sqlalchemy import MetaData, create_engine, make_url, select

from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import Installation
from tests.roles.rest import Rest
from tests.roles.test_secrets_stay_secret import Finds, files, watched
from tests.roles.test_shredding import in_clear

pytestmark = pytest.mark.services

ENCODINGS = ("cat", "base64 -w0", "base64 -w76", "od -An -v -tx1 | tr -d ' \\n'", "tr -d '\\n' | sed 's/./&/g'")
TOKENS = {"title": "CI", "permissions": None, "expires_at": "2099-01-01T00:00:00Z"}


class Planted:
    """Secrets by what they are."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def new(self, name: str, text: str | None = None) -> str:
        self.by_name[name] = text or f"C@n+ary/{secrets.token_urlsafe(20)}&é"
        return self.by_name[name]


def key(passphrase: str | None) -> str:
    sealed = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, sealed).decode()


def plant_credentials(rest: Rest, planted: Planted) -> None:
    for n in range(4):
        words = {"username": "u", "password": planted.new(f"password {n}")}
        rest.write("POST", "/credentials", {"name": f"p-{n}", "kind": "password", "secret": words})
        rest.write("PUT", f"/credentials/p-{n}/secret", {"secret": {**words, "password": planted.new(f"password {n} anew")}})
        windows = {"username": "u", "password": planted.new(f"winrm {n}"), "transport": "ntlm"}
        rest.write("POST", "/credentials", {"name": f"w-{n}", "kind": "winrm", "secret": windows})
        rest.write("POST", "/credentials", {"name": f"t-{n}", "kind": "token", "secret": {"token": planted.new(f"token {n}")}})
        passphrase = planted.new(f"passphrase {n}") if n % 2 else None
        private = key(passphrase)
        planted.new(f"private key {n}", "".join(private.splitlines()[2:4])[:100])
        secret = {"username": "u", "private_key": private, "passphrase": passphrase}
        rest.write("POST", "/credentials", {"name": f"k-{n}", "kind": "ssh_key", "secret": secret})
    body = {"name": "x", "kind": "token", "secret": {"token": planted.new("refused"), "more": 1}}
    refused = rest.ask("POST", "/credentials", body)
    assert refused.status_code == 422


def plant_users(rest: Rest, planted: Planted) -> list[str]:
    """Users with titles and passwords, each changed, and an API token; what refusals answered."""
    answers = []
    for n in range(6):
        name = f"planted-{n}"
        body = {"name": name, "password": planted.new(f"user {n}"), "roles": ["viewer"]}
        rest.write("POST", "/users", {**body, "title": planted.new(f"title of user {n}")})
        rest.write("PATCH", f"/users/{name}", {"title": planted.new(f"title of user {n} anew")})
        rest.write("PUT", f"/users/{name}/password", {"password": planted.new(f"user {n} anew")})
        said = rest.write("POST", f"/users/{name}/tokens", TOKENS).body
        planted.new(f"API token {n}", said["token"].rsplit(".", 1)[1])
        wrong = {"grant_type": "password", "username": name, "password": planted.new(f"guess {n}")}
        answers.append(rest._http.post("/api/v1/auth/token", data=wrong).text)
    signed_in = rest.sign_in()
    planted.new("access token", signed_in["access_token"].rsplit(".", 1)[1])
    planted.new("refresh token", signed_in["refresh_token"])
    return answers


def refused_runs(rest: Rest, planted: Planted) -> list[str]:
    """What is answered to parameters that are refused, with secrets in them."""
    answers = []
    for wrong in (planted.new("too long") * 9000, [planted.new("in a list")]):
        refused = rest.ask("POST", "/jobs/planted/runs", {"parameters": {"secret_0": wrong}})
        assert refused.status_code == 422, refused.text[:300]
        answers.append(refused.text)
    return answers


def said_in_every_way(name: str) -> list[str]:
    return [f"printf %s {{{{ parameters.{name} }}}} | {how}" for how in ENCODINGS[:4]]


def start_run(rest: Rest, planted: Planted) -> str:
    names = [f"secret_{n}" for n in range(6)]
    steps: list[dict[str, Any]] = [
        {"name": f"s-{n}", "kind": "command", "run": f"{'; echo; '.join(said_in_every_way(name))}; echo; sleep 0.5"}
        for n, name in enumerate(names)
    ]
    steps.append({"name": "fails", "kind": "script", "shell": "sh", "body": "echo $OPS_PARAM_SECRET_0 >&2; kill -9 $$"})
    job = {"name": "planted", "targets": "set=fleet,group=1", "steps": steps}
    rest.write("POST", "/jobs", {**job, "parameters": [{"name": name, "type": "secret"} for name in names]})
    values = {name: planted.new(f"parameter {name}") for name in names}
    return rest.write("POST", "/jobs/planted/runs", {"parameters": values}).body["run_id"]


def every_answer(rest: Rest, run: str) -> dict[str, bytes]:
    """What every GET route of the contract answers, for what was made above."""
    document = rest._http.get("/openapi.json").json()
    event = rest.get("/audit/events")["items"][0]
    known: Mapping[str, list[str]] = {
        "users": ["planted-0", "admin"], "credentials": ["p-0", "k-1", "t-2"], "jobs": ["planted"], "targets": ["a-01"],
        "runs": [run], "roles": ["viewer"], "audit": [event["id"]], "commands": [event["command_id"]],
    }  # fmt: skip
    answers: dict[str, bytes] = {}
    for path, operations in document["paths"].items():
        if "get" not in operations or path.endswith("/stream"):
            continue
        folder = path.removeprefix("/api/v1/").partition("/")[0]
        for name in known.get(folder, [""]) if "{" in path else [""]:
            real = path.replace("{revision}", "1")
            real = re.sub(r"\{\w+\}", name, real)
            parameters = {"limit": "1000"} if any(p["name"] == "limit" for p in operations["get"].get("parameters", [])) else {}
            headers = {"Authorization": f"Bearer {rest._token}"}
            answers[real] = rest._http.get(real, params=parameters, headers=headers, follow_redirects=False).content
    return answers


def planted_and_used(rest: Rest, fleet_servers: list[FleetServer]) -> tuple[dict[str, bytes], Finds]:
    """Plant fifty secrets and use them; every form in which one might be kept, and what was found in arguments and answers."""
    planted = Planted()
    planted.new("signing in", rest.password)
    planted.new("key of the fleet", "".join(fleet_servers[0].private_key.splitlines()[2:4])[:100])
    plant_credentials(rest, planted)
    refusals = plant_users(rest, planted)
    run = start_run(rest, planted)
    refusals += refused_runs(rest, planted)
    assert len(planted.by_name) >= 50
    forms = ((name, in_clear(text)) for name, text in planted.by_name.items())
    wanted = {f"{name} {form}": part for name, found in forms for form, part in found.items() if len(part) > 12}
    found = in_any({"a process's arguments": watched(rest, run), "a refusal": "".join(refusals).encode()}, wanted)
    answers = every_answer(rest, run)
    assert len(answers) > 30 and sum(len(answer) for answer in answers.values()) > 20_000
    assert answers[f"/api/v1/runs/{run}/output"].count(b"***") >= 24, "the masks are where the secrets were printed"
    return wanted, found + [each for each in in_any(answers, wanted) if not is_shown(each)]


def in_files(installation: Installation, wanted: Mapping[str, bytes]) -> Finds:
    """In the data folder and the logs, but for the file that the first administrator's password is left in."""
    found: Finds = []
    for name, content in files(installation.home, installation.logs, leave_out=frozenset({"admin-password"})):
        found += in_any({name: content}, wanted)
    return found


def test_none_of_fifty_planted_secrets_is_to_be_found_embedded(server: Installation, fleet_servers: list[FleetServer]) -> None:
    rest = server.rest()
    wanted, found = planted_and_used(rest, fleet_servers)
    assert found + in_files(server, wanted) == []
    rest.close()


def test_none_of_fifty_planted_secrets_is_to_be_found_in_a_cluster(
    house: tuple[Installation, Rest, Fleet], fleet_servers: list[FleetServer]
) -> None:
    installation, rest, _ = house
    wanted, found = planted_and_used(rest, fleet_servers)
    looked_through = 0
    in_redis = dict(kept_in_redis(installation))
    assert in_redis, "sessions are kept there"
    for where, content in (*records(installation), *rows(installation), *in_redis.items()):
        found += in_any({where: content}, wanted)
        looked_through += 1
    assert looked_through > 500
    assert found + in_files(installation, wanted) == []


def is_shown(found: str) -> bool:
    """Whether it is the title of a user, where users are shown to whoever may see them."""
    return found.startswith("title of user") and found.endswith((" in /api/v1/users", " in /api/v1/users/planted-0"))


def in_any(places: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[str]:
    return [f"{name} in {place}" for place, content in places.items() for name, part in wanted.items() if part in content]


def records(installation: Installation) -> Iterator[tuple[str, bytes]]:
    """Keys, headers and values of every topic of the installation, aborted transactions included."""
    address = installation.environment["OPSCONDUCTOR_LOG_URL"].removeprefix("kafka://")
    prefix = installation.environment["OPSCONDUCTOR_LOG_PREFIX"]
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": f"{prefix}-look",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
        }
    )
    try:
        topics = {name: t for name, t in consumer.list_topics(timeout=60).topics.items() if name.startswith(f"{prefix}.")}
        assert len(topics) >= 8
        left = {(name, number) for name, topic in topics.items() for number in topic.partitions}
        consumer.assign([TopicPartition(name, number, 0) for name, number in left])
        while left:
            message = consumer.poll(60)
            assert message is not None, f"nothing comes of {left}"
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                left.discard((message.topic(), message.partition()))
            else:
                headers = b"".join(value or b"" for _, value in message.headers() or ())
                yield message.topic(), (message.key() or b"") + headers + (message.value() or b"")
    finally:
        consumer.close()


def rows(installation: Installation) -> Iterator[tuple[str, bytes]]:
    """Every row of every table, the vault's included: what it keeps is sealed."""
    engine = create_engine(make_url(installation.database_url).set(drivername="postgresql+psycopg"))
    try:
        found = MetaData()
        found.reflect(engine)
        assert len(found.tables) >= 10
        with engine.connect() as connection:
            for name, table in found.tables.items():
                for row in connection.execute(select(table)):
                    yield name, b"\x00".join(bytes(c) if isinstance(c, bytes | memoryview) else str(c).encode() for c in row)
    finally:
        engine.dispose()


def kept_in_redis(installation: Installation) -> Iterator[tuple[str, bytes]]:
    """Every key with what it holds."""
    with Redis.from_url(installation.environment["OPSCONDUCTOR_REDIS_URL"]) as there:
        for key in there.scan_iter():
            match there.type(key):
                case b"hash":
                    kept = b"\x00".join(part for pair in there.hgetall(key).items() for part in pair)
                case b"string":
                    kept = there.get(key) or b""
                case b"zset":
                    kept = b"\x00".join(there.zrange(key, 0, -1))
                case other:
                    raise AssertionError(f"a {other!r} is not looked into")
            yield f"redis {key!r}", key + kept
