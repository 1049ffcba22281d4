"""Is the recorded output what the targets wrote? An invariant of `tests.support.checker`.

Promised is: before a step's end is reported, all that its executor got of it is published, once or several times, each piece
always under the same number. What an executor had not published when it was lost is lost with it, from some point on.
"""

from collections import defaultdict
from collections.abc import Sequence

from domain.run.messages import StepFinished
from schemas.position import Position
from schemas.run_output import OutputChunk
from tests.support.evidence import Broken, Evidence, mark_of, run_events


def output_is_what_targets_wrote(evidence: Evidence) -> Broken:
    """What is recorded of an attempt is what its target wrote, from the beginning on, without gaps or inventions; all of it, and
    before the offset that is told with its end, when its executor reported that end.
    """
    if evidence.output is None or evidence.written is None:
        return
    recorded: dict[str, list[tuple[Position, OutputChunk]]] = defaultdict(list)
    for position, chunk in evidence.output:
        recorded[mark_of(chunk.run, chunk)].append((position, chunk))
    for mark, chunks in recorded.items():
        if mark not in evidence.written:
            yield f"{chunks[0][0]}: nothing wrote {chunks[0][1]}"
            continue
        yield from _numbered(mark, chunks)
        if not evidence.written[mark].startswith(_text(chunks)):
            yield f"{mark} wrote {evidence.written[mark]!r}, and recorded is {_text(chunks)!r}"
    for run, position, event in run_events(evidence):
        if isinstance(event, StepFinished) and (event.exit_code is not None or event.output_end is not None):
            yield from _whole(
                f"{position}: {event.step} of {run} on {event.target}", event, mark_of(run, event), recorded, evidence
            )


def _whole(
    named: str, event: StepFinished, mark: str, recorded: dict[str, list[tuple[Position, OutputChunk]]], evidence: Evidence
) -> Broken:
    assert evidence.written is not None
    told = [(at, chunk) for at, chunk in recorded.get(mark, ()) if event.output_end is not None and at.offset < event.output_end]
    written = evidence.written.get(mark, "")
    if _text(told) != written:
        yield f"{named} ended with {written!r} written; before offset {event.output_end} stands {_text(told)!r}"


def _numbered(mark: str, chunks: Sequence[tuple[Position, OutputChunk]]) -> Broken:
    said: dict[int, OutputChunk] = {}
    for position, chunk in chunks:
        if said.setdefault(chunk.sequence, chunk) != chunk:
            yield f"{position}: piece {chunk.sequence} of {mark} says {chunk}, and said {said[chunk.sequence]}"
    if sorted(said) != list(range(1, len(said) + 1)):
        yield f"the pieces of {mark} are numbered {sorted(said)}"


def _text(chunks: Sequence[tuple[Position, OutputChunk]]) -> str:
    """What they say of the standard output, each once and in their order."""
    by_number = {chunk.sequence: chunk for _, chunk in chunks}
    return "".join(by_number[number].text for number in sorted(by_number) if by_number[number].stream == "stdout")
