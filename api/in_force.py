"""Is a change of a user or a role in force once its answer comes? Who asks is judged by read models: they are waited for."""

import logging

from starlette.responses import Response

from api.problem_details import Problem
from api.submit import Write

log = logging.getLogger(__name__)


async def in_force(write: Write, answer: Response) -> Response:
    """`answer` to `write`, once every request is judged by what it changed."""
    if (version := answer.headers.get("etag", "").strip('"')) and answer.status_code < 300:
        await judged_by(write, int(version))
    return answer


async def judged_by(write: Write, version: int) -> bool:
    """Wait until every request is judged by this version of what was written: whether they are. A read model that lags for too
    long changes nothing of what is in the log.
    """
    try:
        await write.call.services.freshness.versions([(write.stream, version)], ("users", "roles"))
    except Problem as late:
        log.warning("a change of %s is in the log and not in force yet: %s", write.stream, late.code)
        return False
    return True
