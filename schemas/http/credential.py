"""What may be said of a credential over HTTP? Its secret comes in and never goes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

from domain.credential import CredentialKind
from domain.rejection import FieldError, Invalid
from schemas.http.closed import read

KINDS: tuple[CredentialKind, ...] = get_args(CredentialKind)
MAX_SECRET = 64 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class SshKeySecret:
    """A log-in by key."""

    username: str
    private_key: str
    passphrase: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class PasswordSecret:
    """A log-in by password."""

    username: str
    password: str


@dataclass(frozen=True, slots=True, repr=False)
class WinrmSecret:
    """A log-in to Windows."""

    username: str
    password: str
    transport: Literal["ntlm", "basic", "kerberos", "credssp"] = "ntlm"


@dataclass(frozen=True, slots=True, repr=False)
class TokenSecret:
    """A bearer token."""

    token: str


Secret = SshKeySecret | PasswordSecret | WinrmSecret | TokenSecret

BY_KIND: dict[CredentialKind, type[Secret]] = {
    "ssh_key": SshKeySecret,
    "password": PasswordSecret,
    "winrm": WinrmSecret,
    "token": TokenSecret,
}


@dataclass(frozen=True, slots=True, repr=False)
class NewCredential:
    """A credential to create; which fields `secret` has depends on the kind."""

    name: str
    kind: CredentialKind
    secret: dict[str, Any]
    title: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class NewSecret:
    """The secret's next revision."""

    secret: dict[str, Any]


def secret_of(kind: CredentialKind, plain: Mapping[str, Any]) -> Secret:
    """The secret of a credential of `kind`. Raises `Invalid` naming `secret.…`, never showing a value."""
    secret = read(BY_KIND[kind], orjson.dumps(plain), plain, "secret")
    for name in BY_KIND[kind].__dataclass_fields__:
        value = getattr(secret, name)
        if value is None:
            continue
        if not value:
            raise Invalid(FieldError(f"secret.{name}", "must not be empty"))
        if len(value.encode()) > MAX_SECRET:
            raise Invalid(FieldError(f"secret.{name}", f"is longer than {MAX_SECRET} bytes"))
    _check_username(getattr(secret, "username", "x"))
    return secret


def _check_username(name: str) -> None:
    if len(name) > 256 or not name.isprintable() or name.startswith("-"):
        raise Invalid(FieldError("secret.username", "must be at most 256 printable characters, not beginning with '-'"))
