"""Does a history of a run keep its promises? Judged by the events alone, knowing nothing of the rules' own state."""

from collections import Counter
from dataclasses import dataclass, field

from domain.job.definition import share_of
from domain.run.messages import (
    Event,
    LateReportReceived,
    RunCancelRequested,
    RunClaimed,
    RunFinished,
    RunLost,
    RunPlanned,
    RunRequested,
    RunResumed,
    RunRules,
    RunStarted,
    RunTimeExceeded,
    StepFinished,
    StepStarted,
)


@dataclass
class Witness:
    """Sees every event once, in order, and raises at the first that breaks a promise."""

    rules: RunRules | None = None
    epoch: int = 0
    held: bool = False
    order: list[str] = field(default_factory=list)
    whole: bool = False
    planned_under: int = 0
    running_run: bool = False
    ending: bool = False
    finished: bool = False
    begun: list[str] = field(default_factory=list)
    done: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[str, int]] = field(default_factory=dict)
    next: dict[str, tuple[int, int]] = field(default_factory=dict)
    attempts: set[tuple[str, str, int]] = field(default_factory=set)

    def sees(self, event: Event) -> None:
        assert not self.finished or isinstance(event, LateReportReceived), f"{event} after the end"
        getattr(self, f"_{type(event).__name__}")(event)

    def _RunRequested(self, event: RunRequested) -> None:
        self.rules = event.rules

    def _RunClaimed(self, event: RunClaimed) -> None:
        assert not self.held and event.epoch == self.epoch + 1, "a claim takes what nobody holds, one epoch on"
        self.epoch, self.held = event.epoch, True

    def _RunPlanned(self, event: RunPlanned) -> None:
        assert self.held and not self.whole
        names = [target.name for target in event.targets]
        self.order = names if event.part == 1 else self.order + names
        assert event.part == 1 or self.planned_under == self.epoch, "parts of two holders never mix"
        self.planned_under = self.epoch
        assert len(set(self.order)) == len(self.order), "a target is planned twice"
        self.whole = event.part == event.parts

    def _RunStarted(self, event: RunStarted) -> None:
        assert self.whole and not self.running_run
        self.running_run = True

    def _StepStarted(self, event: StepStarted) -> None:
        assert self.rules and self.running_run and not self.ending, "no step starts before the start or while the run is ending"
        assert self.held and event.epoch == self.epoch, "only the holder starts steps"
        attempt = (event.step, event.target, event.attempt)
        assert attempt not in self.attempts, "at most one start per step, target and attempt"
        self.attempts.add(attempt)
        assert event.target not in self.running and event.target not in self.done
        if event.target not in self.begun:
            self._begins(event.target)
        step, number = self.next[event.target]
        assert (event.step, event.attempt) == (self.rules.steps[step].name, number), "steps start in order"
        self.running[event.target] = (event.step, event.attempt)

    def _begins(self, target: str) -> None:
        strategy, total = self.rules.strategy, len(self.order)
        assert target == self.order[len(self.begun)], "targets begin in order"
        size = share_of(strategy.batch_size, total, 1) or total
        earlier = self.order[: len(self.begun) // size * size]
        assert all(name in self.done for name in earlier), "a batch begins when those before it are done"
        limit = share_of(strategy.max_failures, total, 0)
        failures = sum(state != "succeeded" for state in self.done.values())
        assert limit is None or failures <= limit, "no target begins after too many failures"
        self.begun.append(target)
        self.next[target] = (0, 1)
        assert len(self.begun) - len(self.done) <= strategy.parallelism, "parallelism is never exceeded"

    def _StepFinished(self, event: StepFinished) -> None:
        assert self.running.pop(event.target) == (event.step, event.attempt), "only what runs ends"
        assert not (event.retry and event.target_state) and not (event.retry and self.ending)
        step, number = self.next[event.target]
        if event.target_state:
            self.done[event.target] = event.target_state
        else:
            self.next[event.target] = (step, number + 1) if event.retry else (step + 1, 1)

    def _RunCancelRequested(self, event: RunCancelRequested) -> None:
        self.ending = True

    def _RunTimeExceeded(self, event: RunTimeExceeded) -> None:
        assert self.held and not self.ending
        self.ending = True

    def _RunResumed(self, event: RunResumed | RunLost) -> None:
        assert self.held and event.epoch == self.epoch and not self.running, "what ran under a lost claim has an end"
        self.held = False

    _RunLost = _RunResumed

    def _LateReportReceived(self, event: LateReportReceived) -> None:
        assert event.epoch <= self.epoch - bool(self.held and not self.finished), "who holds the run is not late"

    def _RunFinished(self, event: RunFinished) -> None:
        assert not self.running, "nothing runs at the end"
        assert sum(event.targets.values()) == len(self.order), "every planned target is counted once"
        assert all(number > 0 for number in event.targets.values())
        least = Counter(self.done.values())
        assert all(event.targets.get(state, 0) >= number for state, number in least.items()), "a target's own end is what counts"
        if event.state == "succeeded":
            assert self.whole and event.targets == {"succeeded": len(self.order)}
        if event.state in ("cancelled", "timed_out"):
            assert self.ending and "lost" not in event.targets, "what could not be confirmed is lost"
        self.finished = True
