"""Why was a command refused?

    Rejection
    ├── Invalid      the payload is wrong; says which field                      422
    ├── Absent       what it speaks of does not exist                            404
    ├── Conflict     it does not fit the state the stream is in                  409
    ├── Stale        it was made for another version, revision or epoch          412 / 409
    └── Forbidden    the actor may not                                           403

A rejection has a stable code; clients and tests rely on it, the message is for people.
"""

from dataclasses import dataclass

MAX_ERRORS = 50
MAX_ERROR_TEXT = 500
"""An outcome must fit into a record even when the payload it refuses is as large as a record may be."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: its dotted path (`connection.port`) and what is wrong with it, each cut to a bound."""

    field: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", self.field[:MAX_ERROR_TEXT])
        object.__setattr__(self, "message", self.message[:MAX_ERROR_TEXT])


class Rejection(Exception):
    """A command that changes nothing, with a stable `code`, a message for people and the fields at fault."""

    def __init__(self, code: str, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.errors = code, message, errors


class Invalid(Rejection):
    """The payload is wrong; `errors` names each field at fault, up to `MAX_ERRORS` of them."""

    def __init__(self, *errors: FieldError, code: str = "validation_failed") -> None:
        kept = errors[:MAX_ERRORS]
        super().__init__(code, "; ".join(f"{e.field}: {e.message}" for e in kept), kept)


class Absent(Rejection):
    """What the command speaks of does not exist."""


class Conflict(Rejection):
    """The command does not fit the state the stream is in."""


class Stale(Rejection):
    """The command was made for another version, revision or epoch than the current one."""


class Forbidden(Rejection):
    """The actor may not do this."""
