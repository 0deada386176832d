"""The checker: was each step that a trace reports allowed?

An engine ran elsewhere, in any language, and wrote a trace. `Checker` steps one `Machine` with its
events, in order and as a stream, so that a trace of any length is judged in the memory of the run
itself: a byte for each cell of an incomplete column. The first event that the specification forbids
becomes a `Finding`: the clause, the event, and an explanation with the state at that moment
(`cellspec.check.explain`). The events after it are consequences, and the checker leaves them
unjudged.

`check_file` reads a file from anywhere, and separates three cases that must not be confused:

- *violated*: the file is well formed, and an event breaks a clause. That includes the clauses of
  the trace itself: events that are missing, doubled or out of order (TRACE-01), and events with
  names that the header lacks (TRACE-02);
- *unreadable*: the file is cut off, damaged, or something else. The engine is left unjudged;
- neither: every event that there is was allowed. Whether that is enough for a verdict is decided
  in `cellspec.conformance.judge.verdict`, and nowhere else.

Three clauses judge an engine that stayed *idle* while time passed: SCHED-15, and, of engines with
the capability ``work_conserving``, SCHED-09 and GROUP-06. In real time no step is taken at once:
they are judged there only by a caller who names a slack, the wait that is no fault. CKPT-19
judges saves that came late, in virtual time alone, by the policy that the header declares.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from cellspec.check.endpoints import judge_of
from cellspec.check.explain import explain
from cellspec.clauses import clauses
from cellspec.errors import SpecError, TraceError, Violation
from cellspec.graph.configuration import Config
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import barrier_key, cell_key
from cellspec.machine.actions import Action
from cellspec.machine.calls import runs
from cellspec.machine.clock import at as leave_moments
from cellspec.machine.killers import Killers
from cellspec.machine.machine import Limits, Machine
from cellspec.state.claims import Rows
from cellspec.trace import (
    KINDS,
    Event,
    Footer,
    Header,
    TraceReader,
    action_of,
    check_size,
    claims_of,
    failures_of,
    graph_of,
    limits_of,
    saving_of,
)

__all__ = ["CheckResult", "Checker", "Finding", "check_file", "expect_clauses"]

RECENT_EVENTS = 256
"""How many events are kept for an explanation."""

_CONSERVATION = ("SCHED-09", "GROUP-06")
_IDLENESS = (*_CONSERVATION, "SCHED-15")
_JUDGED_IN_PART = frozenset({"FAIL-07"})
"""Clauses of which a part is judged where another is not: a time-out may always be too early."""

_PROGRESS_EVENTS = 1 << 16

_CLAIMED_AT = {"interrupted": "STOP-07", "stopped": "STOP-08", "success": "CKPT-22"}
"""The clause on what is claimed when a run ends with this outcome."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A clause that a trace breaks.

    Attributes:
        clause: its number.
        detail: the violation, in one line.
        seq: the number of the event that broke it; None if the file as such did.
        line: the line of the file, from 1.
        explanation: for a reader, a line each: the rule, the event, the state that mattered, and
            the last events of the same matter.
    """

    clause: str
    detail: str
    seq: int | None = None
    line: int | None = None
    explanation: tuple[str, ...] = ()

    @property
    def story(self) -> tuple[str, ...]:
        """`explanation`, by its name up to version 0.1."""
        return self.explanation


@dataclass(slots=True)
class CheckResult:
    """The results of checking a trace; the verdict is made of them by
    `cellspec.conformance.judge.verdict.judge_trace`.

    Attributes:
        source: the name of the trace.
        header: its first line, or None if that was unreadable.
        violations: empty, or the first violation.
        unreadable: where and why reading ended before the footer; "" if it did not.
        events: events judged, the one that broke a clause with them.
        inferred: how many of them the engine did not observe, but concluded.
        counts: the same by kind, without kinds that did not occur.
        evidence: how often each matter was judged, counted over observed events; a clause about a
            matter at 0 was not exercised.
        ended: the run came to an end event, and was not resumed after it.
        outcome: the outcome in that event.
        incarnations: runs of the process.
        completed_rows: rows that were resolved without a gap when judging ended.
        waived: clauses that were not judged because the caller said so.
        unjudged: clauses that could not be judged, with the reason.
        compares_config: header and resumes from claimed cells state their configuration, and a
            resume that of each claimed column of the header, so that clause CKPT-20 was judged.
        footer: the last line, if it was read.
    """

    source: str
    header: Header | None = None
    violations: list[Finding] = field(default_factory=list)
    unreadable: str = ""
    events: int = 0
    inferred: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, int] = field(default_factory=dict)
    ended: bool = False
    outcome: str | None = None
    incarnations: int = 0
    completed_rows: int = 0
    waived: tuple[str, ...] = ()
    unjudged: Mapping[str, str] = field(default_factory=dict)
    compares_config: bool = True
    footer: Footer | None = None


def expect_clauses(numbers: Collection[str]) -> tuple[str, ...]:
    """Clause numbers to waive, in order.

    Raises:
        SpecError: one that the specification does not have.
    """
    for number in numbers:
        if number not in clauses():
            raise SpecError(f"waive: no such clause: {number!r}")
    return tuple(sorted(set(numbers)))


class Checker:
    """Judges the events of one trace, one by one, in order.

    Args:
        header: line 1 of the trace.
        waive: clauses not to judge; see `Machine`.
        source: the name of the trace in errors and findings.
        memory_bytes: how much memory the run may take; by default half of the machine's.
        slack_s: in real time, how long in seconds work may wait beyond what the engine promised;
            by default nobody judges that there. It changes nothing in virtual time.

    Attributes:
        finding: the first violation, or None.
        machine: the state of the run.

    Raises:
        TraceError: a header whose graph or limits are invalid (TRACE-02), or a run that is too
            large for the memory.
        SpecError: a clause to waive that does not exist.
    """

    def __init__(
        self,
        header: Header,
        *,
        waive: Collection[str] = (),
        source: str = "trace",
        memory_bytes: int | None = None,
        slack_s: float = 0.0,
    ) -> None:
        self._slack_s = slack_s if header.clock == "real" else 0.0
        self.header = header
        self.source = source
        self.finding: Finding | None = None
        self.waived = expect_clauses(waive)
        self.unjudged = _unjudged(header, self._slack_s)
        self._memory_bytes = memory_bytes
        self._recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._counts = dict.fromkeys(KINDS, 0)
        self._inferred = dict.fromkeys(KINDS, 0)
        self._moments = self._barriers = self._ranges = 0
        self._outcome: str | None = None
        self._impossible = ""
        self._compares_config = True
        self._columns = len(header.graph.columns)
        self._check_size(header.graph.rows, 1)
        graph = graph_of(header, source)
        limits = limits_of(header, source)
        self.machine = self._make_machine(graph, limits)
        self.machine.state.resumes = "resume" in header.claims
        if header.killer_tries is not None:
            unheard_s = self.machine.state.unheard_s
            self.machine.state.killers = Killers(header.killer_tries, unheard_s=unheard_s)
        if "cache" in header.claims:
            self.machine.state.once_read = {}
        self._resource_of: list[str | None] = [
            limits.column_resource.get(name) for name in graph.column_names
        ]
        # Some clauses ask when a call began, or what a step made ready: the machine has to know.
        self._plain_starts = header.timeout_s is None and not (
            self.machine.state.waits_s or header.bypass is not None or header.killer_tries
        )
        self._plain_ends = header.failures.stop_window is None and header.killer_tries is None
        # It is asked after each end of a call, so none is taken for plain.
        self._endpoints = judge_of(header, source, self.waived)
        self._plain_ends = self._plain_ends and self._endpoints is None
        self._note_graph()

    def _check_size(self, rows: int, line: int) -> None:
        turns = self.header.bypass is not None
        given, columns = self._memory_bytes, self._columns
        check_size(rows, columns, self.source, line, memory_bytes=given, turns=turns)

    def _make_machine(self, graph: ExecutionGraph, limits: Limits) -> Machine:
        failures = failures_of(self.header)
        waive = (*self.waived, *(one for one in self.unjudged if one not in _JUDGED_IN_PART))
        drops = "drops" in self.header.claims
        idle_s = self.header.idle_s or 0.0
        # Outside of the `try`: a promise that means nothing is no limit that must be refused.
        saving = saving_of(self.header, self.source)
        try:
            return Machine(
                graph,
                limits,
                failures=failures,
                drops=drops,
                waive=waive,
                config=self.header.config,
                real_time=self.header.clock == "real",
                saving=saving,
                idle_s=idle_s,
                bypass=self.header.bypass,
                slack_s=self._slack_s,
                claims=claims_of(self.header),
                hears_late=True,
            )
        except SpecError as error:
            if "GROUP-04" in self.waived:
                return self._make_machine(graph, replace(limits, groups=None))
            # Graph and limits are valid each; together they must be refused, and not run. Who
            # refuses them may say that the run failed.
            self._impossible = str(error)
            waive = (*waive, "SCHED-14")
            return Machine(graph, failures=failures, drops=drops, waive=waive, hears_late=True)

    def _note_graph(self) -> None:
        """The values that the hot path looks up; anew when a resume changes the number of rows."""
        graph, counters = self.machine.graph, self.machine.counters
        self._index = graph.rules.index
        # No row is plain in a run that must not be: its first event is the finding.
        self._rows = 0 if self._impossible else graph.num_records
        self._starts = counters.start
        self._resolves = counters.resolve

    def feed(self, event: Event) -> Finding | None:
        """Judge the next event, as a reader gives it; the finding, if it breaks a clause.

        After the first finding the checker stops judging. An event that was put together by hand
        must fit its kind (`cellspec.trace.misfit`).

        Raises:
            TraceError: the event makes the run too large for the memory, or cannot be judged
                because it, or one before it, breaks a clause that is waived.
        """
        if self.finding is not None:
            return self.finding
        machine = self.machine
        kind = event.event
        self._counts[kind] += 1
        if event.inferred:
            self._inferred[kind] += 1
        try:
            if event.t != machine.state.now:
                if (kind == "complete" or kind == "start") and not self._slack_s:
                    leave_moments(machine.state, event.t)
                    self._moments += 1
                else:
                    self._move_clock(event)
            rows = event.rows
            # Nearly all events are starts and ends of one cell; they are judged where they stand.
            if type(rows) is int and rows < self._rows:
                column = self._index.get(event.column)  # type: ignore[arg-type]  # None is no key
                if column is not None:
                    resource = event.resource
                    if resource is not None and resource != self._resource_of[column]:
                        self._refuse_resource(event, column)
                    # Without a failure, attempt 1 is in flight, and the next.
                    attempt = event.attempt
                    first = attempt is None or (attempt == 1 and not machine.attempts)
                    if kind == "complete" and first and self._plain_ends and event.rejected is None:
                        self._resolves[column](rows)
                        self._recent.append(event)
                        return None
                    if kind == "start":
                        if first and self._plain_starts and not machine.attempts:
                            self._starts[column](rows)
                        else:
                            machine.start_cell(column, rows, attempt or 1)
                        self._recent.append(event)
                        return None
            self._apply(event)
        except Violation as broken:
            return self._find(broken.clause, broken.detail, event, event.seq + 1)
        except TraceError as error:
            if error.clause is None or error.clause in self.waived:
                raise
            detail = ": ".join(filter(None, (error.field, error.expected)))
            return self._find(error.clause, detail, event, error.line)
        except SpecError as error:
            if "TRACE-02" in self.waived:
                raise TraceError(self.source, event.seq + 1, "", str(error)) from None
            return self._find("TRACE-02", str(error), event, event.seq + 1)
        except Exception as error:
            if not self.waived:
                raise
            expected = (
                "cannot be judged: a step before it broke a clause that is waived, and was taken "
                f"({type(error).__name__})"
            )
            raise TraceError(self.source, event.seq + 1, "", expected) from None
        self._recent.append(event)
        return None

    def refuse(self, clause: str, detail: str, event: Event) -> Finding:
        """The finding that an event breaks a clause for a reason that only the caller knows."""
        self._counts[event.event] += 1
        return self._find(clause, detail, event, event.seq + 1)

    def _move_clock(self, event: Event) -> None:
        kind = event.event
        if (kind == "resume" and event.t < self.machine.now) or (self._slack_s and event.seq == 1):
            # A new process may read another clock; within one incarnation time never falls. In
            # real time the clock of the first process reads anything when the run begins.
            self.machine.set_clock(event.t)
        elif kind == "end":
            self.machine.at(event.t, ends=True)
        else:
            self.machine.at(event.t)
        self._moments += 1

    def _apply(self, event: Event) -> None:
        """Any event but a call of one cell that starts or ends well."""
        machine = self.machine
        graph = machine.graph
        refuses = event.outcome == "failed" and event.seq == 1
        if self._impossible and not refuses:
            raise Violation("GROUP-04", self._impossible)
        if event.event == "resume":
            self._check_incarnation(event)
            if event.records is not None:
                self._check_size(event.records, event.seq + 1)
        if event.abandoned and event.failure not in (None, "timeout"):
            self._refuse(
                event, "abandoned", f"only of a call that timed out, got {event.failure!r}"
            )
        action = action_of(event, graph, self.source)
        if event.resource is not None:
            column = graph.rules.index[action.column]
            if event.resource != self._resource_of[column]:
                self._refuse_resource(event, column)
        if event.request is not None:
            # The steps after it follow from it.
            if event.request.step == "sent":
                self._expect_call(action)
            self._ask_endpoints(event)
            return
        try:
            machine.apply(action)
        except SpecError as error:
            if event.records is None or "GROUP-04" in self.waived:
                raise
            # The names of the event are known; the limits leave no way to run that many rows.
            raise Violation("GROUP-04", str(error)) from None
        self._ask_endpoints(event)
        if event.event == "resume":
            self._outcome = None
            self._note_graph()
            if action.claim is not None and any(action.claim):
                claimed = dict(zip(graph.column_names, action.claim, strict=True))
                self._note_config(claimed, event.config)
        elif event.event == "end":
            self._outcome = action.outcome
            self._note_unclaimed(action.outcome)
            if self._endpoints is not None:
                self.unjudged.update(self._endpoints.unjudged)
        elif event.event == "worker_lost":
            self._plain_ends = False
        elif event.event == "start" and not event.inferred:
            self._barriers += event.scope is not None
            self._ranges += event.scope is None and isinstance(event.rows, tuple)

    def _expect_call(self, action: Action) -> None:
        """Between its start and its end a call is in flight, wherever it is, and else nowhere."""
        if self._endpoints is None or "ENDP-16" in self.waived:
            return
        column = self.machine.graph.rules.index[action.column]
        if action.scope is not None:
            key = barrier_key(column, action.scope)
        else:
            assert action.rows is not None
            key = cell_key(column, action.rows[0])
        if not runs(self.machine.state, key):
            where = self.machine.state.where(key)
            raise Violation("ENDP-16", f"{where} is on its way to an endpoint, and not in flight")

    def _ask_endpoints(self, event: Event) -> None:
        """Judge the calls at endpoints by an event that the machine allows."""
        breach = None if self._endpoints is None else self._endpoints.feed(event)
        if breach is not None:
            raise Violation(breach.clause, breach.detail)

    def _note_config(self, claimed: Mapping[str, Rows], config: Config | None) -> None:
        """Note whether a resume states the configuration of the claimed columns of the header."""
        before = self.header.config
        if before is None or config is None or any(map(claimed.get, before.keys() - config.keys())):
            self._compares_config = False

    def _check_incarnation(self, event: Event) -> None:
        expected = self.machine.incarnation + 1
        if event.incarnation not in (None, expected):
            detail = f"expected {expected}, got {event.incarnation}"
            self._refuse(event, "incarnation", detail)

    def _refuse_resource(self, event: Event, column: int) -> None:
        takes = self._resource_of[column]
        expected = "takes none" if takes is None else f"takes {takes!r}"
        detail = f"column {event.column!r} {expected}, got {event.resource!r}"
        self._refuse(event, "resource", detail)

    def _refuse(self, event: Event, field: str, detail: str) -> None:
        if "TRACE-02" not in self.waived:
            raise TraceError(self.source, event.seq + 1, field, detail, clause="TRACE-02")

    def _find(self, clause: str, detail: str, event: Event, line: int | None) -> Finding:
        lines = explain(clause, detail, event, self.machine, self._recent)
        self.finding = Finding(clause, detail, event.seq, line, tuple(lines))
        return self.finding

    def result(self) -> CheckResult:
        """The results up to now."""
        counts = {kind: count for kind, count in self._counts.items() if count}
        return CheckResult(
            source=self.source,
            header=self.header,
            violations=[] if self.finding is None else [self.finding],
            events=sum(counts.values()),
            inferred=sum(self._inferred.values()),
            counts=counts,
            evidence=self._evidence(),
            ended=self.machine.ended,
            outcome=self._outcome,
            incarnations=self.machine.incarnation + 1,
            completed_rows=self.machine.completed_rows,
            waived=self.waived,
            unjudged=self.unjudged,
            compares_config=self._compares_config,
        )

    def _note_unclaimed(self, outcome: str | None) -> None:
        """A run ends: nobody knows what it had to claim if it stored nothing, and does not say."""
        state = self.machine.state
        says = self.header.claim_version is not None or state.has_stored or state.claim_version
        clause = _CLAIMED_AT.get(outcome or "")
        if clause and state.resumes and not says and self._counts["complete"]:
            self.unjudged.setdefault(
                clause, "the trace does not say what kind of claims it makes: claim_version"
            )

    def _evidence(self) -> dict[str, int]:
        seen = {kind: self._counts[kind] - self._inferred[kind] for kind in KINDS}
        asked = seen["stop_requested"]
        return {
            "starts": seen["start"],
            "starts of barriers": self._barriers,
            "starts of ranges": self._ranges,
            "ends of calls": seen["complete"] + seen["fail"] + seen["cancel"],
            "outputs of barriers": seen["emit"],
            "failures": seen["fail"],
            "drops": seen["drop"],
            "skips": seen["skip"],
            "row groups": seen["admit"],
            "data on storage": seen["durable"] + seen["committed"],
            "claims": seen["checkpoint_begin"] + seen["commit_begin"],
            "resumes": seen["resume"],
            "early stops": seen["stop"],
            **({"stop requests": asked} if asked else {}),
            **({"calls at endpoints": self._endpoints.calls} if self._endpoints else {}),
            "ends of the run": seen["end"],
            "moves of the clock": self._moments,
            # Most engines never pause, and lack nothing without it.
            **({"pauses": seen["pause"]} if seen["pause"] else {}),
        }


def _unjudged(header: Header, slack_s: float) -> dict[str, str]:
    """Clauses that this trace cannot be judged by, with the reason."""
    unjudged = _idleness_unjudged(header, slack_s)
    if header.limits.groups is not None and header.clock == "real":
        unjudged["GROUP-07"] = "in real time nobody can say that a row group retired too late"
    if header.timeout_s is not None and header.clock == "real" and not slack_s:
        reason = "in real time nobody can say that a call ended after its bound, without a slack"
        unjudged["FAIL-07"] = reason
    return unjudged


def _idleness_unjudged(header: Header, slack_s: float) -> dict[str, str]:
    if header.clock == "real" and not slack_s:
        reason = "in real time nobody can say that something started too late, without a slack"
        promised = _IDLENESS if header.saving is None else (*_IDLENESS, "CKPT-19")
        return dict.fromkeys(promised, reason)
    unjudged: dict[str, str] = {}
    if "work_conserving" not in header.claims:
        reason = "the engine is without the capability work_conserving"
        unjudged = dict.fromkeys(_CONSERVATION, reason)
    if header.clock == "real" and header.saving is not None:
        unjudged["CKPT-19"] = "in real time nobody can say that a save came too late"
    return unjudged


def check_file(
    source: Path | str | BinaryIO,
    *,
    waive: Collection[str] = (),
    progress: Callable[[int], object] | None = None,
    memory_bytes: int | None = None,
    slack_s: float = 0.0,
) -> CheckResult:
    """Judge a trace file.

    Args:
        source: a path, or an open binary file; perhaps compressed.
        waive: clauses not to judge.
        progress: called now and then with the number of events.
        memory_bytes: how much memory the run may take; by default half of the machine's.
        slack_s: how long work may wait in a run in real time; see `Checker`.

    Raises:
        SpecError: a clause to waive that does not exist. The content of the file never raises.
    """
    waived = expect_clauses(waive)
    name = str(source) if isinstance(source, str | Path) else "trace"
    result = CheckResult(name, waived=waived)
    checker: Checker | None = None
    try:
        with TraceReader(source, name=name) as reader:
            # A promise that means nothing makes the header unreadable, and breaks no clause.
            saving_of(reader.header, name)
            result.header = reader.header
            checker = Checker(
                reader.header,
                waive=waived,
                source=name,
                memory_bytes=memory_bytes,
                slack_s=slack_s,
            )
            _feed_all(reader, checker, progress)
            result = checker.result()
            result.footer = reader.footer
    except (TraceError, MemoryError) as error:
        if checker is not None:
            result = checker.result()
        _note_unread(result, error)
    return result


def _feed_all(
    reader: TraceReader, checker: Checker, progress: Callable[[int], object] | None
) -> None:
    feed = checker.feed
    if checker.finding is not None:
        return
    for event in reader:
        if feed(event) is not None:
            return
        if progress is not None and not event.seq % _PROGRESS_EVENTS:
            progress(event.seq)


def _note_unread(result: CheckResult, error: TraceError | MemoryError) -> None:
    if isinstance(error, MemoryError):
        result.unreadable = f"{result.source}: no memory is left to follow the run"
    elif error.clause is None or error.clause in result.waived:
        result.unreadable = str(error)
    else:
        detail = ": ".join(filter(None, (error.field, error.expected)))
        rule, *rest = explain(error.clause, detail, None, None, ())
        where = f"line {error.line} of {result.source}"
        lines = (rule, where, *rest)
        result.violations.append(Finding(error.clause, detail, None, error.line, lines))
