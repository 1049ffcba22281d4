"""How does somebody sign in with an identity provider? OpenID Connect: authorization code with PKCE, state and nonce.

1. `start` sends the browser to the provider; a signed cookie remembers what was asked
2. the provider sends it back to `callback` with a code: the state must be the cookie's, the code is traded for an ID token, and
   that must answer our question; the user is made or found, and has the roles that its groups give
3. the tokens are the answer; or, for a program that listens on the browser's machine, a grant, which it trades at `tokens`
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from api import shapes, sign_in_flow
from api.account import new_secret
from api.address import PREFIX
from api.call import Call
from api.id_tokens import Expected, NotTheAnswer, UnknownKey, claims_of
from api.identity_provider import Identity, IdentityProvider, ProviderRefused, ProviderUnavailable
from api.linking import Known, known_as, sealed_identity
from api.own_record import in_force_once_recorded, own_write
from api.personal_data import WITHIN_S
from api.problem_details import Problem, wrong
from api.retitling import sealed_title, unless_it_is_so
from api.routes.auth import begin_session
from api.routes.route import Route
from api.sealing import Sealer, sealing
from api.sign_in_flow import BEGUN_S, GRANT_S, Begun, Grant
from api.strict_json import body_of
from api.submit import Rejection
from domain.user.messages import SignInWithProvider
from schemas.http.auth import GrantBody
from schemas.http.closed import read
from schemas.vault import VaultError

log = logging.getLogger(__name__)

COOKIE = "ops_sign_in"
_PATH = f"{PREFIX}/auth/oidc"
_PORT = re.compile(r"[1-9][0-9]{3,4}", re.ASCII)

# What providers add to their answer beside what OpenID Connect says; it is taken and not looked at.
_BESIDE = frozenset({"session_state", "scope", "authuser", "prompt", "hd", "error_description", "error_uri"})


async def start(call: Call) -> Response:
    """Send the browser to the identity provider. A program says the loopback `port` it listens at and its PKCE `challenge`."""
    provider, port = _provider(call), call.query.get("port")
    challenge = call.query.get("challenge")
    if port is not None and not (_PORT.fullmatch(port) and 1_024 <= int(port) <= 65_535):
        raise wrong("port", "must be a port from 1024 to 65535")
    if (port is None) != (challenge is None):
        raise wrong("challenge" if challenge is None else "port", "port and challenge come together")
    if challenge is not None and not sign_in_flow.CHALLENGE.fullmatch(challenge):
        raise wrong("challenge", "must be an S256 challenge")
    until = int(call.given.clock.now().timestamp()) + BEGUN_S
    asked = Begun(new_secret(call), new_secret(call), new_secret(call), until, int(port) if port else None, challenge)
    parameters = {
        "response_type": "code",
        "client_id": provider.rules.client_id,
        "redirect_uri": provider.rules.redirect_uri,
        "scope": provider.rules.scope,
        "state": asked.state,
        "nonce": asked.nonce,
        "code_challenge": sign_in_flow.challenge_of(asked.verifier),
        "code_challenge_method": "S256",
    }
    try:
        where = await provider.sign_in_url(parameters)
    except ProviderUnavailable as error:
        raise _unavailable(error) from None
    answer = RedirectResponse(where, 302)
    _set_cookie(answer, sign_in_flow.signed(call.given.keys.fingerprints, asked), BEGUN_S, provider)
    return answer


async def callback(call: Call) -> Response:
    """Where the identity provider sends the browser back to."""
    provider = _provider(call)
    asked = _begun_here(call, provider)
    counted = call.services.metrics.sign_ins
    try:
        who = await _identity(call, provider, asked)
        here = await known_as(call, provider.rules.issuer, who)
        _check_may_be_made(provider, who, here)
        session = await _signed_in(call, provider, who, here)
    except Problem:
        counted.labels("refused").inc()
        raise
    counted.labels("accepted").inc()
    if asked.port is None or asked.challenge is None:
        answer = await begin_session(call, here.name, session)
    else:
        until = int(call.given.clock.now().timestamp()) + GRANT_S
        granted = sign_in_flow.signed(call.given.keys.fingerprints, Grant(here.name, session, asked.challenge, until))
        answer = RedirectResponse(f"http://127.0.0.1:{asked.port}/?grant={quote(granted)}", 302)
    _set_cookie(answer, "", 0, provider)
    return answer


async def tokens(call: Call) -> Response:
    """Trade the grant of a sign-in, with the verifier that its challenge was made of, for tokens."""
    _provider(call)
    body = await body_of(call.request)
    asked = read(GrantBody, body.raw, body.plain)
    shown = sign_in_flow.grant(call.given.keys.fingerprints, asked.grant, int(call.given.clock.now().timestamp()))
    if shown is None or not sign_in_flow.VERIFIER.fullmatch(asked.verifier):
        raise Problem("invalid_sign_in")
    if not hmac.compare_digest(sign_in_flow.challenge_of(asked.verifier), shown.challenge):
        raise Problem("invalid_sign_in")
    return await begin_session(call, shown.user, shown.session)


def _provider(call: Call) -> IdentityProvider:
    if call.given.provider is None:
        raise Problem("identity_provider_not_set")
    return call.given.provider


def _begun_here(call: Call, provider: IdentityProvider) -> Begun:
    """The sign-in that this browser began and this answer belongs to. Raises `Problem`."""
    carried, now = call.request.cookies.get(COOKIE, ""), int(call.given.clock.now().timestamp())
    asked = sign_in_flow.begun(call.given.keys.fingerprints, carried, now)
    if asked is None or not hmac.compare_digest(call.query.get("state", "").encode(), asked.state.encode()):
        raise Problem("invalid_sign_in")
    if call.query.get("iss", provider.rules.issuer) != provider.rules.issuer:  # RFC 9207: another provider's answer mixed in
        raise Problem("invalid_sign_in")
    if (error := call.query.get("error")) is not None:
        log.info("the identity provider refused a sign-in: %.80r", error)
        raise Problem("identity_refused", "the identity provider did not sign this user in")
    if not call.query.get("code"):
        raise Problem("invalid_sign_in")
    return asked


async def _identity(call: Call, provider: IdentityProvider, asked: Begun) -> Identity:
    try:
        answered = await provider.trade(call.query["code"], asked.verifier)
        claims = await _claims(call, provider, asked, answered)
    except ProviderUnavailable as error:
        raise _unavailable(error) from None
    except (ProviderRefused, NotTheAnswer) as error:
        log.warning("a sign-in came to nothing: %s", error)
        raise Problem("invalid_sign_in") from None
    return provider.rules.identity_of(claims)


async def _claims(call: Call, provider: IdentityProvider, asked: Begun, answered: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the ID token claims, and where it says nothing of name or groups, what the UserInfo endpoint says of the same user."""
    rules, token = provider.rules, answered.get("id_token")
    if not isinstance(token, str):
        raise NotTheAnswer("there is none")
    expected, now = Expected(rules.issuer, rules.client_id, asked.nonce), int(call.given.clock.now().timestamp())
    try:
        claims = claims_of(token, await provider.keys(fresh=False), expected, now)
    except UnknownKey:  # the provider may have changed its keys since it was asked last
        claims = claims_of(token, await provider.keys(fresh=True), expected, now)
    access = answered.get("access_token")
    if {rules.name_claim, rules.groups_claim} <= set(claims) or not isinstance(access, str):
        return claims
    more = await provider.user_info(access)
    if more and more.get("sub") != claims["sub"]:
        raise NotTheAnswer("the UserInfo endpoint speaks of somebody else")
    return {**more, **claims}


