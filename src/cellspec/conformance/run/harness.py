"""The harness: runs one workload on one backend, through all its lives, and judges what happened.

`run_workload` gives each life of the workload its `Probe` and its folder, lets the backend run
until it ends or the probe kills it, hands what is durable to the next life, and judges three things
in this order:

1. **Events**, those of the calls as the probe saw them and the rest as the backend reported them,
   against the transition system. The first step that is not allowed is the finding.
2. **The end of the life**: it must come. An engine that waits for nothing, that never ends, or that
   dies of an exception has stood still (clause SCHED-12).
3. **The table**, read back from the folder, against the provenance of its values.

The first thing that is wrong ends the run: one cause, one finding. What a broken engine does after
that is a consequence.

A backend whose `run` is a coroutine function runs on a loop in virtual time: a crash stops that
loop at an instant, and a hang is an error at once. Any other runs in a thread of its own, in real
time, with all latencies shortened; there nobody can say that an engine started something *too late*
(clauses SCHED-09 and GROUP-06), so that is not judged.

A backend that claims to resume but reports nothing of its storage is judged by its tables alone
from the first crash on: nobody knows what its storage gave back.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellspec import virtualtime
from cellspec.check.checker import Checker, Finding, expect_clauses
from cellspec.check.explain import describe
from cellspec.clauses import clauses
from cellspec.conformance.judge.provenance import Registry, TableJudge
from cellspec.conformance.run.backend import CAPABILITIES, Backend, Table, check_capabilities
from cellspec.conformance.run.clock_mode import ClockMode, RealClock, VirtualClock
from cellspec.conformance.run.probe import Clock, Crash, Entry, Probe, Refused
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError, TraceError
from cellspec.faults import GeneratorError
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.actions import Choose
from cellspec.machine.policy import changed_scopes
from cellspec.text import be, counted, node_words
from cellspec.trace import Event, TraceWriter, header_for, to_json

__all__ = ["Cost", "Finding", "RunResult", "run_workload"]

REAL_SCALE = 1 / 64
"""Seconds of real time for one second of a workload, unless told otherwise."""

STALL_S = 20.0
"""Real seconds without a call's start or end after which a run in real time stands still."""

_STORY_EVENTS = 12
_TRACEBACK_LINES = 6


@dataclass(slots=True)
class Cost:
    """What a run cost; reported, and never a reason to say that a clause is broken.

    Attributes:
        cpu_s: CPU seconds of the process while the engine ran, the probe's share in them.
        events: events in that time.
        graph_questions: what the engine asked ``probe.graph``: one for each question and one for
            each node answered. For each event this must not grow with the number of rows.
    """

    cpu_s: float = 0.0
    events: int = 0
    graph_questions: int = 0


@dataclass(slots=True)
class RunResult:
    """What one run did, and the first thing that was wrong with it.

    Attributes:
        work: the workload.
        header: the first line of its trace.
        events: its events, as a trace writes them.
        rest: what that life did after the event that broke a clause, up to its end; not judged.
        violations: the clause that it broke; none, or one.
        outcomes: how each life ended: ``"crash"``, or what the engine reported.
        tables: what storage held at the end of each life.
        refused: why the engine refused the workload, where it must; "" if it did not.
        adapter: what the adapter did wrong, if that is what went wrong; "" else.
        by_table_alone: lives whose events were not judged, because nobody knows what they resumed.
        calls: every call of the run.
        cost: what it cost.
    """

    work: Workload
    header: Mapping[str, Any]
    events: list[Mapping[str, Any]] = field(default_factory=list)
    rest: list[Mapping[str, Any]] = field(default_factory=list)
    violations: list[Finding] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    refused: str = ""
    adapter: str = ""
    by_table_alone: int = 0
    calls: Registry = field(default_factory=Registry)
    cost: Cost = field(default_factory=Cost)

    @property
    def story(self) -> tuple[str, ...]:
        """The story of the violation, a line each; nothing if there was none."""
        return self.violations[0].story if self.violations else ()

    @property
    def evidence(self) -> dict[str, int]:
        """How much was seen: lives, crashes, calls, and events by kind."""
        kinds = Counter(event["event"] for event in self.events)
        return {
            "lives": len(self.outcomes),
            "crashes": self.outcomes.count("crash"),
            "calls": self.calls.calls,
            **{kind: kinds[kind] for kind in sorted(kinds)},
        }


