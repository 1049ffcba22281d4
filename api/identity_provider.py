"""What is asked of an identity provider (OpenID Connect Core 1.0), and which of our users is the one it names?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from domain.identity import is_slug
from domain.title import check_title

_MOST_GROUPS = 1_000


class ProviderUnavailable(Exception):
    """The provider could not be asked, or answered what no provider answers; the message may be logged."""


class ProviderRefused(Exception):
    """The provider takes the code or the token for none of its own; the message may be logged."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider names, as our user: the name, empty when it is none that a user can have here, and the roles that its
    groups give.
    """

    name: str
    title: str
    subject: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRules:
    """How a provider's claims become a user: which one is the name, which one holds the groups, which roles groups give."""

    issuer: str
    client_id: str
    redirect_uri: str
    scope: str
    name_claim: str
    groups_claim: str
    roles: Mapping[str, tuple[str, ...]]

    def identity_of(self, claims: Mapping[str, Any]) -> Identity:
        """Whom `claims` name."""
        name = claims.get(self.name_claim)
        named = isinstance(name, str) and is_slug(name.lower())
        groups = claims.get(self.groups_claim, [])
        held = groups[:_MOST_GROUPS] if isinstance(groups, list) else [groups]
        roles = sorted({role for group in held if isinstance(group, str) for role in self.roles.get(group, ())})
        title = claims.get("name")
        fits = isinstance(title, str) and not check_title(title)
        return Identity(str(name).lower() if named else "", str(title) if fits else "", str(claims["sub"]), tuple(roles))


class IdentityProvider(Protocol):
    """One provider. Every call raises `ProviderUnavailable` when it cannot be asked in time."""

    @property
    def rules(self) -> ProviderRules:
        """What was set up."""
        ...

    async def sign_in_url(self, parameters: Mapping[str, str]) -> str:
        """Where a browser signs in, with these query parameters."""
        ...

    async def trade(self, code: str, verifier: str) -> Mapping[str, Any]:
        """The token endpoint's answer to an authorization code with its PKCE verifier (RFC 7636). Raises `ProviderRefused`."""
        ...

    async def keys(self, fresh: bool) -> Mapping[str, Mapping[str, Any]]:
        """The provider's public keys (JWK) by `kid`, one that has none under an empty name; `fresh`: asked for anew, though not
        more often than now and then.
        """
        ...

    async def user_info(self, access_token: str) -> Mapping[str, Any]:
        """The claims of the UserInfo endpoint; nothing where there is none. Raises `ProviderRefused`."""
        ...
