"""What the parts of a coverage share: the picture of the run, and the place of their notes.

`cellspec.conformance.judge.coverage` reads the events of a run; each of its parts looks at the
events of one kind, and notes here which clauses they exercised and what they covered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cellspec.conformance.judge.kept_scopes import Kept
from cellspec.conformance.judge.run_picture import RunPicture
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Workload

__all__ = ["Coverage", "Notes"]


@dataclass(slots=True)
class Coverage:
    """The coverage of one run.

    Attributes:
        exercised: clauses that could have failed at an observed event.
        exercised_inferred: clauses that could have failed at an event that the adapter inferred.
        sometimes: situations that the run was in.
        kept: what its resumes found of the answers of barriers.
        incarnations: runs of the process.
        crashes: crashes among their ends.
        events: events.
        inferred: how many of them were inferred.
        digest: of the order of events, without their times.
    """

    exercised: set[str] = field(default_factory=set)
    exercised_inferred: set[str] = field(default_factory=set)
    sometimes: set[Sometimes] = field(default_factory=set)
    kept: set[Kept] = field(default_factory=set)
    incarnations: int = 1
    crashes: int = 0
    events: int = 0
    inferred: int = 0
    digest: str = ""


class Notes:
    """The notes of a run.

    Args:
        work: the workload of the run.

    Attributes:
        work: the workload.
        seen: the coverage so far.
        run: the picture of the run before the event, which the parts bring up to date.
        t: the time of the event, in seconds of the run.
        inferred: the adapter inferred the event.
    """

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.seen = Coverage()
        self.run = RunPicture(work)
        self.t = 0.0
        self.inferred = False

    def note(self, *clauses: str) -> None:
        """These clauses could have failed at this event."""
        into = self.seen.exercised_inferred if self.inferred else self.seen.exercised
        into.update(clauses)

    def was(self, situation: Sometimes) -> None:
        """The run was in this situation."""
        self.seen.sometimes.add(situation)