def run_workload(
    backend: Backend,
    work: Workload,
    *,
    waive: Collection[str] = (),
    keep_folder: Path | None = None,
    trace: Path | None = None,
    real_time: bool = False,
    scale: float = REAL_SCALE,
    stall_s: float = STALL_S,
    choose: Choose | None = None,
) -> RunResult:
    """Run a workload on a backend, and judge the run.

    Args:
        backend: the engine.
        work: what it is asked for.
        waive: clauses not to judge.
        keep_folder: where to leave the folders of all lives, and what each one left; by default
            they are removed.
        trace: where to write the run's trace; by default it is not written.
        real_time: run a coroutine function on an ordinary loop as well.
        scale: in real time, seconds for one second of the workload.
        stall_s: in real time, seconds without any call after which the run stands still.
        choose: in virtual time, which of the calls in flight ends next, by column and position; by
            default each takes as long as the workload says.

    Raises:
        SpecError: a backend whose attributes cannot be used, or a clause to waive that is none.
    """
    check_capabilities(backend)
    virtual = inspect.iscoroutinefunction(backend.run) and not real_time
    waived = expect_clauses(waive)
    root = keep_folder or Path(tempfile.mkdtemp(prefix="cellspec-", dir=_scratch()))
    root.mkdir(parents=True, exist_ok=True)
    clock_mode: ClockMode = VirtualClock(work, choose) if virtual else RealClock(scale, stall_s)
    try:
        run = _Run(
            backend, work, frozenset(waived), root, clock_mode, keeps=keep_folder is not None
        )
        run.through_all_lives()
    finally:
        if keep_folder is None:
            shutil.rmtree(root, ignore_errors=True)
    if trace is not None:
        _write_trace(trace, run)
    return run.result


def _scratch() -> Path | None:
    """Where folders are made that nobody keeps: in memory, if there is such a place.

    A campaign makes thousands, and a disk takes longer over each than the engine runs. What an
    engine's syncs cost, and whether they work, is not what workloads are about.
    """
    memory = Path("/dev/shm")
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return memory if not asked and memory.is_dir() and os.access(memory, os.W_OK) else None


def _write_trace(path: Path, run: _Run) -> None:
    with TraceWriter(path, run.header) as writer:
        for event in (*run.events, *run.rest):
            writer.write(event)


# One run


