"""What a trace says of storage: which claims could not be written, and how long a write takes.

A workload numbers writes by kind, in each run of the process. A trace has each claim, so their
numbers are known. How many writes the rows before it took is the engine's own affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cellspec.conformance.run.workload import StorageFault
from cellspec.replay.source import numbered
from cellspec.trace import Event

__all__ = ["WrittenClaims", "storage_of"]

_CLAIM_ENDS = ("checkpoint_durable", "checkpoint_failed")


@dataclass(frozen=True, slots=True)
class WrittenClaims:
    """The writes of a run, as far as its trace says.

    Attributes:
        faults: the claims that fail.
        took_s: how long each write takes, in seconds; None if claims took unlike times.
        unsaid: what may have happened and is not said, in words.
    """

    faults: tuple[StorageFault, ...]
    took_s: float | None
    unsaid: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A claim that was written: its number in its run of the process, and how that went."""

    number: int
    took_s: float
    failed: bool
    landed: bool = False


def storage_of(events: Sequence[Event]) -> WrittenClaims:
    """The writes of a run."""
    written = list(_claims(events))
    took = {claim.took_s for claim in written}
    failed = {claim.number for claim in written if claim.failed}
    landed = {claim.number for claim in written if claim.landed}
    unlike = failed & {claim.number for claim in written if not claim.failed}
    unsaid = []
    if any(event.event == "commit_failed" for event in events) or _rows_failed(events):
        unsaid.append("which write of rows failed")
    if failed:
        unsaid.append("whether storage was full")
    if unlike:
        unsaid.append("a claim that fails in one run of the process and not in another")
    if len(took) > 1:
        unsaid.append("how long a write takes")
    return WrittenClaims(
        tuple(StorageFault("claim", n, lands=n in landed) for n in sorted(failed - unlike)),
        None if len(took) > 1 else took.pop() if took else 0.0,
        tuple(unsaid),
    )


def _claims(events: Iterable[Event]) -> Iterator[_Written]:
    """The claims whose writes ended; one that failed has landed if a process resumed from it."""
    counts: Counter[int] = Counter()
    begun: Event | None = None
    doubtful: tuple[Event, _Written] | None = None
    for incarnation, event in numbered(events):
        if event.event == "checkpoint_begin":
            counts[incarnation] += 1
            begun = event
        elif event.event in _CLAIM_ENDS and begun is not None:
            failed = event.event == "checkpoint_failed"
            written = _Written(counts[incarnation], event.t - begun.t, failed)
            doubtful = (begun, written) if failed else None
            begun = None
            yield written
        elif event.event == "resume":
            if doubtful is not None and event.claim == doubtful[0].claim:
                yield _Written(doubtful[1].number, doubtful[1].took_s, failed=True, landed=True)
            begun = doubtful = None


def _rows_failed(events: Iterable[Event]) -> bool:
    """True if rows could not be written: a write failed, and it was none of a claim."""
    begun = False
    for event in events:
        if event.event == "checkpoint_failed" and not begun:
            return True
        begun = event.event == "checkpoint_begin" or (
            begun and event.event not in (*_CLAIM_ENDS, "crash", "end", "resume")
        )
    return False
