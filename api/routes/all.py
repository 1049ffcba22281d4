"""Which routes are there? One table."""

from api.routes import audit, auth, credentials, jobs, operations, runs, start_run, targets, user_tokens, users
from api.routes.route import Route

TABLE: tuple[Route, ...] = (
    *auth.ROUTES,
    *users.ROUTES,
    *user_tokens.ROUTES,
    *credentials.ROUTES,
    *targets.ROUTES,
    *jobs.ROUTES,
    *start_run.ROUTES,
    *runs.ROUTES,
    *audit.ROUTES,
    *operations.ROUTES,
)