class _Run:
    """A run through all its lives, up to the first thing that is wrong."""

    def __init__(
        self,
        backend: Backend,
        work: Workload,
        waived: frozenset[str],
        root: Path,
        clock_mode: ClockMode,
        *,
        keeps: bool,
    ) -> None:
        self.keeps = keeps
        self.backend = backend
        self.work = work
        self.waived = waived
        self.root = root
        self.clock_mode = clock_mode
        self.claims = frozenset(backend.capabilities)
        self.header = header_for(
            work.graph(),
            engine=backend.name,
            version=backend.version,
            limits=work.limits,
            failures=work.failures,
            seed=work.seed,
            clock=clock_mode.clock,
            claims=[name for name in CAPABILITIES if name in self.claims],
        )
        self.result = RunResult(work, to_json(self.header))
        self.events: list[Event] = []
        self.rest: list[Event] = []
        self.registry = self.result.calls
        self.tables = TableJudge(
            work, self.registry, by_column="column_checkpoints" in self.claims, waive=waived
        )
        self.checker: Checker | None = None
        self.storage_reported = False
        self.claim: dict[str, int] | None = None
        self.now_s = 0.0
        self.settled = 0

    def through_all_lives(self) -> None:
        """Run life after life; leaves what was found in `result`."""
        left = self.root / "life-0"
        left.mkdir()
        for incarnation in range(self.work.incarnations):
            folder = left
            if incarnation:
                if not self._goes_on(incarnation):
                    return
                if self.keeps:
                    folder = self.root / f"life-{incarnation}"
                    shutil.copytree(left, folder)
            left = self.root / f"life-{incarnation}-left"
            probe, error = self._live(incarnation, folder, left)
            if not left.exists():
                # Nothing was cut off: the folder is what the life left.
                left = folder
            self._judge_life(probe, error)
            if self.result.violations or self.result.refused or self.result.adapter:
                return
            self._judge_table(probe, left)
            if self.result.violations or self.result.adapter:
                return

    def _goes_on(self, incarnation: int) -> bool:
        """A life after one that ended by itself makes sense only if it is asked for other rows;
        after one in which the engine died, and that is waived, nothing can be said of it."""
        outcome = self.result.outcomes[-1]
        others = self.work.rows_of(incarnation) != self.work.rows_of(incarnation - 1)
        return outcome == "crash" or (outcome != "" and others)

    def _live(
        self, incarnation: int, folder: Path, left: Path
    ) -> tuple[Probe, BaseException | None]:
        work = self.work
        calls = work.graph(incarnation).num_nodes + len(work.faults)

        def make(clock: Clock) -> Probe:
            return Probe(
                work,
                incarnation,
                folder,
                self.claims,
                clock,
                self.registry,
                freeze=lambda: _copy_when_still(folder, left),
                call_limit=100 + 10 * calls,
            )

        began_s = time.process_time()
        probe, error = self.clock_mode.run(self.backend, make, self.now_s)
        error = _innermost(error)
        self.result.cost.cpu_s += time.process_time() - began_s
        self.result.cost.events += len(probe.log)
        self.result.cost.graph_questions += probe.graph.questions
        return probe, error

    # The end of a life

    def _judge_life(self, probe: Probe, error: BaseException | None) -> None:
        due = self._must_refuse(probe)
        refuses = isinstance(error, Refused) or (isinstance(error, SpecError) and due is not None)
        if refuses and not probe.misuse:
            self._judge_refusal(error, due)
            return
        if due and due[0] == "GROUP-04" and "GROUP-04" not in self.waived:
            self._find("GROUP-04", f"{due[1]}, and the engine ran it")
            return
        crashed = probe.ended_by == "crash"
        if crashed:
            probe.log.append({"t": probe.ended_at_s, "event": "crash"})
        ends = [entry for entry in probe.log if entry["event"] == "end"]
        self.result.outcomes.append("crash" if crashed else ends[0]["outcome"] if ends else "")
        self.storage_reported = self.storage_reported or probe.storage_reported
        # A life that died before it said what it resumes from may have died before it could refuse.
        resumed = any(entry["event"] == "resume" for entry in probe.log)
        if resumed or not self.storage_reported:
            self.settled = probe.incarnation
        self._judge_events(probe)
        if not self.result.violations and not crashed:
            self._judge_end(probe, error, ends)

    def _judge_refusal(self, error: BaseException | None, due: tuple[str, str] | None) -> None:
        self.result.outcomes.append("refused")
        if due is None:
            self._find("SCHED-12", f"the engine refuses a workload that can be run: {error}")
        else:
            self.result.refused = str(error) or due[1]

    def _judge_end(self, probe: Probe, error: BaseException | None, ends: Sequence[Entry]) -> None:
        """A life that did not crash must have come to an end, and have said so."""
        outcome = self.result.outcomes[-1]
        if probe.misuse:
            self.result.adapter = probe.misuse
            detail = f"the adapter asks for what is not there: {probe.misuse}"
            self._find("TRACE-02", detail, *probe.misuse_place)
        elif isinstance(error, virtualtime.RealTimeError):
            self.result.adapter = (
                f"{_first_line(error)}; make run a plain function to have it run in real time"
            )
            self._find("SCHED-12", f"the run cannot go on in virtual time: {_first_line(error)}")
        elif error is not None and (outcome in ("", "success") or _stands_still(error)):
            self._find("SCHED-12", _why_stuck(error), *_tail(error))
        elif not ends:
            self.result.adapter = "run returned, and end was not reported"
            self._find("SCHED-12", "run returned without a report of how it ended")
        elif outcome == "failed" and self.result.by_table_alone and not _storage_failed(probe):
            # Where its events cannot be judged, storage is all that is known to fail.
            reason = ends[0].get("reason", "no reason given")
            self._find("SCHED-14", f"the run gave up although nothing stood in its way: {reason}")

    def _must_refuse(self, probe: Probe) -> tuple[str, str] | None:
        """The clause by which this life must be refused, and why; None if it must not."""
        work, incarnation = self.work, probe.incarnation
        scope = _scope_too_wide(work, probe.graph)
        if scope:
            return "GROUP-04", scope
        rows, before = work.rows_of(incarnation), work.rows_of(self.settled)
        if not incarnation or rows == before:
            return None
        table = self.result.tables[-1]
        # Storage may give back the claim that was being written, too.
        durable, pending = self.claim or {}, self._pending_claim or {}
        claim = {
            name: max(durable.get(name, 0), pending.get(name, 0))
            for name in probe.graph.column_names
        }
        for changed in () if work.keep else changed_scopes(probe.graph.rules, before, rows):
            name = probe.graph.column_names[changed.column]
            first, was = changed.start, changed.before
            held = any(name in table.rows.get(row, {}) for row in range(first, was))
            if held or claim.get(name, 0) > first:
                what = f"rows of {name!r} from {first} are kept, and their scope ends at {was}"
                return "CKPT-16", f"{what}, then at {changed.after}"
        kept = max((0, *claim.values(), *(row + 1 for row in (*table.rows, *table.dropped))))
        if rows < kept:
            return "CKPT-16", f"{counted(rows, 'row')} {be(rows)} asked for, and more are kept"
        return None

    # Events

    def _judge_events(self, probe: Probe) -> None:
        incarnation = probe.incarnation
        if self.result.by_table_alone or (incarnation and not self._resume_is_known(probe)):
            self.result.by_table_alone += 1
            return
        if self.checker is None:
            # Not before the first life has not been refused: limits may be such that none may run.
            self.checker = Checker(self.header, waive=self.waived, source=self.backend.name)
        entries = self._with_inferred(probe)
        for entry in entries:
            event = self._event(entry, incarnation, len(self.events) + 1)
            self.events.append(event)
            self.result.events.append(to_json(event))
            self.now_s = max(self.now_s, event.t)
            self._note_claim(event)
            try:
                found = self.checker.feed(event)
            except TraceError:
                # It, or a step before it, breaks a clause that is waived: nothing that follows can
                # be judged by its events.
                self.result.by_table_alone += 1
                return
            if found is not None:
                self.result.violations.append(found)
                for seq, later in enumerate(entries, event.seq + 1):
                    self.rest.append(self._event(later, incarnation, seq))
                self.result.rest = list(map(to_json, self.rest))
                return

    def _resume_is_known(self, probe: Probe) -> bool:
        """What a life goes on from can be judged: it is nothing, or the claims before are known."""
        claims = [entry["claim"] for entry in probe.log if entry["event"] == "resume"]
        return bool(claims) and (self.storage_reported or not any(claims[0].values()))

    def _event(self, entry: Entry, incarnation: int, seq: int) -> Event:
        fields = dict(entry)
        kind = fields.pop("event")
        column = fields.get("column")
        if kind == "start" and entry["column"] in self.work.limits.column_resource:
            fields["resource"] = self.work.limits.column_resource[entry["column"]]
        if kind == "resume":
            fields["incarnation"] = incarnation
        if kind == "start" and fields.get("attempt") == 1:
            del fields["attempt"]
        if column == "":
            fields.pop("column")
        return Event(seq, fields.pop("t"), kind, **fields)

    def _with_inferred(self, probe: Probe) -> Iterator[Entry]:
        """The events of a life; where storage is never reported, its state before the end is
        inferred from the table, so that the end can be judged."""
        for entry in probe.log:
            if (
                entry["event"] == "end"
                and entry["outcome"] == "success"
                and not probe.storage_reported
            ):
                table = self._read(probe)
                if table is None:
                    # The judge of tables says why; that nothing is durable is beside the point.
                    return
                if all(row in table.rows or row in table.dropped for row in range(probe.rows)):
                    yield {
                        "t": entry["t"],
                        "event": "durable",
                        "rows": (0, probe.rows) if probe.rows > 1 else 0,
                        "inferred": True,
                    }
            yield entry

    def _note_claim(self, event: Event) -> None:
        """Follow the last claim that is durable, for the judge of tables."""
        if event.event == "checkpoint_begin":
            self._pending_claim = event.claim
        elif event.event == "checkpoint_durable":
            self.claim = self._pending_claim
        elif event.event == "resume":
            self.claim = event.claim
            self._pending_claim = None

    _pending_claim: dict[str, int] | None = None

    # The table

    def _read(self, probe: Probe) -> Table | None:
        try:
            return self.backend.table(probe)
        except Exception:
            return None

    def _judge_table(self, probe: Probe, left: Path) -> None:
        probe.folder = left
        try:
            table = self.backend.table(probe)
            if not isinstance(table, Table):
                raise TypeError(f"table gave {type(table).__name__}, expected Table")
        except Exception as error:
            self.result.tables.append(Table({}))
            text = f"{type(error).__name__}: {_first_line(error)}"
            if "crash" in self.result.outcomes:
                text = f"what the crash left cannot be read: {text}"
            else:
                self.result.adapter = text = f"table: {text}"
            self._find("TABLE-01", text, *_tail(error))
            return
        self.result.tables.append(table)
        claim = self.claim
        if claim is None and self.storage_reported:
            claim = dict.fromkeys(probe.graph.column_names, 0)
        broken = self.tables.judge(
            probe.incarnation, table, self.result.outcomes[-1], claim, self._dropped_by_run()
        )
        if broken is not None:
            self._find(broken.clause, broken.detail)

    def _dropped_by_run(self) -> Container[int] | None:
        """The rows that the run dropped, by its events; None if they were not all judged."""
        if self.checker is None or self.result.by_table_alone:
            return None
        return frozenset(self.checker.machine.counters.dropped)

    # Findings

    def _find(self, clause: str, detail: str, *more: str) -> None:
        if clause in self.waived:
            return
        story = [f"{clause}: {clauses()[clause].text}", f"found: {detail}", *more]
        if self.events:
            last = self.events[-_STORY_EVENTS:]
            story += ["the last events:", *(f"  {event.seq}: {describe(event)}" for event in last)]
        self.result.violations.append(Finding(clause, detail, story=tuple(story)))


