"""An OpenID Connect provider in a process of its own, as strict as they come: `python -m tests.support.provider PORT`.

It takes a code once, from the client and the redirect address it was given for, and only with the verifier of its S256 challenge.
`POST /who` says who signs in next; `POST /twist` makes it lie: claims and header that differ, another key.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

import httpx2
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from jose import jwk, jwt

from infra.deploy.services.native_process import free_port
from tests.support.eventually import eventually

CLIENT, SECRET = "ops", "s3cret/with+signs"
CAROL = {"sub": "c-1", "preferred_username": "Carol", "name": "Carol C.", "groups": ["ops", "everybody"]}


@dataclass
class World:
    issuer: str
    keys: dict[str, Any] = field(default_factory=dict)
    who: dict[str, Any] = field(default_factory=lambda: dict(CAROL))
    twist: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, dict[str, Any]] = field(default_factory=dict)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def private_pem(key: Any) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def new_key(kind: str) -> Any:
    return rsa.generate_private_key(65537, 2048) if kind == "RS256" else ec.generate_private_key(ec.SECP256R1())


def signed(world: World, claims: dict[str, Any]) -> str:
    """An ID token; whatever `twist` says about it."""
    twist = world.twist
    claims = {**claims, **twist.get("claims", {})}
    claims = {name: value for name, value in claims.items() if name not in twist.get("without", ())}
    kid = twist.get("kid", next(reversed(world.keys)))
    algorithm = "ES256" if kid.startswith("ec") else "RS256"
    header = {"alg": algorithm, "typ": "JWT", "kid": kid, **twist.get("header", {})}
    header = {name: value for name, value in header.items() if value is not None}
    match twist.get("sign"):
        case "none":
            return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}."
        case "public key":
            public = jwk.construct(private_pem(world.keys[kid]), algorithm).public_key().to_pem().decode()
            body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
            return f"{body}.{b64(hmac.new(public.encode(), body.encode(), hashlib.sha256).digest())}"
        case "another key":
            key = new_key(algorithm)
        case _:
            key = world.keys[kid]
    return str(jwt.encode(claims, private_pem(key), algorithm=algorithm, headers=header))


def _give_tokens(app: FastAPI, world: World) -> None:
    @app.post("/token")
    async def token(request: Request) -> JSONResponse:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        if [unquote_plus(part) for part in given.split(":")] != [CLIENT, SECRET]:
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = world.codes.pop(form["code"], None)
        fits = (
            asked is not None
            and (asked["client_id"], asked["redirect_uri"]) == (CLIENT, form["redirect_uri"])
            and asked["code_challenge"] == b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        )
        if asked is None or not fits:
            return JSONResponse({"error": "invalid_grant"}, 400)
        who, now, access = json.loads(asked["who"]), int(time.time()), secrets.token_urlsafe(16)
        world.access[access] = {**who, **world.twist.get("user_info", {})}
        said = {} if world.twist.get("thin") else who
        claims = {
            "iss": world.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
            **said,
            "sub": who["sub"],
        }
        return JSONResponse({"access_token": access, "token_type": "Bearer", "id_token": signed(world, claims)})

    @app.get("/userinfo")
    def user_info(request: Request) -> dict[str, Any]:
        return world.access[request.headers["authorization"].removeprefix("Bearer ")]


def _obey(app: FastAPI, world: World) -> None:
    @app.post("/who")
    async def become(request: Request) -> None:
        world.who = await request.json()

    @app.post("/twist")
    async def lie(request: Request) -> None:
        world.twist = await request.json()

    @app.post("/rotate/{kind}")
    def rotate(kind: str) -> None:
        world.keys = {f"{'ec' if kind == 'ES256' else 'rsa'}-{secrets.token_hex(2)}": new_key(kind)}


def provider(issuer: str) -> FastAPI:
    """The provider as it is and as a test makes it."""
    world = World(issuer, {"rsa-1": new_key("RS256")})
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    def discovery() -> dict[str, Any]:
        return {
            "issuer": world.twist.get("issuer", issuer),
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "jwks_uri": f"{issuer}/jwks",
            "code_challenge_methods_supported": ["S256"],
        }

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        listed = []
        for kid, key in world.keys.items():
            algorithm = "ES256" if kid.startswith("ec") else "RS256"
            public = jwk.construct(private_pem(key), algorithm).public_key().to_dict()
            listed.append({**public, "kid": kid, "use": "sig"})
        if world.twist.get("two_keys"):
            listed.append({**listed[0], "kid": "another"})
        return {"keys": listed}

    @app.get("/authorize")
    def authorize(request: Request) -> RedirectResponse:
        asked = dict(request.query_params)
        assert (
            asked["code_challenge_method"] == "S256" and asked["response_type"] == "code" and "openid" in asked["scope"].split()
        )
        code = secrets.token_urlsafe(16)
        world.codes[code] = {**asked, "who": json.dumps(world.who)}
        back = {"code": code, "state": asked["state"], "session_state": "beside"}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    _give_tokens(app, world)
    _obey(app, world)
    return app


class Provider:
    """What a test knows of the process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid
        self._http = httpx2.Client(base_url=url, trust_env=False)

    def answers(self) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return self._http.get("/jwks").status_code == 200
        return False

    def becomes(self, **claims: Any) -> None:
        """Who signs in next."""
        self._http.post("/who", json={**CAROL, **claims})

    def twists(self, **how: Any) -> None:
        self._http.post("/twist", json=how)

    def rotates(self, kind: str) -> None:
        self._http.post(f"/rotate/{kind}")

    def signs_in(self, url: str) -> str:
        """What a browser does there; where it is sent back to."""
        return self._http.get(url).headers["location"]


@contextlib.contextmanager
def running_provider() -> Iterator[Provider]:
    """The provider in its own process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.support.provider", str(port)])
    try:
        found = Provider(f"http://127.0.0.1:{port}", process.pid)
        eventually(found.answers)
        yield found
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    number = int(sys.argv[1])
    uvicorn.run(provider(f"http://127.0.0.1:{number}"), host="127.0.0.1", port=number, log_level="error")
