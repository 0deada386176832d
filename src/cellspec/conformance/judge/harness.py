"""The harness: runs a workload on a backend through all its incarnations, and judges the run.

It stands with the judges because it needs both halves: `cellspec.conformance.run` runs an
incarnation and records it, and this module judges the record before the next incarnation starts.
It judges three things, in this order:

1. **Events.** The probe saw those of the calls, the backend reported the others. Each is held
   against the transition system. The first step that is not allowed is the finding.
2. **The end of the incarnation.** An engine that waits without a call in flight, that runs on for
   ever, or that dies of an exception has stood still (clause SCHED-12).
3. **The table.** It is read back from the folder and held against the provenance of its values.

The first finding ends the run: one cause, one finding. Further faults of a broken engine are
consequences.

A backend whose `run` is a coroutine function runs on a loop in virtual time: a crash stops that
loop at an instant, and a hang is an error at once. Any other backend runs in a thread of its own,
in real time, with all latencies shortened. In real time the suite cannot say that an engine
started something *too late*, so clauses SCHED-09, SCHED-15 and GROUP-06 are judged there only with
a slack: the seconds that work may wait without a fault.

A backend that has the capability to resume, but leaves its storage unreported, is judged by its
tables and by what calls show without a claim from the first crash on, because its storage may have
given back any claim.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

from cellspec.check.checker import Checker, Finding, expect_clauses
from cellspec.check.explain import describe
from cellspec.clauses import clauses
from cellspec.conformance.judge.landed import judge_landed
from cellspec.conformance.judge.run_end import (
    Refusal,
    bad_end,
    due_refusal,
    first_line,
    refused_answer_used,
    tail,
    without_last_cancels,
)
from cellspec.conformance.judge.run_result import Interrupted, RunResult, Torn
from cellspec.conformance.judge.silent_calls import judge_silent_calls
from cellspec.conformance.judge.silent_resume import SilentResume
from cellspec.conformance.judge.storage_record import StorageRecord
from cellspec.conformance.judge.table_judge import TableJudge
from cellspec.conformance.judge.visits import (
    CLAUSE_OF,
    Host,
    judge_visit,
    kept_cells,
    visiting_workload,
)
from cellspec.conformance.run.backend import (
    CAPABILITIES,
    Backend,
    bypass_bound_of,
    check_capabilities,
    claim_version_of,
    idle_s_of,
    killer_tries_of,
    saving_of,
    table_of,
)
from cellspec.conformance.run.clock_mode import ClockMode, RealClock, StoodStill, VirtualClock
from cellspec.conformance.run.incarnations import Incarnations, scratch_folder
from cellspec.conformance.run.probe import AdapterError, Endless, Entry, Probe, Refused
from cellspec.conformance.run.users_exit import pass_on, pass_on_quit
from cellspec.conformance.run.values import Registry, Table
from cellspec.conformance.run.watchdog import RunsOn
from cellspec.conformance.run.workload import Visit, Workload
from cellspec.errors import SpecError, TraceError
from cellspec.machine.actions import Choose
from cellspec.state.claims import Rows
from cellspec.text import cell_words, counted
from cellspec.trace import Event, TraceWriter, header_for, to_json
from cellspec.virtualtime import Livelock

__all__ = ["Finding", "RunResult", "run_workload"]

REAL_SCALE = 1 / 64
"""Seconds of real time for one second of the workload, by default."""

STALL_S = 20.0
"""Real seconds without a call's start or end after which a run in real time stands still."""

CIRCLES_S = 5.0
"""The seconds that a run in virtual time counts as that turns in circles, and is given up."""

_EXPLANATION_EVENTS = 12

