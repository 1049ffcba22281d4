"""What may be said to start a run over HTTP? Cancelling takes the command itself."""

from dataclasses import dataclass, field

from domain.job.parameters import Plain


@dataclass(frozen=True, slots=True, repr=False)
class StartRun:
    """Values, a selector that narrows the job's, and why; `dry_run` shows the plan and records nothing."""

    parameters: dict[str, Plain] = field(default_factory=dict)
    targets: str | None = None
    dry_run: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NoBody:
    """Nothing: the path says it all."""
