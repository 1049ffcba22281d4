"""Implements IdentityProvider: a provider that speaks OpenID Connect, asked over HTTP."""