_BY_CELL = frozenset(("set_claims", "commits"))
_BY_COLUMN = _BY_CELL | {"column_checkpoints"}


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
    slack_s: float = 0.0,
) -> RunResult:
    """Run a workload on a backend, and judge the run.

    Args:
        backend: the engine.
        work: the workload.
        waive: clauses not to judge.
        keep_folder: where to leave the folders of all incarnations; by default they are removed.
        trace: where to write the run's trace; by default it is not written.
        real_time: run a coroutine function on an ordinary loop as well.
        scale: in real time, seconds for one second of the workload.
        stall_s: in real time, seconds without any call after which the run stands still. In
            virtual time, where no clock decides, the usual bounds of what a run may do are for
            `STALL_S`, and of less that part.
        choose: in virtual time, which of the calls in flight ends next, by column and position; by
            default each takes as long as the workload says.
        slack_s: in real time, how long in seconds work may wait that could start (clauses
            SCHED-09, SCHED-15 and GROUP-06); 0 leaves these clauses out there.

    Raises:
        SpecError: a backend whose attributes cannot be used, or an unknown clause to waive.
        Interrupted: the user ended it by Ctrl-C, told that the engine hangs; it is judged.
    """
    check_capabilities(backend)
    virtual = inspect.iscoroutinefunction(backend.run) and not real_time
    waived = expect_clauses(waive)
    root = keep_folder or Path(tempfile.mkdtemp(prefix="cellspec-", dir=scratch_folder()))
    root.mkdir(parents=True, exist_ok=True)
    part = min(1.0, stall_s / STALL_S)
    clock_mode: ClockMode = (
        VirtualClock(work, choose, part=part) if virtual else RealClock(scale, stall_s)
    )
    try:
        run = _JudgedRun(
            backend,
            work,
            frozenset(waived),
            root,
            clock_mode,
            keeps=keep_folder is not None,
            slack_s=slack_s,
        )
        run.through_all_incarnations()
        pass_on_quit()
    finally:
        if keep_folder is None:
            shutil.rmtree(root, ignore_errors=True)
    if trace is not None:
        _write_trace(trace, run)
    if run.result.runs_on:
        raise Interrupted(run.result) if run.result.violations else KeyboardInterrupt
    return run.result


def _note_hang(result: RunResult, error: BaseException | None, clock_mode: ClockMode) -> None:
    """Note how the last incarnation hung, if it did, and what it needed if not."""
    result.runs_on = isinstance(error, RunsOn)
    if isinstance(error, StoodStill):
        result.stood_still_s = error.waited_s
    if isinstance(clock_mode, VirtualClock):
        result.part_used = clock_mode.part_used
        if isinstance(error, Livelock | Endless):
            result.stood_still_s = CIRCLES_S * clock_mode.part


def _write_trace(path: Path, run: _JudgedRun) -> None:
    with TraceWriter(path, run.header) as writer:
        for event in (*run.events, *run.rest):
            writer.write(event)


def _cells_started(probe: Probe) -> set[tuple[str, int]]:
    """The cells whose calls an incarnation started; those of barriers are none."""
    found: set[tuple[str, int]] = set()
    for entry in probe.log:
        if entry["event"] == "start" and "rows" in entry:
            rows = entry["rows"]
            start, stop = (rows, rows + 1) if isinstance(rows, int) else rows
            found.update((entry["column"], row) for row in range(start, stop))
    return found


def _is_held_up(work: Workload, probe: Probe) -> bool:
    """True if a node timed out more often than the workload says: in real time, on a busy machine.

    Its row may be dropped then, which a run on an idle machine does not do.
    """
    late: Counter[tuple[str, int]] = Counter()
    for entry in probe.log:
        if entry["event"] != "fail" or entry["failure"] != "timeout":
            continue
        column: str = entry["column"]
        rows: int | tuple[int, int] = entry["scope"] if "scope" in entry else entry["rows"]
        places = range(*rows) if isinstance(rows, tuple) else (rows,)
        late[column, places[0]] += 1
        calls = range(1, work.failures.max_attempts + len(work.faults) + 1)
        failures = ([work.failure_of(column, place, call) for call in calls] for place in places)
        if late[column, places[0]] > max(each.count("timeout") for each in failures):
            return True
    return False


# One run


