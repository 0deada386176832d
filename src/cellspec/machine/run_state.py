"""The state of one run, which the parts of the machine share.

`RunState` holds the set-up of a run (graph, limits, failure policy, waived clauses), the counters
of its nodes, and all that the transition system remembers beside them. It is data: the modules of
`cellspec.machine` named after the parts of a run (cells, barriers, failures, saving, row groups,
…) read it and change it, and `cellspec.machine.machine.Machine` shows it to drivers.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cellspec.errors import Violation
from cellspec.graph.configuration import Config
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key, place_of
from cellspec.graph.rowset import GrowingRows, Ranges
from cellspec.machine.actions import Cause
from cellspec.machine.killers import Killers
from cellspec.machine.limits import ClaimKind, FailurePolicy, Limits, SavePolicy, check_limits
from cellspec.machine.open_saves import OpenSaves
from cellspec.state.claims import Claim, Rows, normal, prefix_of
from cellspec.state.counters import UNLIMITED, Counters, Judge
from cellspec.state.places import SharedPlaces
from cellspec.text import cell_words, node_words

__all__ = ["FAILED", "Commit", "News", "RunState", "RunningRange", "is_over"]

_ROUNDING = 1e-9
"""The share of a time by which sums of declared waits may differ."""

FAILED = -1
"""In place of a count of spent attempts: the node failed for good."""


def is_over(t: float, since_s: float, allowed_s: float) -> bool:
    """True if at time `t` more than the allowed seconds have passed since another time."""
    return t - since_s > allowed_s + _ROUNDING * max(1.0, t)


@dataclass(slots=True)
class RunningRange:
    """A range in flight: rows ``[start, stop)``, and how many of them it has not given yet."""

    start: int
    stop: int
    left: int
    given: set[int] = field(default_factory=set)


@dataclass(slots=True)
class News:
    """A drop that the engine has not recorded.

    Attributes:
        since_s: when the row was dropped, in seconds.
        made: columns whose cells of the row were made since, for an engine that does not know.
    """

    since_s: float
    made: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Commit:
    """Data and its claim in one write, or a claim alone: the cells, and the drops before it.

    Attributes:
        cells: by column, the rows; those of a commit are new.
        drops: how many drops were recorded when it was begun.
    """

    cells: Claim
    drops: int


class OpenWrite(NamedTuple):
    """Rows ``[start, stop)`` of some columns, on their way to storage.

    Attributes:
        columns, start, stop: which rows.
        again: by column, those not reported yet of rows that all were on storage before; empty if
            some were not.
    """

    columns: Sequence[int]
    start: int
    stop: int
    again: dict[int, Rows]


class Turns(Protocol):
    """The order in which nodes became ready; see `cellspec.machine.overtaking`."""

    def begin(self) -> None:
        """Forget everything: an incarnation begins."""

    def expect_turn(self, *keys: NodeKey) -> None:
        """Refuse a start of ready nodes that overtakes another node once too often."""

    def is_in_turn(self, key: NodeKey) -> bool:
        """True if the start of a node overtakes no other once too often, or is none anyway."""

    def started(self, key: NodeKey) -> None:
        """A node has started."""

    def next_step(self) -> None:
        """What becomes ready from now on is ready later than what already is."""


class RunState:
    """The state of one run.

    Args:
        graph: the graph of the run.
        limits: on the work in flight.
        failures: the failure policy; None for the default one, under which `enabled` leaves
            failures out.
        drops: the engine can drop rows and go on without them (clause SCHED-14).
        waive: clauses that are not judged.
        config: by column, a digest of what shapes its values; None if it is not compared.
        real_time: time just passes, so nobody can say that a step came too late.
        saving: when the engine promises to save; None if it promises nothing.
        idle_s: how long ready work may wait while nothing is in flight, in seconds (SCHED-15).
        slack_s: how much longer than allowed any work may wait, in seconds: in real time a step
            is never taken at once.
        claims: what the run's claims hold; None if they have to show it.
        hears_late: the engine is watched from outside: of the end of a call it may hear later than
            whoever watches, yet before time moves on.

    Raises:
        SpecError: limits under which a barrier would wait for ever (clause GROUP-04).

    Attributes:
        counters: the state of each node.
        incarnation: 0, and one more at each resume.
        now: the time of the last event, in seconds.
        crashed, ended: the process is gone; the run has reported its end.
        attempts: by node, the attempts that it has spent in this incarnation, or `FAILED`.
        backoffs: by node in backoff, the time at which it may start again; None if left open.
        due: the times of `backoffs` that are known, as a heap.
        ranges: by column, the ranges in flight, by their first row.
        bound_s: seconds that a call may be in flight, or None.
        began_at: by node whose call began within the bound, when; a range under its first row.
        begun: the same in the order of starts.
        taken_back: by node, how often its call was taken back since one ended in another way.
        strays: by node, calls that it cannot take (of waived clauses); see
            `cellspec.machine.explain_refusal`.
        presumed: barrier nodes (column, scope) that count as complete because their output was
            given, which is waived.
        unrecorded: rows that are dropped and not yet recorded, each with the column that failed.
        news: the drops of such rows, if the engine hears late.
        also_failed: of such a row, the columns of which a node failed for good after that one.
        causes: rows that are dropped for another cause than a node that failed for good.
        recorded: the recorded drops, in the order in which they came.
        on_storage: the rows of each column that are safe on storage.
        durable: for each column, how many first rows are.
        durable_claim: the last claim that became durable, with the commits since then.
        pending_claim: the claim being written, or None.
        config: by column, the digest of what shapes its values in this process; a column that is
            left out is not compared.
        made_under: by column, the rows of the last claim that was resumed from, by the
            configuration of the process that made them; None if it did not say.
        kept_config: column, earlier and later digest where the later process was told to keep.
        claim_version: the kind of the claims that the run is to make, or made: 1 of whole rows, 2
            by column, 3 of any rows; 0 for none.
        claims_by_column: one of them is, or was, not of whole rows.
        must_claim: the run is to make claims, also if none was seen.
        makes_claims: some incarnation has begun a claim, or a commit, or is to.
        durable_drops, pending_drops: how many recorded drops storage holds with these claims.
        failed_claims: claims whose write reported an error after the last durable one.
        commits: the commits that are open, by number; None for one without.
        failed_commits: those of this incarnation that reported an error.
        committed: the cells that are claimed, if commits added some; None else.
        unsaved: the last claim, or commit, could not be written.
        lost_rows: rows could not be written, and were not since.
        lost_writes: the writes of these rows, as far as they were announced.
        lost_cells: the cells that failed writes of rows held in this incarnation, or could have
            held; None if none failed.
        lost_claims: the same of claims and commits.
        excused: the cells that failed writes held, or could have; None if none failed, or storage
            has worked since.
        excused_at: the time of the last of these failures, in seconds.
        has_stored: the engine reported rows on storage at some time.
        resumes: the engine goes on after a crash, so that what a run leaves on storage counts.
        saving: when the engine promises to save, if that is judged.
        judges_delays: a call, a save or the end of a row group may come too late.
        saved_rows: the rows, or row groups, that the last save holds, or that could be claimed when
            it failed; the next one counts from here.
        held_rows, held_before: the rows, or row groups, that are claimed, or held by an open claim
            or commit; and how many were when `saved_rows` was counted.
        held: their cells, if there are commits; None until it is asked for.
        on_the_way: the rows whose data is being written.
        waits: times since which rows could be claimed that no save holds, with the rows that could
            be claimed then; for a policy of seconds.
        saves: the saves that are open, and since when.
        tried_rows: the rows that could be claimed when a save failed, behind a gap too; a claim of
            any rows may have held them. 0 where parts are counted.
        due_saves: how many saves were begun when they were due, with rows left to finish.
        writes: the writes of rows that are open.
        paused_until: the end of the last pause, in seconds.
        unanswered: how many calls and writes failed, beyond the pauses that answered one each.
        overtaking: which ready nodes started out of turn, if the engine promises a bound.
        waits_s: some work may wait: a wait is measured over several moments.
        waiting_since: where waits are measured, by group of ready work, and last for row groups,
            the moment since which one could have started; None if none could.
        idle_since: where waits are measured, the moment since which nothing is in flight and
            work waits; None if something is, or none does.
        admitted: the row groups that are admitted.
        open_cells: by admitted group, a cell (column, row) before which all of it is resolved.
        in_line: the first rows of finished groups that wait for storage, busy since.
        finished_since: where waits are measured, by finished group that could have retired, since
            when.
        was_admitted: those that were admitted in this incarnation, retired ones among them.
        admissions: the names under which groups were admitted.
        in_order: a column is ORDERED, so that whole rows are claimed from row 0 on.
        groups_depend: rows of one row group may wait for rows of another.
        waiting_groups: row groups with something left to do that were not admitted.
        ends: of the last calls in the window of the early stop, which ones failed permanently.
        failed_ends: how many of these did.
        must_stop: so many of the last calls failed that starts are refused.
        must_stop_at: the time at which it was so, in seconds.
        stopped: the engine has stopped early.
        stop_requested: somebody asked the run to stop, in this incarnation.
        failed_for_good: a node of this incarnation failed for good.
        gave_up: after a lost write a call whose value is wanted was cancelled, or ready work
            waited: the clause that a further start breaks, and why, in words.
        once_durable: for each column the rows that earlier incarnations made durable.
        unheard_s: how long, in seconds, the engine may not have heard, or told, of what happened
            before its process died; in real time without a slack nobody can say.
        stored_at: the time of the last report that something is durable, in seconds.
        cut_off: the last process died at such a moment, so that more may be durable than it said.
        reads: which rows each barrier node read that started in this incarnation; kept only with
            `once_read`.
        once_read: by barrier node, the rows that its calls in earlier incarnations read, of those
            whose output was durable; None if the engine has no cache.
        since_loss: what was made since the last worker of this incarnation was lost: rows of a
            column, of a barrier column its scopes; None if none was lost.
        killers: which nodes processes died of, if the engine promises a number of tries.
        gone: nodes whose results went with a worker; those that are resolved again among them.
        uncounted: those of them whose attempts may have been forgotten.
        offers_losses: `enabled` offers the loss of a worker, and of results.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        limits: Limits,
        failures: FailurePolicy | None,
        *,
        drops: bool,
        waive: Collection[str],
        config: Config | None,
        real_time: bool,
        saving: SavePolicy | None,
        idle_s: float,
        slack_s: float,
        claims: ClaimKind | None,
        hears_late: bool,
    ) -> None:
        # What is declared here without a value gets one as an incarnation begins, also the first.
        self.config: Config = config or {}
        self.made_under: dict[str, list[tuple[str | None, Rows]]] = {}
        self.kept_config: set[tuple[str, str, str]] = set()
        self.limits = limits
        self.failures = failures or FailurePolicy()
        self.offers_failures = failures is not None
        self.stop_failures = self.failures.stop_failures
        self.drops_rows = drops
        self.real_time = real_time
        self.bound_s = self.failures.timeout_s
        self.hears_late = hears_late
        self.claim_version = 0 if claims is None else claims.version
        self.claims_by_column = claims is not None and claims.by_column
        self.must_claim = self.makes_claims = claims is not None
        self.waived = frozenset(waive)
        self.judges_idleness = not {"SCHED-09", "GROUP-06"} <= self.waived
        self.overtaking: Turns | None = None
        self.killers: Killers | None = None
        self.judges_progress = "SCHED-15" not in self.waived
        self.idle_s, self.slack_s = idle_s, slack_s
        self.unheard_s = slack_s or (math.inf if real_time else 0.0)
        self.waits_s = bool(idle_s or slack_s)
        # Groups of ready work: one a resource, one for each further combination of places, one
        # for columns that take none, and one for the output cells of barriers, which take no worker
        # either.
        self.output_group = len(limits.takes) + 1
        self.places = _places(limits) if limits.column_places else None
        self.capacity: Sequence[int] = self.places or [
            *limits.resources.values(),
            UNLIMITED,
            UNLIMITED,
        ]
        self.workers = UNLIMITED if limits.workers is None else limits.workers
        self.incarnation = 0
        self.now = 0.0
        self.crashed = self.ended = False
        zero = (0,) * graph.num_columns
        self.attempts: dict[NodeKey, int] = {}
        self.backoffs: dict[NodeKey, float | None] = {}
        self.due: list[tuple[float, NodeKey]] = []
        self.ranges: list[list[RunningRange]] = []
        self.began_at: dict[NodeKey, float] = {}
        self.begun: deque[tuple[float, NodeKey]] = deque()
        self.taken_back: dict[NodeKey, int] = {}
        self.strays: dict[NodeKey, int] = {}
        self.presumed: set[tuple[int, int]] = set()
        self.gone: set[NodeKey] = set()
        self.uncounted: set[NodeKey] = set()
        self.offers_losses = False
        self.reads: dict[NodeKey, Ranges] = {}
        self.once_read: dict[NodeKey, set[Ranges]] | None = None
        self.once_durable: list[Rows] = [0] * graph.num_columns
        self.stored_at = -math.inf
        self.cut_off = False
        self.unrecorded: dict[int, int] = {}
        self.news: dict[int, News] = {}
        self.also_failed: dict[int, set[int]] = {}
        self.causes: dict[int, Cause] = {}
        self.recorded = array("q")
        self.ends: deque[bool] = deque(maxlen=self.failures.stop_window)
        self.admitted: set[int] = set()
        self.open_cells: dict[int, tuple[int, int]] = {}
        self.in_line: set[int] = set()
        self.finished_since: dict[int, float] = {}
        self.was_admitted: set[int] = set()
        self.judges_retirement = limits.groups is not None and "GROUP-07" not in self.waived
        self.admissions: set[int] = set()
        self.waiting_groups: int
        self._durable_claim: Claim = zero
        self.pending_claim: Claim | None = None
        self.on_storage = GrowingRows(graph.num_records, graph.num_columns)
        self.durable = self.on_storage.firsts
        self.failed_claims: list[Commit] = []
        self.commits: dict[int | None, Commit] = {}
        self.failed_commits: list[Commit] = []
        self.committed: GrowingRows | None = None
        self.durable_drops: int
        self.pending_drops: int
        self.unsaved: bool
        self.lost_rows: bool
        self.lost_cells: Claim | None
        self.lost_claims: Claim | None
        self.excused: Claim | None
        self.excused_at = 0.0
        self.has_stored = False
        self.resumes = True
        self.saving = None if "CKPT-19" in self.waived else saving
        self.judges_delays = (
            self.bound_s is not None or self.saving is not None or self.judges_retirement
        )
        self.saved_rows: int
        self.held_rows: int
        self.held_before: int
        self.held: GrowingRows | None
        self.on_the_way: Rows
        self.waits: deque[tuple[float, int]] = deque()
        self.saves = OpenSaves()
        self.tried_rows: Rows
        self.due_saves = 0
        self.writes: list[OpenWrite] = []
        self.lost_writes: list[OpenWrite] = []
        self.paused_until: float
        self.unanswered = 0
        self.graph = graph
        self.counters: Counters
        self.judge: Judge

    def forget_calls(self) -> None:
        """Forget every call, failure and admission of the incarnation that ends."""
        for known in (
            self.attempts,
            self.backoffs,
            self.began_at,
            self.taken_back,
            self.strays,
            self.unrecorded,
            self.news,
            self.also_failed,
        ):
            known.clear()
        self.open_cells.clear()
        self.in_line.clear()
        self.finished_since.clear()
        for names in (self.presumed, self.admitted, self.was_admitted, self.admissions):
            names.clear()
        self.gone.clear()
        self.reads.clear()
        self.uncounted.clear()
        self.due.clear()
        self.begun.clear()
        self.forget_at = 0
        self.ends.clear()
        self.failed_ends = 0
        self.stop_requested = False
        self.since_loss: GrowingRows | None = None
        self.idle_since: float | None = None
        self.waiting_since: list[float | None] = [None] * (self.output_group + 2)
        self.must_stop = self.stopped = self.failed_for_good = False
        self.gave_up: tuple[str, str] | None = None
        self.must_stop_at = 0.0

    def set_graph(self, graph: ExecutionGraph) -> None:
        """Take a graph, with new counters for it.

        Raises:
            SpecError: limits under which a barrier of it would wait for ever (clause GROUP-04).
        """
        rules = graph.rules
        check_limits(self.limits, rules)
        self.graph = graph
        self.barrier_flags = [rule.is_barrier for rule in rules.columns]
        self.in_order = any(rule.ordered for rule in rules.columns)
        self.groups_depend = self.in_order or any(rule.scope_rows for rule in rules.columns)
        self.group_of = [self.limits.group_of(rule.name) for rule in rules.columns]
        self.counters = Counters(
            rules,
            groups=self.group_of,
            output_group=self.output_group,
            capacity=self.capacity,
            workers=self.workers,
            judge=self.judge,
            group_rows=self.limits.group_rows,
            part_rows=self._part_rows(),
        )

    def _part_rows(self) -> int | None:
        """Rows of the parts that count for a save that is due; None to count from row 0 on.

        A part is claimed by itself if claims hold any rows and none waits for its turn (CKPT-05).
        """
        if self.saving is None or self.claim_version != 3 or not self.must_claim or self.in_order:
            return None
        # Without row groups none is due.
        return self.limits.group_rows if self.saving.group else 1

    @property
    def durable_claim(self) -> Claim:
        """The last claim that became durable, with the commits since then: O(its ranges)."""
        if self.committed is not None:
            columns = range(self.graph.num_columns)
            return tuple(normal(self.committed.ranges(column)) for column in columns)
        return self._durable_claim

    @durable_claim.setter
    def durable_claim(self, claim: Claim) -> None:
        self._durable_claim, self.committed = claim, None

    def claimed_rows(self) -> Iterable[int]:
        """By column, how many rows are claimed without a gap from row 0."""
        known = self.committed
        return known.firsts if known is not None else map(prefix_of, self.durable_claim)

    @property
    def completed_rows(self) -> int:
        """Rows resolved without a gap from row 0. O(1): kept as rows finish."""
        return self.counters.rows

    @property
    def stores(self) -> bool:
        """True while a storage step runs: a claim, a commit or rows are being written."""
        return self.pending_claim is not None or bool(self.commits or self.writes)

    @property
    def is_over(self) -> bool:
        """True if the process is gone: it crashed, or the run ended."""
        return self.crashed or self.ended

    def breaks(self, clause: str, detail: str) -> None:
        """Refuse a step, unless its clause is waived: the step is then taken as it is.

        Raises:
            Violation: the clause and the detail.
        """
        if clause not in self.waived:
            raise Violation(clause, detail)

    def name_of(self, column: int) -> str:
        """The name of a column by position."""
        return self.graph.rules.columns[column].name

    def where(self, key: NodeKey) -> str:
        """A node, in words."""
        name = self.name_of(column_of(key))
        if is_barrier_key(key):
            return node_words(name, scope=place_of(key))
        return cell_words(name, place_of(key))

    def has_slot(self, group: int) -> bool:
        """True if a worker is free, and a slot of the group's resource."""
        counters = self.counters
        return counters.load < self.workers and counters.busy[group] < self.capacity[group]

    def may_be_news(self, since_s: float, *, at_s: float | None = None) -> bool:
        """True if the engine may not have heard yet of what happened at a time.

        It may not in the same moment, nor while it may let ready work wait.

        Args:
            since_s: when it happened, in seconds.
            at_s: the time now, if it is not that of the last event.
        """
        now = self.now if at_s is None else at_s
        return self.hears_late and not is_over(now, since_s, self.idle_s + self.slack_s)

    @property
    def is_paused(self) -> bool:
        """True if the engine said that it starts nothing before a later time."""
        return self.now < self.paused_until

    def begin_call(self, *keys: NodeKey) -> None:
        """A call of nodes starts, for those clauses that have to know of each."""
        if self.waits_s:
            self.note_start(self.group_of[column_of(keys[0])])
        if self.overtaking is not None:
            for key in keys:
                self.overtaking.started(key)
        if self.killers is not None:
            self.killers.started.update(keys)

    def note_start(self, group: int) -> None:
        """Work of a group starts: whatever waits beside it is waiting for its turn."""
        self.waiting_since[group] = self.idle_since = None

    def cell_group(self, column: int) -> int:
        """The group in which ready cells of a column are counted."""
        return self.output_group if self.barrier_flags[column] else self.group_of[column]

    def gives_up(self) -> bool:
        """True if a row is lost to an engine that cannot go on without rows.

        One that records the drop shows that it does go on.
        """
        return not self.drops_rows and any(row not in self.causes for row in self.unrecorded)

    def cause_of(self, row: int) -> Cause:
        """Why a dropped row is dropped."""
        return self.causes.get(row, "failed")

    def starts_no_more(self) -> bool:
        """True if the run stops, or may be giving up, with or without a record of it."""
        return self.is_stopping or (not self.drops_rows and self.failed_for_good)

    @property
    def is_stopping(self) -> bool:
        """True if no call may start any more: the run stops, was asked to, or has given up."""
        return self.must_stop or self.stopped or self.stop_requested or self.gave_up is not None


def _places(limits: Limits) -> SharedPlaces:
    """The places of resources, for limits under which a node may take several."""
    names, groups = list(limits.resources), set(map(limits.group_of, limits.column_resource))
    takes = [
        {names.index(name): n for name, n in each.items()} if group in groups else {}
        for group, each in enumerate(limits.takes)
    ]
    return SharedPlaces(list(limits.resources.values()), [*takes, {}, {}], UNLIMITED)
