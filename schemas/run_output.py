"""What does a step's output look like on its way to the reader? It is no event: it is finite and kept for a stated time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChunk:
    """A piece of what a step wrote: masked, decoded (undecodable bytes are U+FFFD), numbered from 1 within its attempt.

    `sequence` orders the chunks of both streams of one run, target, step and attempt as they were read;
    `step_index` is the step's place in the job, from 0.
    """

    run: str
    target: str
    step: str
    step_index: int
    attempt: int
    stream: StreamName
    sequence: int
    time: datetime
    text: str
