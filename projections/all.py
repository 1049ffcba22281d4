"""Which projections are there? One table."""

from projections.credentials import CREDENTIALS
from projections.events import EVENTS
from projections.job_results import JOB_RESULTS
from projections.jobs import JOBS
from projections.projection import Projection
from projections.roles import ROLES
from projections.run_output import RUN_OUTPUT
from projections.run_steps import RUN_STEPS
from projections.runs import RUNS
from projections.targets import TARGETS
from projections.users import USERS

TABLE: tuple[Projection, ...] = (
    USERS, ROLES, CREDENTIALS, TARGETS, JOBS, RUNS, RUN_STEPS, JOB_RESULTS, RUN_OUTPUT, EVENTS,
)  # fmt: skip

BY_NAME: dict[str, Projection] = {projection.name: projection for projection in TABLE}
"""Name → projection; the names are those of `projections rebuild NAME`."""
