"""What stays in memory? Everything not saved yet, and the most recently used of what is."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key. `trim` drops the least recently used beyond `capacity`, but never one that is not saved yet."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[str, V] = OrderedDict()
        self._unsaved: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: str) -> V:
        self._values.move_to_end(key)
        return self._values[key]

    def admit(self, key: str, value: V) -> None:
        """Take in a value as it is saved."""
        self._values[key] = value

    def change(self, key: str, value: V) -> None:
        """Take in a value that is not saved yet."""
        self._values[key] = value
        self._values.move_to_end(key)
        self._unsaved[key] = None

    @property
    def unsaved(self) -> Mapping[str, V]:
        """What is not saved yet."""
        return {key: self._values[key] for key in self._unsaved}

    def saved(self) -> None:
        """Everything is saved now."""
        self._unsaved.clear()

    def trim(self) -> None:
        """Drop the least recently used, as far as they are saved."""
        excess = max(0, len(self._values) - self._capacity)
        for key in list(islice((key for key in self._values if key not in self._unsaved), excess)):
            del self._values[key]
