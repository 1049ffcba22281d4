"""Small writes that go on until they are told to stop: credentials made and rotated, each with a secret to be sealed first."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from tests.roles.rest import Acknowledged, Rest


class Steady:
    """Clients that write on whatever happens to the server. The end of `with` stops them and raises what one gave up with."""

    def __init__(self, rest: Callable[[], Rest], clients: int = 2) -> None:
        self._clients = [rest() for _ in range(clients)]
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(clients)]

    def __enter__(self) -> "Steady":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(150)
        if self._failures:
            raise self._failures[0]

    @property
    def acknowledged(self) -> list[Acknowledged]:
        return [done for client in self._clients for done in client.acknowledged]

    def _write(self, number: int) -> None:
        rest = self._clients[number]
        try:
            for turn in itertools.count():
                name = f"steady-{number}-{turn // 4}"
                if self._stop.is_set():
                    return
                if turn % 4 == 0:
                    rest.write("POST", "/credentials", {"name": name, "kind": "password", "secret": secret(turn)})
                else:
                    rest.write("PUT", f"/credentials/{name}/secret", {"secret": secret(turn)})
        except BaseException as failure:
            self._failures.append(failure)


def secret(turn: int) -> dict[str, Any]:
    return {"username": "u", "password": f"password of turn {turn}"}
