"""Which routes are there? One table."""

from api.routes import (
    audit,
    auth,
    credentials,
    jobs,
    operations,
    own_sessions,
    permissions,
    personal_data,
    provider_sign_in,
    roles,
    runs,
    signing_keys,
    start_run,
    targets,
    user_identity,
    user_sessions,
    user_tokens,
    users,
)
from api.routes.route import Route

TABLE: tuple[Route, ...] = (
    *auth.ROUTES,
    *provider_sign_in.ROUTES,
    *own_sessions.ROUTES,
    *users.ROUTES,
    *personal_data.ROUTES,
    *user_identity.ROUTES,
    *user_tokens.ROUTES,
    *user_sessions.ROUTES,
    *signing_keys.ROUTES,
    *permissions.ROUTES,
    *roles.ROUTES,
    *credentials.ROUTES,
    *targets.ROUTES,
    *jobs.ROUTES,
    *start_run.ROUTES,
    *runs.ROUTES,
    *audit.ROUTES,
    *operations.ROUTES,
)
