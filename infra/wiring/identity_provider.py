"""Which identity provider do people sign in with, if any? Decided from the settings."""

import time
from collections.abc import Mapping

from api.address import PREFIX
from api.identity_provider import ProviderRules
from infra.oidc.provider import OidcProvider
from infra.wiring.settings import Settings


def identity_provider(settings: Settings) -> OidcProvider | None:
    """The provider that is set up; to be closed. Raises `ValueError` as `provider_rules` does."""
    rules = provider_rules(settings)
    if rules is None:
        return None
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
    return OidcProvider(rules, secret or None, time.monotonic)


def provider_rules(settings: Settings) -> ProviderRules | None:
    """How the provider's users become ours. Raises `ValueError` when what that needs is not all there."""
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id or not settings.public_url:
        raise ValueError("OPSCONDUCTOR_OIDC_ISSUER needs OPSCONDUCTOR_OIDC_CLIENT_ID and OPSCONDUCTOR_PUBLIC_URL")
    return ProviderRules(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        redirect_uri=f"{settings.public_url.rstrip('/')}{PREFIX}/auth/oidc/callback",
        scope=settings.oidc_scope,
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
        roles=roles_of_groups(settings.oidc_roles),
    )


def roles_of_groups(text: str) -> Mapping[str, tuple[str, ...]]:
    """The roles that each group gives, written `group=role,group=role`; a group may stand there twice. Raises `ValueError`."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        group, _, role = (part.strip() for part in pair.rpartition("="))
        if not group or not role:
            raise ValueError(f"OPSCONDUCTOR_OIDC_ROLES: {pair!r} is not group=role")
        found[group] = (*found.get(group, ()), role)
    return found
