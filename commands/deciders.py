"""Which rules decide for which aggregate type, and what is its state? One table."""

from dataclasses import dataclass
from typing import Any

from domain import credential, key, role, target
from domain.decider import Decider
from domain.identity import CREDENTIAL, JOB, KEY, ROLE, RUN, TARGET, USER
from domain.job import decide as job
from domain.run import decide as run
from domain.run import state as run_state
from domain.user import decide as user
from domain.user.state import UserState


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate type: its decider, and the type of its state as `schemas.payload.adapter` takes it."""

    decider: Decider[Any, Any, Any]
    state: Any


TABLE: dict[str, Aggregate] = {
    USER: Aggregate(user.DECIDER, UserState),
    ROLE: Aggregate(role.DECIDER, role.RoleState),
    KEY: Aggregate(key.DECIDER, key.KeysState),
    CREDENTIAL: Aggregate(credential.DECIDER, credential.CredentialState),
    TARGET: Aggregate(target.DECIDER, target.TargetState),
    JOB: Aggregate(job.DECIDER, job.JobState),
    RUN: Aggregate(run.DECIDER, run_state.RunState),
}