class _JudgedRun:
    """A run through all its incarnations, up to the first finding."""

    def __init__(
        self,
        backend: Backend,
        work: Workload,
        waived: frozenset[str],
        root: Path,
        clock_mode: ClockMode,
        *,
        keeps: bool,
        slack_s: float = 0.0,
    ) -> None:
        self.backend = backend
        self.clock_mode = clock_mode
        self.slack_s = slack_s
        self.work = work
        self.waived = waived
        capabilities = frozenset(backend.capabilities)
        bound_s = work.timeout_s
        failures = work.failures
        if bound_s is not None:
            # Events have the times of the run's clock.
            failures = replace(failures, timeout_s=bound_s * clock_mode.scale)
        self.header = header_for(
            work.graph(),
            engine=backend.name,
            version=backend.version,
            limits=work.limits,
            failures=failures,
            seed=work.seed,
            clock=clock_mode.clock,
            claims=[name for name in CAPABILITIES if name in capabilities],
            config=work.graph().config or None,
            saving=saving_of(backend, work),
            idle_s=idle_s_of(backend),
            bypass=bypass_bound_of(backend),
            killer_tries=killer_tries_of(backend),
            claim_version=claim_version_of(backend, work),
        )
        self.result = RunResult(work, to_json(self.header))
        self.events: list[Event] = []
        self.rest: list[Event] = []
        self.incarnations = Incarnations(
            backend, work, root, clock_mode, self.result.calls, keeps=keeps
        )
        self.result.cost = self.incarnations.cost
        self.result.blocking = self.incarnations.blocking
        self.by_column = not _BY_COLUMN.isdisjoint(capabilities)
        self.tables = TableJudge(
            work,
            self.result.calls,
            by_column=self.by_column,
            resumes="resume" in capabilities,
            gives_up="killer_cells" in capabilities,
            waive=waived,
        )
        self.claims_cells = not _BY_CELL.isdisjoint(capabilities)
        self.checker: Checker | None = None
        self.storage_reported = False
        self.storage = StorageRecord()
        self.cut_write = False
        self.now_s = 0.0
        self.settled = 0
        self.probe: Probe | None = None
        self.kills: Counter[tuple[str, int]] = Counter()

    def through_all_incarnations(self) -> None:
        """Run one incarnation after another, and leave the findings in `result`."""
        for number in count():
            if number >= self.work.incarnations and not self._was_killed(number):
                return
            if number and not self._goes_on(number):
                return
            if number and self._visited(number):
                return
            ended = self.incarnations.run_next(number, self.now_s)
            self.probe = ended.probe
            _note_hang(self.result, ended.error, self.clock_mode)
            self._judge_incarnation(ended.probe, ended.error)
            if self.checker is not None:
                self.result.due_saves = self.checker.machine.state.due_saves
            self._judge_kill(ended.probe)
            if self.result.violations or self.result.refused or self.result.adapter:
                return
            self._judge_table(ended.probe, ended.left)
            if self.result.violations or self.result.adapter:
                return

    def _was_killed(self, number: int) -> bool:
        """True if a killer ended the last process, and another may follow."""
        tries = self.header.killer_tries or 1
        most = self.work.incarnations + len(self.work.killers) * (tries + 1)
        return self.probe is not None and self.probe.disturbing.killer is not None and number < most

    def _judge_kill(self, probe: Probe) -> None:
        """Count how often a cell has ended the process (clause DROP-06)."""
        killer = probe.disturbing.killer
        if killer is None:
            return
        self.kills[killer] += 1
        kills, tries = self.kills[killer], self.header.killer_tries
        if tries is not None and kills > tries and not self.result.violations:
            self._find(
                "DROP-06",
                f"{cell_words(*killer)} has ended the process {counted(kills, 'time')}; the "
                f"engine promises to try it {counted(tries, 'time')} at most",
            )

    def _goes_on(self, number: int) -> bool:
        """True if this incarnation can be judged.

        After an incarnation that ended by itself, another makes sense only if it was interrupted,
        or with another number of rows. After one in which the engine died, and that is waived, the
        state is unknown.
        """
        outcome = self.result.outcomes[-1]
        others = self.work.rows_of(number) != self.work.rows_of(number - 1)
        interrupted = outcome == "interrupted" and "resume" in self.backend.capabilities
        return outcome == "crash" or interrupted or (outcome != "" and others)

    def _visited(self, number: int) -> bool:
        """Let somebody else's process begin in the folder; true if that broke a clause."""
        visits = self.work.visits
        kind: Visit = visits[number - 1] if number <= len(visits) else ""
        if not kind or CLAUSE_OF[kind] in self.waived or self.probe is None:
            return False
        table = kept_cells(self.result.tables[-1], self._known_claim(self.probe))
        visiting = visiting_workload(self.work, kind, table, number)
        if visiting is None:
            return False
        visitor, words = visiting
        registry = Registry()
        ended = self.incarnations.visit(number, visitor, registry, self.now_s)
        self.result.visits.append(kind)
        host = Host(self.backend, self.probe, table, by_column=self.by_column)
        bad = judge_visit(host, visitor, ended, registry, kind, words)
        if bad is not None:
            self._find(bad.clause, bad.detail)
        return bad is not None

    # The end of an incarnation

    def _judge_incarnation(self, probe: Probe, error: BaseException | None) -> None:
        due = due_refusal(
            self.work,
            probe,
            self.settled,
            self.result.tables[-1] if self.result.tables else None,
            self.storage.possible(probe.graph.column_names) if self.storage_reported else None,
        )
        refuses = isinstance(error, Refused) or (isinstance(error, SpecError) and due is not None)
        if refuses and not probe.misuse:
            self._judge_refusal(error, due)
            return
        if due and due.clause == "GROUP-04" and "GROUP-04" not in self.waived:
            self._find("GROUP-04", f"{due.reason}, and the engine ran it")
            return
        crashed = probe.ended_by == "crash"
        if crashed:
            probe.log.append({"t": probe.ended_at_s, "event": "crash"})
        ends = [entry for entry in probe.log if entry["event"] == "end"]
        self.result.outcomes.append("crash" if crashed else ends[0]["outcome"] if ends else "")
        kind, where = probe.disturbing.torn_at
        if crashed and kind:
            self.result.torn.append(Torn(probe.incarnation, kind, where))
        self.storage_reported = self.storage_reported or probe.storage_reported
        # A process that died before it reported its resume may have died before it could refuse.
        resumed = any(entry["event"] == "resume" for entry in probe.log)
        if resumed or not self.storage_reported:
            self.settled = probe.incarnation
        if self.result.calls.refused:
            used = refused_answer_used(self.result.calls, self._read(probe))
            if used:
                self._find("FAIL-09", used)
                if self.result.violations:
                    return
        if self.result.calls.odd_recalls:
            self._find("CKPT-25", self.result.calls.odd_recalls[0])
            if self.result.violations:
                return
        if error is not None and not crashed and not ends:
            probe.log[:] = without_last_cancels(probe.log)
        self._judge_events(probe)
        if not self.result.violations and not crashed:
            bad = bad_end(
                probe,
                error,
                self.result.outcomes[-1],
                ends,
                by_table_alone=bool(self.result.by_table_alone),
            )
            if bad is not None:
                self.result.adapter = bad.adapter
                lost = self._after_torn(probe) and not bad.adapter
                clause = "CKPT-28" if lost else bad.clause
                self._find(clause, bad.detail, *bad.more)

    def _after_torn(self, probe: Probe) -> bool:
        """True of a process that follows a crash in an operation on a file, and called nothing."""
        torn = any(crash.incarnation == probe.incarnation - 1 for crash in self.result.torn)
        return torn and not probe.calls

    def _judge_refusal(self, error: BaseException | None, due: Refusal | None) -> None:
        self.result.outcomes.append("refused")
        if due is None:
            self._find("SCHED-12", f"the engine refuses a workload that can be run: {error}")
        else:
            self.result.refused = str(error) or due.reason
            self.result.refusal_is_due = due.sure

    # Events

    def _judge_events(self, probe: Probe) -> None:
        incarnation = probe.incarnation
        if self.result.by_table_alone or (incarnation and not self._resume_is_known(probe)):
            self.result.by_table_alone += 1
            self._judge_silent_calls(probe)
            return
        if self.checker is None:
            # Limits that admit no barrier are refused by now; a checker cannot take them.
            self.checker = Checker(
                self.header,
                waive=self.waived,
                source=self.backend.name,
                slack_s=self.slack_s,
            )
        entries = self._with_inferred(probe)
        columns = probe.graph.column_names
        for entry in entries:
            event = self._event(entry, incarnation, len(self.events) + 1)
            self.events.append(event)
            self.result.events.append(to_json(event))
            self.now_s = max(self.now_s, event.t)
            self.storage.note(event, columns)
            try:
                own = self._started_against_condition(event)
                found = self.checker.refuse("SKIP-04", own, event) if own else None
                found = found or self.checker.feed(event)
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
            if event.event == "resume" and self.claims_cells:
                self._judge_landed(event)

    def _judge_silent_calls(self, probe: Probe) -> None:
        """Judge the calls of a process that resumed, and whose claim nobody knows."""
        number = probe.incarnation
        if not number or not self.result.tables:
            return
        found = judge_silent_calls(
            self.header,
            self.work.graph(number),
            [self._event(entry, number, seq) for seq, entry in enumerate(probe.log, 3)],
            self.result.tables[-1],
            waive=self.waived,
            slack_s=self.slack_s,
        )
        if found is not None:
            # These events are not among those of the run, whose numbers people would look up.
            where = f"in run {number + 1} of the process"
            lines = (line.replace(f" (line {found.line})", "") for line in found.explanation)
            explanation = (*lines, f"{where}, which reported no claim")
            detail = f"{found.detail}, {where}"
            self.result.violations.append(Finding(found.clause, detail, explanation=explanation))

    def _started_against_condition(self, event: Event) -> str:
        """A cell that starts although its column's own condition says to skip it, in words."""
        column, rows = event.column, event.rows
        if event.event != "start" or column is None or rows is None or not self.work.skips:
            return ""
        span = range(rows, rows + 1) if isinstance(rows, int) else range(*rows)
        row = next((row for row in span if self.work.wants_skip(column, row)), None)
        if row is None or "SKIP-04" in self.waived:
            return ""
        return f"{column}[{row}] starts, and the condition of {column!r} says to skip it"

    def _judge_landed(self, event: Event) -> None:
        """Hold the claim of a resume against the table that the process before it left."""
        storage = self.storage
        for broken in judge_landed(
            self.result.tables[-1],
            storage.claim or {},
            [*storage.in_doubt, *([storage.committed] if storage.committed else [])],
            storage.reported,
            {row for start, stop in event.dropped or () for row in range(start, stop)},
        ):
            if broken.clause not in self.waived:
                self._find(broken.clause, broken.detail)
                return

    def _resume_is_known(self, probe: Probe) -> bool:
        """True if the claim of a resume can be judged: it is empty, or it is known."""
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
        """The events of an incarnation, with the state of storage before its end.

        If the backend reports no storage, that state is inferred from the table, so that the end
        can be judged.
        """
        for entry in probe.log:
            if (
                entry["event"] == "end"
                and entry["outcome"] == "success"
                and not probe.storage_reported
            ):
                table = self._read(probe)
                if table is None:
                    # The table judge reports why.
                    return
                if all(row in table.rows or row in table.dropped for row in range(probe.rows)):
                    yield {
                        "t": entry["t"],
                        "event": "durable",
                        "rows": (0, probe.rows) if probe.rows > 1 else 0,
                        "inferred": True,
                    }
            yield entry

    # The table

    def _read(self, probe: Probe) -> Table | None:
        try:
            return table_of(self.backend, probe)
        except Exception as error:
            pass_on(error)
            return None

    def _judge_table(self, probe: Probe, left: Path) -> None:
        probe.folder = left
        try:
            table = table_of(self.backend, probe)
        except Exception as error:
            pass_on(error)
            self.result.tables.append(Table({}))
            misfit = isinstance(error, AdapterError)
            text = str(error) if misfit else f"{type(error).__name__}: {first_line(error)}"
            if "crash" in self.result.outcomes and not misfit:
                text = f"what the crash left cannot be read: {text}"
            else:
                self.result.adapter = text = f"table: {text}"
            more = () if misfit else tail(error)
            self._find("CKPT-28" if self.result.torn else "TABLE-01", text, *more)
            return
        self.result.tables.append(table)
        silent = self._is_silent(probe)
        if silent:
            self.result.silent.append(self._silent_resume(probe))
        within = probe.in_storage_step or any(probe.disturbing.torn_at)
        self.cut_write = within and self.result.outcomes[-1] == "crash"
        self.tables.held_up |= self.header.clock == "real" and _is_held_up(self.work, probe)
        broken = self.tables.judge(
            probe.incarnation,
            table,
            self.result.outcomes[-1],
            self._known_claim(probe),
            self._dropped_by_run(),
            causes={} if self.checker is None else self.checker.machine.state.causes,
            started=_cells_started(probe),
            silent=silent,
            stopped=self._stopped_early(),
        )
        if broken is not None:
            self._find(broken.clause, broken.detail)

    def _is_silent(self, probe: Probe) -> bool:
        """True if an incarnation went on from what another left, and did not say from what."""
        kinds = {entry["event"] for entry in probe.log}
        went_on = self.result.outcomes[-1] != "crash" or "start" in kinds
        return probe.incarnation > 0 and went_on and "resume" not in kinds

    def _silent_resume(self, probe: Probe) -> SilentResume:
        number = probe.incarnation
        runs = [run for known in self.result.calls.runs.values() for run in known]
        return SilentResume(
            incarnation=number,
            before=self.result.tables[-2],
            columns=tuple(probe.graph.column_names),
            rows_before=self.work.rows_of(number - 1),
            rows=probe.rows,
            crashes=self.result.outcomes[:-1].count("crash"),
            outcome=self.result.outcomes[-1],
            interrupted=self.result.outcomes[-2] == "interrupted",
            kills=self.kills[killer] if (killer := probe.disturbing.killer) else 0,
            cut_write=self.cut_write,
            log=tuple(probe.log),
            barriers=tuple(
                frozenset(row for row, _ in run.reads) for run in runs if run.incarnation == number
            ),
        )

    def _known_claim(self, probe: Probe) -> Mapping[str, Rows] | None:
        """By column, the rows that the last durable claim holds; None if claims are unknown."""
        claim = self.storage.claim
        if claim is None and self.storage_reported:
            return dict.fromkeys(probe.graph.column_names, 0)
        return claim

    def _stopped_early(self) -> bool:
        """True if the last incarnation stopped early, or its events say that it had to."""
        if self.checker is None or self.result.by_table_alone:
            return self.result.outcomes[-1] == "stopped"
        state = self.checker.machine.state
        return state.stopped or state.must_stop

    def _dropped_by_run(self) -> Container[int] | None:
        """The rows that the run dropped, by its events; None if some events were not judged."""
        if self.checker is None or self.result.by_table_alone:
            return None
        return frozenset(self.checker.machine.counters.dropped)

    # Findings

    def _find(self, clause: str, detail: str, *more: str) -> None:
        if clause in self.waived:
            return
        lines = [f"{clause}: {clauses()[clause].text}", f"found: {detail}", *more]
        for crash in self.result.torn:
            lines.append(f"run {crash.incarnation + 1} of the process died {crash.where}")
        if self.events:
            last = self.events[-_EXPLANATION_EVENTS:]
            lines += ["the last events:", *(f"  {event.seq}: {describe(event)}" for event in last)]
        self.result.violations.append(Finding(clause, detail, explanation=tuple(lines)))
