"""Is this access token one of ours, and still good? The only module that knows python-jose (HAZARDS R55).

One algorithm (ES256), the key chosen by `kid` from our own table, a header of exactly `alg`, `typ` and `kid`, every claim
required and of its type, times judged by our clock, at most 4 KiB, and written as we write it: a token has one form only, so who
knows one by its text knows it always. Everything else is refused without looking further.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import JWTError, jwk, jwt

from schemas.vault import SIGNING_KEY, SIGNING_KEY_BOUND_TO

ALGORITHM, TYPE = "ES256", "at+jwt"
ISSUER, AUDIENCE = "opsconductor", "opsconductor-api"
MAX_TOKEN = 4_096
ACCESS_S = 900
LEEWAY_S = 5
MOST_KNOWN = 1_000
"""How many tokens' signatures are checked once and not with every request."""

KEY_ID, KEY_BOUND_TO = SIGNING_KEY, SIGNING_KEY_BOUND_TO

_CLAIMS: Mapping[str, type] = {
    "iss": str, "aud": str, "sub": str, "jti": str, "sid": str, "exp": int, "iat": int, "nbf": int,
}  # fmt: skip
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class NotAuthentic(Exception):
    """The token is none of ours or not good any more; why is told to nobody."""


class Randomness(Protocol):
    """Where ids and keys come from."""

    def new_id(self) -> UUID:
        """A fresh UUIDv7."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """That many unpredictable bytes."""
        ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An ES256 key pair; `kid` is the beginning of its RFC 7638 thumbprint. It signs from `signs_from` on (Unix seconds)."""

    kid: str
    private: Any
    public: Any
    public_jwk: Mapping[str, str]
    signs_from: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token says: whose it is and which session it belongs to."""

    user: str
    session_id: str


class Tokens:
    """Signs access tokens with the newest key that signs already, and takes those signed with any key of the table.

    `retired_numbers` are places in the vault that hold no key any more, as far as it is known.
    """

    def __init__(self, newest: SigningKey, *older: SigningKey) -> None:
        self.keys: tuple[SigningKey, ...] = ()
        self._dropped: set[str] = set()
        self.retired_numbers: set[int] = set()
        self.take([newest, *older])

    @staticmethod
    def _said(keys: Sequence[SigningKey]) -> list[tuple[str, int]]:
        return [(key.kid, key.signs_from) for key in keys]

    def take(self, keys: Sequence[SigningKey]) -> None:
        """From now on these are the keys, newest first; what was signed with any other is refused.

        One that was dropped does not come back by a read that had begun before, as long as there is another.
        """
        keys = [key for key in keys if key.kid not in self._dropped] or keys
        if self._said(keys) == self._said(self.keys):
            return  # what is remembered of their signatures still holds
        self.keys = tuple(keys)
        self._by_kid = {key.kid: key for key in keys}
        self._signed_claims = lru_cache(maxsize=MOST_KNOWN)(self._claims_of)

    def drop(self, kid: str) -> None:
        """Take this key no more, as soon as another is known."""
        self._dropped.add(kid)
        self.take(self.keys)

    def _current(self, at: int) -> SigningKey:
        """The newest key that signs; the oldest when none does yet."""
        return next((key for key in self.keys if key.signs_from <= at), self.keys[-1])

    def signs_now(self, now: datetime) -> str:
        """The id of the key that signs."""
        return self._current(int(now.timestamp())).kid

    def sign(self, access: Access, token_id: UUID, now: datetime) -> str:
        """An access token, good for `ACCESS_S` seconds from `now`."""
        at = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": access.user,
            "sid": access.session_id,
            "jti": str(token_id),
            "iat": at,
            "nbf": at,
            "exp": at + ACCESS_S,
        }
        key = self._current(at)
        headers = {"kid": key.kid, "typ": TYPE}
        return str(jwt.encode(claims, key.private, algorithm=ALGORITHM, headers=headers))

    def verify(self, token: str, now: datetime) -> Access:
        """What `token` says. Raises `NotAuthentic`."""
        if len(token) > MAX_TOKEN or token.count(".") != 2:
            raise NotAuthentic
        return _checked(self._signed_claims(token), int(now.timestamp()))

    def _claims_of(self, token: str) -> Mapping[str, Any]:
        """What a token with a good signature claims. The same for ever, so it is found out once for the tokens in use."""
        if not all(map(_is_canonical, token.split("."))):
            raise NotAuthentic
        key = self._by_kid.get(_kid_of(token))
        if key is None:
            raise NotAuthentic
        try:
            claims = jwt.decode(token, key.public, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=_OPTIONS)
        except (JWTError, RecursionError, ValueError, TypeError, OverflowError):
            raise NotAuthentic from None
        return dict(claims)

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        return {"keys": [dict(key.public_jwk) for key in self.keys]}


# Times are judged by our own clock below, and that they are there: python-jose judges by its own whatever it requires.
_OPTIONS = {
    **{f"require_{claim}": True for claim in ("iss", "aud", "sub", "jti")},
    **{f"verify_{claim}": False for claim in ("exp", "nbf", "iat")},
}


def _is_canonical(part: str) -> bool:
    """Whether this is what its bytes are written as (RFC 7515 §2); decoders take padding, strange characters and unused bits."""
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).rstrip(b"=").decode() == part
    except ValueError:
        return False


def _kid_of(token: str) -> str:
    """The key id in the header, which must be exactly ours in everything else."""
    try:
        raw = token.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    except (ValueError, RecursionError):
        raise NotAuthentic from None
    if not isinstance(header, dict) or set(header) != {"alg", "typ", "kid"}:
        raise NotAuthentic
    if (header["alg"], header["typ"]) != (ALGORITHM, TYPE) or not isinstance(header["kid"], str):
        raise NotAuthentic
    return header["kid"]


def _checked(claims: Mapping[str, Any], now: int) -> Access:
    if set(claims) != set(_CLAIMS) or any(type(claims[name]) is not kind for name, kind in _CLAIMS.items()):
        raise NotAuthentic
    starts = max(claims["nbf"], claims["iat"])
    if not starts - LEEWAY_S <= now < claims["exp"] or claims["exp"] - claims["iat"] > ACCESS_S:
        raise NotAuthentic
    return Access(claims["sub"], claims["sid"])


def new_key(randomness: Randomness) -> bytes:
    """A fresh key pair as a PKCS#8 PEM."""
    number = int.from_bytes(randomness.random_bytes(48)) % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_key(pem: bytes, signs_from: int = 0) -> SigningKey:
    """The key pair in a PKCS#8 PEM."""
    private = serialization.load_pem_private_key(pem, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("the signing key is no P-256 key")
    numbers = private.public_key().public_numbers()
    bare = {"crv": "P-256", "kty": "EC", "x": _b64(numbers.x), "y": _b64(numbers.y)}
    thumbprint = hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).digest()
    kid = base64.urlsafe_b64encode(thumbprint[:12]).decode()
    public_jwk = {**bare, "kid": kid, "alg": ALGORITHM, "use": "sig"}
    signer = jwk.construct(pem.decode(), ALGORITHM)
    return SigningKey(kid, signer, signer.public_key(), public_jwk, signs_from)


def _b64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()
