"""What may be said to go on with a session or to end it?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class RefreshBody:
    """The refresh token that was given last."""

    refresh_token: str


@dataclass(frozen=True, slots=True)
class NewSigningKey:
    """A signing key to make; `signs_at_once`: not only when everybody can have read it."""

    signs_at_once: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class LogoutBody:
    """The session to end; without one, that of the access token."""

    refresh_token: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class GrantBody:
    """The grant that a sign-in with the identity provider ended with, and the verifier that its challenge was made of."""

    grant: str
    verifier: str
