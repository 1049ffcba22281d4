"""How are measurements summed up, and shown?"""

import json
import resource
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def median(values: Iterable[float]) -> float:
    """The median; NaN of nothing."""
    known = list(values)
    return statistics.median(known) if known else float("nan")


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def cpu_s() -> float:
    """The processor time of this process and of its children that have ended, in seconds."""
    times = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in times)


class Watch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), cpu_s()

    @property
    def wall_s(self) -> float:
        """Seconds gone by."""
        return time.perf_counter() - self._began

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time used."""
        return cpu_s() - self._cpu


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a report: ours beside a yardstick. `ratio` is ours to the yardstick; `goal` says what it should be."""

    what: str
    ours: float
    yardstick: float
    unit: str
    goal: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float:
        """Ours divided by the yardstick."""
        return self.ours / self.yardstick if self.yardstick else float("nan")


def at_least(what: str, ours: float, yardstick: float, unit: str, factor: float) -> Line:
    """A row whose ratio should be `factor` or more."""
    return Line(what, ours, yardstick, unit, f">= {factor:g} x", ours >= factor * yardstick)


def at_most(what: str, ours: float, yardstick: float, unit: str, factor: float) -> Line:
    """A row whose ratio should be `factor` or less."""
    return Line(what, ours, yardstick, unit, f"<= {factor:g} x", ours <= factor * yardstick)


def show(title: str, lines: Sequence[Line]) -> None:
    """The report as a table."""
    table = Table(title=title, title_justify="left")
    for name in ("", "ours", "yardstick", "unit", "ratio", "goal", ""):
        table.add_column(name, justify="left" if name in ("", "unit", "goal") else "right")
    for line in lines:
        verdict = {None: "", True: "met", False: "[bold red]missed[/]"}[line.met]
        numbers = (f"{line.ours:,.3g}" if line.ours < 1000 else f"{line.ours:,.0f}" for _ in (0,))
        beside = f"{line.yardstick:,.3g}" if line.yardstick < 1000 else f"{line.yardstick:,.0f}"
        table.add_row(line.what, *numbers, beside, line.unit, f"{line.ratio:.2f}", line.goal, verdict)
    Console(width=150).print(table)


def keep(file: Path | None, lines: Sequence[Line], raw: dict[str, Any]) -> None:
    """Write the report and the single measurements as JSON."""
    if file is not None:
        told = [{**asdict(line), "ratio": round(line.ratio, 4)} for line in lines]
        file.write_text(json.dumps({"lines": told, "measurements": raw}, indent=1) + "\n")