# What must be refused


def _scope_too_wide(work: Workload, graph: ExecutionGraph) -> str:
    """A barrier whose scope takes more row groups than may be admitted at once, in words."""
    size, most = work.limits.group_rows, work.limits.groups
    if size is None or most is None:
        return ""
    for rule in graph.rules.columns:
        for scope in range(graph.rules.scope_count(rule.index)):
            start, stop = graph.rules.scope_bounds(rule.index, scope)
            groups = (stop - 1) // size - start // size + 1
            if groups > most:
                barrier = node_words(rule.name, scope=scope)
                return f"{barrier} needs {counted(groups, 'row group')} at once of {most}"
    return ""


# Folders


def _copy_when_still(folder: Path, to: Path) -> None:
    """Copy a folder as it is at one moment, although threads may still be writing to it."""
    for _ in range(20):
        before = _signature(folder)
        shutil.rmtree(to, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, to)
            if _signature(folder) == before:
                return
        time.sleep(0.005)
    to.mkdir(exist_ok=True)


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return found


# Words


def _stands_still(error: BaseException) -> bool:
    return isinstance(error, virtualtime.VirtualTimeError | TimeoutError | Crash)


def _storage_failed(probe: Probe) -> bool:
    return any(entry["event"] == "checkpoint_failed" for entry in probe.log)


def _why_stuck(error: BaseException) -> str:
    if isinstance(error, virtualtime.Deadlock | virtualtime.Livelock | TimeoutError):
        return _first_line(error)
    if isinstance(error, Crash):
        return f"the run does not end: {error}"
    if isinstance(error, GeneratorError):
        return f"a generator's failure came out of the run: {_first_line(error)}"
    return f"the engine died of {type(error).__name__}: {_first_line(error)}"


def _innermost(error: BaseException | None) -> BaseException | None:
    """What went wrong in a group of tasks, and not the group's word for it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _tail(error: BaseException) -> list[str]:
    """Where an exception came from: its last frames and itself, or the tasks that wait."""
    if isinstance(error, virtualtime.Deadlock | virtualtime.Livelock):
        return [line.strip() for line in str(error).splitlines()[1:]]
    lines = "".join(traceback.format_exception(error)).splitlines()
    return lines[-_TRACEBACK_LINES:]
