"""What may be done with a job? Commands, events, state, fold and decide, in that order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.decider import Companion, Decider
from domain.identity import check_slug
from domain.job.definition import JobDefinition, check_definition
from domain.rejection import Absent, Conflict


@dataclass(frozen=True, slots=True)
class DefineJob:
    """Make a job known, as revision 1."""

    name: str
    definition: JobDefinition


@dataclass(frozen=True, slots=True)
class ReviseJob:
    """Make the next revision; runs requested from now on use it."""

    definition: JobDefinition


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """End a job: it accepts no run any more; its revisions stay readable and its name taken."""


Command = DefineJob | ReviseJob | ArchiveJob


@dataclass(frozen=True, slots=True)
class JobDefined:
    """A job became known."""

    name: str
    revision: int
    definition: JobDefinition


@dataclass(frozen=True, slots=True)
class JobRevised:
    """The job has a new revision."""

    revision: int
    definition: JobDefinition


@dataclass(frozen=True, slots=True)
class JobArchived:
    """The job accepts no run any more."""


Event = JobDefined | JobRevised | JobArchived


@dataclass(frozen=True, slots=True)
class JobState:
    """What a job's rules, and those of its runs, need to remember; `definition` is None before the job was defined."""

    name: str = ""
    revision: int = 0
    definition: JobDefinition | None = None
    archived: bool = False


def fold(state: JobState, events: Sequence[Event]) -> JobState:
    """The state after `events`."""
    for event in events:
        match event:
            case JobDefined(name, revision, definition):
                state = JobState(name, revision, definition)
            case JobRevised(revision, definition):
                state = replace(state, revision=revision, definition=definition)
            case JobArchived():
                state = replace(state, archived=True)
    return state


def decide(command: Command, state: JobState, companion: Companion | None = None) -> Sequence[Event]:
    """The events that `command` causes in `state`, or a rejection."""
    if isinstance(command, DefineJob):
        if state.definition is not None:
            raise Conflict("job_exists", f"job {state.name} exists already")
        check_slug(command.name)
        check_definition(command.definition)
        return [JobDefined(command.name, 1, command.definition)]
    must_be_open(state)
    match command:
        case ReviseJob(definition):
            check_definition(definition)
            return [] if definition == state.definition else [JobRevised(state.revision + 1, definition)]
        case ArchiveJob():
            return [JobArchived()]


def must_be_open(state: JobState) -> JobDefinition:
    """The current definition; raises a rejection when the job does not exist or is archived."""
    if state.definition is None:
        raise Absent("job_not_found", "there is no such job")
    if state.archived:
        raise Conflict("job_archived", f"job {state.name} is archived")
    return state.definition


DECIDER: Decider[Command, JobState, Event] = Decider(JobState(), decide, fold)
