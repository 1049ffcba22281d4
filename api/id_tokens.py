"""Is this ID token the answer to our question, and from the provider we asked? (OpenID Connect Core 1.0 §3.1.3.7, HAZARDS R55)

The algorithm follows from the key's type, never from the token alone: RS256 for RSA, ES256 for P-256. The key is chosen by `kid`
from the provider's own list, or is the only one there; a header with anything but `alg`, `kid` and `typ` is refused.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jose import JWTError, jwk, jwt
from jose.exceptions import JOSEError

MAX_TOKEN = 16_384
LEEWAY_S = 60
"""How far the provider's clock may be from ours."""
_LEAST_RSA_BYTES = 256


class NotTheAnswer(Exception):
    """The ID token is none that we asked for; why may be logged and is told to nobody."""


class UnknownKey(NotTheAnswer):
    """The provider did not list the key that signed it, when it was asked last."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say: who issued it, for whom, and in answer to what."""

    issuer: str
    client_id: str
    nonce: str


def claims_of(token: str, keys: Mapping[str, Mapping[str, Any]], expected: Expected, now: int) -> Mapping[str, Any]:
    """The claims, once everything about them is as it should be; `now` in seconds since 1970. Raises `NotTheAnswer`."""
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        raise NotTheAnswer("it is no signed token")
    header = _header(token)
    key = _key_of(header, keys)
    algorithm = _algorithm_of(key)
    if header["alg"] != algorithm or key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        raise NotTheAnswer("its algorithm is not its key's")
    try:
        trusted = jwk.construct({**key, "alg": algorithm}, algorithm)
        claims = jwt.decode(token, trusted, algorithms=[algorithm], options=_OPTIONS)
    except (JWTError, JOSEError, RecursionError, ValueError, TypeError, OverflowError):
        raise NotTheAnswer("its signature or form is wrong") from None
    _check(claims, expected, now)
    return dict(claims)


# The signature alone: every claim is judged below, by our own clock and without the library's tolerance for what is absent.
_OPTIONS = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti", "at_hash")}


def _header(token: str) -> dict[str, str]:
    try:
        raw = token.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    except (ValueError, RecursionError):
        raise NotTheAnswer("its header cannot be read") from None
    if not isinstance(header, dict) or not {"alg"} <= set(header) <= {"alg", "kid", "typ"}:
        raise NotTheAnswer("its header has more or less than alg, kid and typ")
    if not all(isinstance(value, str) for value in header.values()):
        raise NotTheAnswer("its header is not made of text")
    return header


def _key_of(header: Mapping[str, str], keys: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The key that the header names. It need not name one where the provider lists but one (OpenID Connect Core 1.0 §10.1)."""
    if "kid" not in header and len(keys) == 1:
        return next(iter(keys.values()))
    if header.get("kid") not in keys:
        raise UnknownKey("its key is not the provider's")
    return keys[header["kid"]]


def _algorithm_of(key: Mapping[str, Any]) -> str:
    if key.get("kty") == "EC" and key.get("crv") == "P-256":
        return "ES256"
    modulus = key.get("n")
    if key.get("kty") == "RSA" and isinstance(modulus, str) and len(modulus) * 3 // 4 >= _LEAST_RSA_BYTES:
        return "RS256"
    raise NotTheAnswer("its key is neither RSA of 2048 bits or more nor P-256")


def _check(claims: Mapping[str, Any], expected: Expected, now: int) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    authorised = claims.get("azp", expected.client_id if len(audiences) == 1 else None)
    if claims.get("iss") != expected.issuer or expected.client_id not in audiences or authorised != expected.client_id:
        raise NotTheAnswer("it is of another issuer or for somebody else")
    if not hmac.compare_digest(str(claims.get("nonce")).encode(), expected.nonce.encode()):
        raise NotTheAnswer("it answers another sign-in")
    if not _is_subject(claims.get("sub")):
        raise NotTheAnswer("it names nobody")
    issued, ends = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(ends) is not int or not issued - LEEWAY_S <= now < ends + LEEWAY_S:
        raise NotTheAnswer("it is over, or of another time")


def _is_subject(claimed: object) -> bool:
    """OpenID Connect Core 1.0 §2: at most 255 ASCII characters. What is no text at all would fit into no table either."""
    return isinstance(claimed, str) and 0 < len(claimed) <= 255 and claimed.isascii() and claimed.isprintable()
