"""Can a shredded secret be had back from anything that the server wrote? And does the log still hold together?"""

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import select

from infra.sql.engine import open_reader
from infra.vaults.tables import secrets as table
from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import Installation, embedded
from tests.support.eventually import eventually

pytestmark = pytest.mark.services


def in_clear(text: str) -> dict[str, bytes]:
    """A secret in every form in which something might have kept it."""
    raw, found = text.encode(), {}
    found |= {"as it is": raw, "in UTF-16": text.encode("utf-16-le"), "in a URL": quote(text, safe="").encode()}
    found |= {"in hex": raw.hex().encode(), "in HEX": raw.hex().upper().encode(), "in JSON": json.dumps(text)[1:-1].encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + raw)[(4 if offset else 0) : -4]
        found |= {f"in base64+{offset}": encoded, f"in URL base64+{offset}": encoded.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def rows(installation: Installation) -> dict[str, tuple[bytes, bytes]]:
    """What the vault keeps: wrapped key and sealed secret, by id."""
    reader = open_reader(installation.database_url)
    try:
        with reader.connect() as connection:
            return {row.secret_id: (row.wrapped, row.sealed) for row in connection.execute(select(table))}
    finally:
        reader.dispose()


def pieces(blob: bytes) -> Iterator[bytes]:
    """Every part of sixteen bytes, end to end."""
    return (blob[at : at + 16] for at in range(0, len(blob) - 15, 16))


def found_in(home: Path, wanted: dict[str, list[bytes]]) -> list[str]:
    files = [(file, file.read_bytes()) for file in home.rglob("*") if file.is_file()]
    assert any(file.name == "read-models.db" for file, _ in files)
    return [
        f"{name} in {file.name}" for file, content in files for name, parts in wanted.items() if any(p in content for p in parts)
    ]


@contextmanager
def with_fleet(folder: Path, fleet_servers: list[FleetServer]) -> Iterator[Installation]:
    with embedded(folder) as installation:
        rest = installation.rest()
        Fleet(fleet_servers, folder / "traces").register(rest)
        rest.close()
        yield installation


def test_nothing_of_a_shredded_secret_is_left_in_any_byte_of_the_data_folder(
    tmp_path: Path, fleet_servers: list[FleetServer]
) -> None:
    with with_fleet(tmp_path, fleet_servers) as installation:
        rest, before = installation.rest(), set(rows(installation))
        texts = [f"Canary {n} {secrets.token_urlsafe(24)}" for n in range(3)]
        seen: dict[str, list[bytes]] = {}
        for n, text in enumerate(texts):
            secret = {"secret": {"username": "u", "password": text + "é" * 3000 * (n == 1)}}
            body = {"name": "doomed", "kind": "password", **secret}
            rest.write("POST", "/credentials", body) if n == 0 else rest.write("PUT", "/credentials/doomed/secret", secret)
        ours = set(rows(installation)) - before
        for _ in range(2):  # under one master key and the next
            for ident, (wrapped, sealed) in rows(installation).items():
                if ident in ours:
                    seen.setdefault(f"a wrapped key of {ident}", []).extend(pieces(wrapped))
                    seen.setdefault(f"a sealed secret of {ident}", []).extend(pieces(sealed))
            assert installation.command("vault", "rotate-master-key").returncode == 0
        for n in range(30):  # so that rows move about in the file
            body = {"name": f"other-{n}", "kind": "password", "secret": {"username": "u", "password": "p" * 40 * n or "p"}}
            rest.write("POST", "/credentials", body)
        assert len(ours) == 3 and found_in(installation.home, seen), "what is to be shredded was there"
        installation.log_in()
        done = installation.command("credential", "shred", "doomed", "--yes")
        assert done.returncode == 0, done.stderr
        seen |= {f"secret {n} {form}": [part] for n, text in enumerate(texts) for form, part in in_clear(text).items()}
        assert found_in(installation.home, seen) == []
        assert not ours & set(rows(installation))
        eventually(lambda: rest.get("/credentials/doomed")["shredded"])
        assert rest.get("/credentials/doomed")["revoked"] and not rest.get("/credentials/other-0")["shredded"]
        eventually(lambda: rest.items("/credentials/doomed/history")[-1]["type"] == "CredentialShredded")
        again = rest.ask("DELETE", "/credentials/doomed/secret")
        assert again.status_code == 200 and again.json()["stream"] == "credential/doomed", again.text
        verified = rest.ask("POST", "/audit/verify")
        assert verified.status_code == 200 and verified.json()["intact"], verified.text
        rest.close()


def test_nothing_of_an_erased_user_but_the_name_is_left_in_any_byte_of_the_data_folder(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        rest, before = installation.rest(), set(rows(installation))
        canaries = {f"title {n}": f"Žofie Canary {secrets.token_urlsafe(12)} the {n}." for n in range(2)}
        password = canaries["password"] = "Canary-" + secrets.token_urlsafe(16)
        rest.write("POST", "/users", {"name": "zofie", "title": canaries["title 0"], "password": password, "roles": ["viewer"]})
        rest.write("PATCH", "/users/zofie", {"title": canaries["title 1"]})
        token = {"title": "CI", "permissions": None, "expires_at": "2099-01-01T00:00:00Z"}
        canaries["token"] = rest.write("POST", "/users/zofie/tokens", token).body["token"].rsplit(".", 1)[1]
        assert rest.get("/users/zofie")["title"] == canaries["title 1"]
        kept = {ident: row for ident, row in rows(installation).items() if ident not in before}
        seen = {f"{ident} {n}": list(pieces(blob)) for ident, row in kept.items() for n, blob in enumerate(row)}
        assert len(kept) == 4 and found_in(installation.home, seen), "what is to be destroyed was there"
        installation.log_in()
        done = installation.command("user", "erase", "zofie", "--yes")
        assert done.returncode == 0, done.stderr
        seen |= {f"{name} {form}": [part] for name, text in canaries.items() for form, part in in_clear(text).items()}
        assert found_in(installation.home, seen) == []
        assert not kept.keys() & rows(installation).keys()
        verified = rest.ask("POST", "/audit/verify")
        assert verified.status_code == 200 and verified.json()["intact"], verified.text
        eventually(lambda: rest.items("/users/zofie/history")[-1]["type"] == "UserErased")
        eventually(lambda: rest.get("/users/zofie")["title"] == "")
        rest.close()


def test_targets_of_a_shredded_credential_fail_and_say_why(server: Installation) -> None:
    rest = server.rest()
    target = rest.get("/targets/b-10")
    secret = {"username": "u", "password": "never used"}
    rest.write("POST", "/credentials", {"name": "shredded", "kind": "password", "secret": secret})
    connection = {**target["connection"], "credential": "shredded"}
    body = {"name": "lost-key", "host": target["host"], "labels": {"set": "lost"}, "connection": connection}
    rest.write("POST", "/targets", body)
    rest.write("DELETE", "/credentials/shredded/secret")
    steps = [{"name": "only", "kind": "command", "run": "true"}]
    rest.write("POST", "/jobs", {"name": "on-lost", "targets": "set=lost", "steps": steps})
    run = rest.write("POST", "/jobs/on-lost/runs", {}).body["run_id"]
    eventually(lambda: rest.get(f"/runs/{run}")["state"] == "failed", within=120, every=0.2)
    step = rest.items(f"/runs/{run}/steps")[0]
    assert step["error"]["code"] == "credential_unavailable" and "shredded" in step["error"]["message"], step
    rest.close()