def _check_may_be_made(provider: IdentityProvider, who: Identity, here: Known) -> None:
    """Raise `Problem` for whoever is new and has no name that can be one here, or no group that gives a role."""
    if here.is_new and not who.name:
        raise Problem("identity_refused", f"the claim {provider.rules.name_claim} is no name that a user can have here")
    if here.is_new and not who.roles:
        raise _without_roles()


def _without_roles() -> Problem:
    return Problem("identity_refused", "none of the groups of this user gives a role here")


async def _signed_in(call: Call, provider: IdentityProvider, who: Identity, here: Known) -> str:
    session, write = sign_in_flow.session_of(call.given.ids.new_id()), own_write(call, here.name)
    try:
        async with sealing(call.given.vault, write) as sealer:
            clear, title = await _sealed(sealer, provider, who, here)
            said = SignInWithProvider(here.name, here.identity, who.roles, session, clear, title, here.before)
            await in_force_once_recorded(write, said)
    except Rejection as refused:
        detail = "the name is another user's here" if refused.code == "user_not_linked" else "the user may not sign in"
        raise Problem("identity_refused", detail) from None
    if not who.roles:
        raise _without_roles()  # and from now on none is left of those that they had
    return session


async def _sealed(sealer: Sealer, provider: IdentityProvider, who: Identity, here: Known) -> tuple[str | None, str | None]:
    """The vault's ids of whom the provider names, if that is new, and of the title that it says. Nobody is kept from signing in
    by a vault that does not answer.
    """
    clear = None
    try:
        async with asyncio.timeout(WITHIN_S):
            if not here.is_linked:
                clear = await sealed_identity(sealer, provider.rules.issuer, who.subject)
            title = await unless_it_is_so(sealer.write.call, here.name, who.title)
            return clear, await sealed_title(sealer, title)
    except (VaultError, TimeoutError) as error:
        log.warning("who signs in is not kept, or the title left: the vault is silent", extra={"error": type(error).__name__})
        return clear, None


def _set_cookie(answer: Response, value: str, lasts_s: int, provider: IdentityProvider) -> None:
    secure = provider.rules.redirect_uri.startswith("https:")
    answer.set_cookie(COOKIE, value, lasts_s, path=_PATH, secure=secure, httponly=True, samesite="lax")


def _unavailable(error: ProviderUnavailable) -> Problem:
    log.warning("the identity provider cannot be asked: %s", error)
    return Problem("identity_provider_unavailable")


ROUTES = (
    Route(
        method="GET",
        path=f"{_PATH}/start",
        gives="text/plain",
        answer=start,
        permission=None,
        status=302,
        summary="Sign in with the identity provider",
        query=frozenset({"port", "challenge"}),
    ),
    Route(
        method="GET",
        path=f"{_PATH}/callback",
        gives=shapes.TOKENS,
        answer=callback,
        permission=None,
        summary="Come back from the identity provider",
        query=frozenset({"code", "state", "iss", "error"}) | _BESIDE,
    ),
    Route(
        method="POST",
        path=f"{_PATH}/tokens",
        gives=shapes.TOKENS,
        answer=tokens,
        permission=None,
        summary="Trade the grant of a sign-in for tokens",
        takes=GrantBody,
        example={"grant": "eyJ1c2Vy….mW3…", "verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    ),
)
