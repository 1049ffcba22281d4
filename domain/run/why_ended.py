"""Why did a run end before it had gone through all its targets?

Said in words that show nothing of its targets: who sees only some of them may read it, too.
"""

from domain.run.messages import Failure, RunFinished

RUN_TIMED_OUT = "run_timed_out"
"""The code of a run that its job's time ended, and of every step that was ended for it."""

TOO_MANY_FAILURES = Failure("max_failures", "more targets failed than the job's max_failures allows; no further one was begun")
TIME_EXCEEDED = Failure(RUN_TIMED_OUT, "the run was over its job's timeout_s")
STEP_OVER_TIME = Failure(RUN_TIMED_OUT, "the run was over its job's timeout_s; the step was ended with it")
EXECUTOR_LOST = Failure("executor_lost", "the executor was lost, and the job says that its runs are lost with it")


def why_ended(finished: RunFinished, ending: str | None, cancelled_by: str | None) -> Failure | None:
    """Why the run ended; None when it went through all its targets. `ending` is what it was being ended for before, if it was,
    and whoever cancelled it is known then: a run ended for that also when a step's fate makes it `lost`.
    """
    if finished.error:
        return finished.error
    if ending == "cancelled":
        return Failure("cancelled", f"cancelled by {cancelled_by}")
    if ending == "timed_out":
        return TIME_EXCEEDED
    if finished.state == "lost":
        return EXECUTOR_LOST
    # nothing else leaves targets that were never begun
    return TOO_MANY_FAILURES if finished.targets.get("skipped") else None
