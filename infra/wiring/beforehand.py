"""What is made before the first command, which would else wait for it?

What reads and writes a command's or an event's payload is made of its class once a process. Left to the first who needs it, the
first run of a process takes a twentieth of a second longer. The same goes for what is imported only when it is needed first.
"""

from contextlib import suppress
from importlib import import_module

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


def import_what_streams() -> None:
    """What the first answer that is sent in pieces would import, while every other request waits."""
    with suppress(ImportError):  # where it lies elsewhere one day, the first such answer takes longer again
        import_module("anyio._backends._asyncio")
