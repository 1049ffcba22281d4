"""Which commands has this server sent without having heard of their outcome?

Asked about one of them it says that it does not know yet; of any other command that nobody remembers it says that there is none.
"""

from collections import OrderedDict
from uuid import UUID

MOST = 10_000
"""So many are remembered; the oldest are forgotten first."""


class Awaited:
    """Commands whose outcome is not known (yet), with whose they are."""

    def __init__(self) -> None:
        self._senders: OrderedDict[UUID, str] = OrderedDict()

    def add(self, command_id: UUID, sender: str) -> None:
        """Remember one more."""
        self._senders[command_id] = sender
        if len(self._senders) > MOST:
            self._senders.popitem(last=False)

    def sender_of(self, command_id: UUID) -> str | None:
        """Who sent it; None for a command that is not among them."""
        return self._senders.get(command_id)
