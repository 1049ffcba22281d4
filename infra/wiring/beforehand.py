"""What is made before the first command, which would else wait for it?

What reads and writes a command's or an event's payload is made of its class once a process. Left to the first who needs it, the
first run of a process takes a twentieth of a second longer.
"""

from domain.job.definition import JobDefinition
from schemas import command_types, event_types
from schemas.payload import adapter, closed_adapter


def make_adapters() -> None:
    """Those of every command and event there is."""
    for command in command_types.TABLE.values():
        closed_adapter(command.payload)
    for _, event in event_types.TABLE.values():
        adapter(event)
        closed_adapter(event)
    adapter(JobDefinition)
