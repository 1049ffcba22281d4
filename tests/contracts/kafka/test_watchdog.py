"""Does the watchdog end a process that hangs, and only such a one?"""

import threading
import time

from infra.kafka.watchdog import HUNG_STATUS, Watchdog

EVERY_S = 0.02


def watching(hang_s):
    ended = threading.Event()
    statuses = []
    dog = Watchdog(hang_s, lambda status: (statuses.append(status), ended.set()), EVERY_S)
    return dog, ended, statuses


def test_work_without_progress_ends_the_process():
    dog, ended, statuses = watching(5 * EVERY_S)
    dog.begin()
    assert ended.wait(5)
    assert statuses == [HUNG_STATUS]


def test_work_with_progress_goes_on():
    dog, ended, _ = watching(1.0)
    dog.begin()
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        dog.progress()
        assert not ended.wait(EVERY_S)
    dog.stop()


def test_waiting_for_work_may_last_for_ever():
    dog, ended, _ = watching(5 * EVERY_S)
    dog.begin()
    dog.end()
    assert not ended.wait(30 * EVERY_S)
    dog.stop()
