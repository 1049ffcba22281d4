"""How do many processes live in one event loop, and die as if by kill -9?

The loop's time jumps to the next thing that is due, and which of the ready callbacks comes next is drawn from a seed. Everything
a process begins runs in its context, so the loop knows whose callback it has in hand: those of a dead process are dropped (not
even a `finally` of it runs), those of a paused one are kept until it goes on. What is left of the dead is buried at the end.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from heapq import heappop, heappush
from random import Random
from typing import Any

WORLD = contextvars.Context()
"""The context of what belongs to no process: targets, the network, timers of the log."""

MOST_TURNS = 5_000_000
SLOW_DATABASE = 0.02


class Stuck(Exception):
    """Nothing will ever happen any more, or nothing ends."""


class Fault:
    """Something that may go wrong: it counts once, when it takes effect, and not at all when it never does."""

    def __init__(self, name: str, counted: Counter[str]) -> None:
        self._name, self._counted = name, counted
        self._has_bitten = False

    def bites(self) -> bool:
        """It takes effect; true."""
        if not self._has_bitten:
            self._has_bitten = True
            self._counted[self._name] += 1
        return True


class Process:
    """A process of the simulation: alive, paused (SIGSTOP) or dead.

    What it says does not reach the log while it is `mute`, answers do not reach it while it is `deaf`; `blind`: it cannot reach
    the read models. To ask whether it is one of these is to be met by the fault that makes it so. While it is `stranded` it is
    paused whatever is healed.
    """

    def __init__(self, loop: "SimulationLoop", name: str, died: Callable[["Process"], None]) -> None:
        self.name = name
        self.dead = False
        self.paused = False
        self.stranded = False
        self.blinded: Fault | None = None
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._died = died
        self._held: list[asyncio.Handle] = []
        self._muted: Fault | None = None
        self._deafened: Fault | None = None
        self._pausing: Fault | None = None
        self._fuse: tuple[int, Fault] | None = None
        self._skew: tuple[float, Fault] | None = None

    @property
    def mute(self) -> bool:
        """Whether nothing it says reaches the log."""
        return self._muted is not None and self._muted.bites()

    @property
    def deaf(self) -> bool:
        """Whether no answer of the log reaches it."""
        return self._deafened is not None and self._deafened.bites()

    @property
    def is_cut(self) -> bool:
        """Whether nothing can be asked of the log."""
        return self.mute or self.deaf

    @property
    def blind(self) -> bool:
        """Whether it cannot reach the read models."""
        return self.blinded is not None and self.blinded.bites()

    @property
    def skew_s(self) -> float:
        """By how much its clock is wrong."""
        return self._skew[0] if self._skew is not None and self._skew[1].bites() else 0.0

    def set_clock(self, skew_s: float, fault: Fault) -> None:
        """From now on its time of day is wrong."""
        self._skew = skew_s, fault

    def cut(self, fault: Fault, mute: bool, deaf: bool) -> None:
        """No way to the log, none back, or neither."""
        self._muted, self._deafened = fault if mute else None, fault if deaf else None

    def join(self) -> None:
        """The log can be reached again."""
        self._muted = self._deafened = None

    def pause(self, fault: Fault) -> None:
        """As SIGSTOP."""
        self.paused, self._pausing = True, fault

    def strand(self, seconds: float, fault: Fault) -> None:
        """As SIGSTOP for so long, whatever is healed meanwhile: what it was about to say is said then."""
        self.stranded = True
        self.pause(fault)
        self._loop.later(seconds, self.resume)

    def light(self, fuse: int, fault: Fault) -> None:
        """It dies at its `fuse`-th callback from now."""
        self._fuse = fuse, fault

    def heal(self) -> None:
        """All its connections work again; its clock may stay wrong for ever."""
        self.join()
        self.blinded = self._fuse = None

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in this process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return self._loop.create_task(work, context=context)

    def lets(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of this process may run now."""
        if self.dead:
            return False
        if self.paused:
            if self._pausing is not None:
                self._pausing.bites()
            self._held.append(handle)
            return False
        return self._fuse is None or self._burns(*self._fuse)

    def _burns(self, left: int, fault: Fault) -> bool:
        self._fuse = left - 1, fault
        if left == 0:
            fault.bites()
            self.kill()
        return left > 0

    def kill(self) -> None:
        """As kill -9: nothing of it runs any more."""
        if not self.dead:
            self.dead = True
            self._died(self)

    def resume(self) -> None:
        """As SIGCONT."""
        self.paused = self.stranded = False
        held, self._held = self._held, []
        self._loop.take_back(held)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("PROCESS", default=None)


class SimulationLoop(asyncio.SelectorEventLoop):
    """One callback at a time, the next one drawn from `order`; no time passes while any is ready; threads are simulated."""

    def __init__(self, order: Random) -> None:
        super().__init__()
        self._now = 0.0
        self._order = order
        self._dice = order.random
        self.turns = 0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._made)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._now

    def later(self, delay_s: float, work: Callable[..., object], *args: Any) -> None:
        """Do `work` in `delay_s` seconds, whoever has died by then."""
        self.call_later(delay_s, work, *args, context=WORLD)

    def take_back(self, handles: list[asyncio.Handle]) -> None:
        self._ready.extend(handles)

    def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):  # type: ignore[no-untyped-def]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):  # type: ignore[no-untyped-def]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= self._now:
            self._ready.append(timer)
        else:
            self._timers_made += 1
            heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def call_soon_threadsafe(self, callback, *args, context=None):  # type: ignore[no-untyped-def]
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor, func, *args):  # type: ignore[no-untyped-def]
        """The work of a thread: done at one moment and answered at a later one; the process may die before, between or after."""
        future = self.create_future()
        slow = self._order.random() < SLOW_DATABASE
        first, second = (self._order.uniform(0, 1.0 if slow else 0.01) for _ in range(2))
        self.call_later(first, self._work, future, second, lambda: func(*args))
        return future

    def _work(self, future: asyncio.Future[Any], answer_s: float, func: Callable[[], Any]) -> None:
        try:
            result, error = func(), None
        except Exception as raised:
            result, error = None, raised
        self.call_later(answer_s, _answer, future, result, error)

    def _made(self, loop: Any, work: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=self, **more)
        self._tasks.append(task)  # so that a dead process's task is not closed, with every `finally`, by the garbage collector
        return task

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._next_moment()
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Stuck(f"{MOST_TURNS} callbacks ran, at {self._now:.1f} s")
        handle = ready.pop(int(self._dice() * len(ready)) if len(ready) > 1 else 0)
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is None or process.lets(handle):
            handle._run()

    def _next_moment(self) -> None:
        """Time goes on to the next timer; all that are due then are ready."""
        timers, ready = self._timers, self._ready
        while timers and (not ready or timers[0][0] <= self._now):
            when, _, timer = heappop(timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                ready.append(timer)
        if not ready:
            raise Stuck("nothing will ever happen any more")

    def bury(self) -> None:
        """Let go of every task that is left, whatever its `finally` blocks have against it."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(Exception):
                    task.get_coro().close()  # type: ignore[union-attr]


def _answer(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
