"""What is a thing called, and where does it live?

A stream is `type/id`. Targets, jobs, credentials and users are named by an immutable slug; a run is `<job slug>.<uuid>` and
lives in its job's shard, so that a run is requested with the job's state at hand. Users and roles live together: there are few,
and each is decided with the others at hand.
"""

import re
from collections.abc import Iterable
from uuid import UUID

from domain.rejection import FieldError, Invalid

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
SLUG_RULE = "1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"

TARGET, CREDENTIAL, USER, ROLE, JOB, RUN, KEY = "target", "credential", "user", "role", "job", "run", "key"

USERS = "user/admin"
"""What all users and roles live with: the stream of the first administrator, who is in every installation."""


KEYS = "key/installation"
"""The one stream that tells of the installation's keys."""


def is_slug(name: str) -> bool:
    """Whether `name` may name a target, job, credential, user or role."""
    return SLUG.fullmatch(name) is not None


def check_slug(name: str, field: str = "name") -> None:
    """Raise `Invalid` naming `field` unless `name` is a slug."""
    if not is_slug(name):
        raise Invalid(FieldError(field, SLUG_RULE))


def stream_of(kind: str, name: str) -> str:
    """The stream of one aggregate: `stream_of("target", "web-01")` is `target/web-01`."""
    return f"{kind}/{name}"


def kind_of(stream: str) -> str:
    """The aggregate type of a stream."""
    return stream.partition("/")[0]


def name_of(stream: str) -> str:
    """The id inside its type: the slug, or a run's id."""
    return stream.partition("/")[2]


def run_id(job: str, uuid: UUID) -> str:
    """A run's id: its job's slug and a UUID."""
    return f"{job}.{uuid}"


def job_of(run: str) -> str:
    """The slug of the job that a run id belongs to."""
    return run.rpartition(".")[0]


def is_run_id(text: str) -> bool:
    """Whether `text` has the form of a run id."""
    job, _, uuid = text.rpartition(".")
    if not is_slug(job):
        return False
    try:
        return str(UUID(uuid)) == uuid
    except ValueError:
        return False


def partition_key(stream: str) -> str:
    """What decides the shard: the stream itself, except that a run lives with its job, and users and roles together."""
    match kind_of(stream):
        case "run":
            return stream_of(JOB, job_of(name_of(stream)))
        case "user" | "role":
            return USERS
        case _:
            return stream


def is_listed(stream: str) -> bool:
    """Whether the stream is told, while unfinished, to those that live with its partition key: runs, users and roles are."""
    return kind_of(stream) in (RUN, USER, ROLE)


def listed_name(stream: str) -> str:
    """What the stream is called among those: its id, but a role, which lives with users, its whole stream."""
    return stream if kind_of(stream) == ROLE else name_of(stream)


def roles_in(listed: Iterable[str]) -> tuple[str, ...]:
    """The roles among the unfinished that live with the users."""
    return tuple(name_of(name) for name in listed if kind_of(name) == ROLE)


def users_in(listed: Iterable[str]) -> tuple[str, ...]:
    """The users among them who are there as themselves."""
    return tuple(name for name in listed if "/" not in name)
