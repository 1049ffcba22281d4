"""How often is the reader of a command's output woken, and for what?"""

import threading
import time

from infra.ssh.transport import GATHERED_FOR_S, Inbox


def after(seconds, *calls):
    timer = threading.Timer(seconds, lambda: [call() for call in calls])
    timer.daemon = True
    timer.start()


def test_a_first_piece_wakes_the_reader_and_what_comes_right_behind_it_is_taken_with_it():
    inbox = Inbox()
    inbox.put("stdout", b"one")
    after(GATHERED_FOR_S / 4, lambda: inbox.put("stderr", b"two"), inbox.note)
    began = time.monotonic()
    inbox.wait(30)
    assert GATHERED_FOR_S * 0.9 <= time.monotonic() - began < 20
    assert inbox.take() == [("stdout", b"one"), ("stderr", b"two")]


def test_an_end_wakes_the_reader_at_once_even_while_it_gathers(monkeypatch):
    monkeypatch.setattr("infra.ssh.transport.GATHERED_FOR_S", 30.0)
    inbox = Inbox()
    inbox.put("stdout", b"one")
    after(0.05, inbox.set)
    began = time.monotonic()
    inbox.wait(60)
    assert time.monotonic() - began < 20


def test_nobody_gathers_beyond_the_time_he_has():
    inbox = Inbox()
    inbox.put("stdout", b"one")
    began = time.monotonic()
    inbox.wait(0)
    assert time.monotonic() - began < GATHERED_FOR_S


def test_each_happening_wakes_once():
    inbox = Inbox()
    inbox.set()
    inbox.wait(30)
    began = time.monotonic()
    inbox.wait(0.05)
    assert time.monotonic() - began >= 0.045
