"""A whole run by definition: the oracle of the transition system, written from the clauses.

`RunModel` keeps what happened, and answers every question from that anew: which cells have a value
or were skipped, which barrier nodes ran, what is in flight, which failures there were and how calls
ended, which rows are dropped and which of these drops are recorded, what is on storage. Whether a
barrier node is resolved, a cell is to be skipped, an attempt is the second, or the run must stop,
is worked out when somebody asks.

The methods named ``…_breaks`` give the numbers of *all* clauses that a step would break now; a step
that breaks none is allowed, and the method without the ending takes it. What is true of the whole
run goes before what is true of a node: a run that is over breaks SCHED-07 with every step, and one
that must stop breaks STOP-01 with every start of a call, one that was asked to stop STOP-05.

Nothing here is fast. What is imported from `cellspec` are the values that both sides talk in; a
test checks it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

from cellspec.graph.columns import ExecutionTraits
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from tests.oracles import Definition

__all__ = ["Held", "Range", "RunModel", "RunRules", "spans"]

Spans = tuple[tuple[int, int], ...]
Mark = tuple[float, int]
"""A moment: the time, and the rows, or groups, that could be claimed then."""
Held = Mapping[str, frozenset[int]]
"""A claim, or what a commit brings: by column the rows that it holds."""
VALUE, SKIP = "value", "skip"


@dataclass(frozen=True)
class RunRules:
    """Limits of a run, and what it does about failures; None is no limit."""

    workers: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    column_resource: Mapping[str, str] = field(default_factory=dict)
    group_rows: int | None = None
    groups: int | None = None
    max_attempts: int = 1
    stop_window: int | None = None
    stop_rate: float = 1.0
    timeout_s: float | None = None
    drops: bool = True
    conserves: bool = True
    save_rows: int | None = None
    save_groups: bool = False
    save_s: float | None = None
    bypass: int | None = None
    killer_tries: int | None = None
    claims_any: bool = False
    """The run is asked for claims of any cells."""


@dataclass
class Range:
    """A running range: its rows in order, and those that it has given."""

    column: str
    rows: range
    given: list[int] = field(default_factory=list)

    def left(self) -> list[int]:
        return [row for row in self.rows if row not in self.given]


def spans(rows: Iterable[int]) -> Spans:
    """Rows as ranges in order, none touching the next."""
    wanted = set(rows)
    starts = sorted(row for row in wanted if row - 1 not in wanted)
    stops = sorted(row + 1 for row in wanted if row + 1 not in wanted)
    return tuple(zip(starts, stops, strict=True))


class RunModel:
    """A run of `definition` under `rules`: what happened, and all that follows from it."""

    def __init__(self, definition: Definition, rules: RunRules) -> None:
        self.rules = rules
        self._define(definition)
        nothing = dict.fromkeys(self.names, frozenset[int]())
        self.durable_claim: Held = nothing
        self.pending_claim: Held | None = None
        self.durable_drops: set[int] = set()
        self.pending_drops: set[int] = set()
        self.begun: list[Held] = []
        self.has_stored = self.commits = False
        self.doubtful: list[tuple[Held, set[int]]] = []
        """Claims whose write reported an error since the last durable one, with their drops."""
        self.well: set[NodeId] = set()
        self.died_in = Counter[NodeId]()
        """By node the processes that died in flight of it before it ever ended well."""
        self.died_with = Counter[NodeId]()
        """The same since it last ended well, as far as the engine knows what was in flight."""
        self.just_ended: dict[NodeId, bool] = {}
        """What ended at this moment, and whether well: the process may not have noted it yet."""
        self.once_durable: set[CellNodeId] = set()
        self.stored_at: float | None = None
        self.cut_off = False
        self.read_by: dict[BarrierNodeId, Spans] = {}
        self.once_read: dict[BarrierNodeId, set[Spans]] = {}
        self.crashed = self.ended = False
        self.now = 0.0
        self.filtered: set[int] = set()
        self.unanswered: list[NodeId | str] = []
        """What failed, beyond the pauses that answered one each: nodes, writes, an old wait."""
        self._begin_life(nothing, {}, {})

    def _define(self, definition: Definition) -> None:
        self.definition = definition
        self.names = [item.name for item in definition.columns]
        self.rows = range(definition.num_records)
        # What a column is, and what a node waits for, does not change in a run: looked up often.
        self._column = {item.name: item for item in definition.columns}
        self._barrier_columns = {name for name in self.names if definition.is_barrier(name)}
        self._needs = {
            node: definition.dependencies(node) | definition.earlier(node)
            for node in definition.nodes()
        }
        self._scopes = {
            node: [CellNodeId(row, node.column) for row in definition.scope(node)]
            for node in self._needs
            if isinstance(node, BarrierNodeId)
        }
        self._inputs = {name: sorted(definition.inputs(name)) for name in self.names}
        self._barrier_of = {
            cell: definition.barrier_of(name, cell.row)
            for name in self.names
            if name in self._barrier_columns
            for cell in definition.cells(name)
        }

    def _begin_life(
        self,
        claim: Held,
        results: Mapping[CellNodeId, str],
        dropped: Mapping[int, str],
    ) -> None:
        self.claimed = claim
        self.open_commits: dict[int | None, Held] = {}
        self.odd_commits: list[Held] = []
        """Commits that reported an error in this process, and may have landed."""
        self.started: set[NodeId] = set()
        self.to_try_again: set[NodeId] = set()
        self.just_ended.clear()
        self.waiting: dict[NodeId, int] = {}
        self.overtaken = Counter[NodeId]()
        self.moves = 0
        self.results = dict(results)
        self.dropped = dict(dropped)
        self.filtered &= set(dropped)
        self.recorded = set(dropped)
        self.ran: set[BarrierNodeId] = set()
        self.running: set[NodeId] = set()
        self.ranges: list[Range] = []
        self.failed: list[tuple[NodeId, str]] = []
        self.also_failed: set[tuple[int, str]] = set()
        self.cooling: dict[NodeId, float | None] = {}
        self.began: dict[NodeId, float] = {}
        self.taken_back: dict[NodeId, int] = {}
        self.ends: list[bool] = []
        self.unwritten: set[str] = set()
        self.held_by_lost: dict[str, set[CellNodeId]] = {"rows": set(), "claim": set()}
        """What writes that failed held, or could have, in this process."""
        self.gave_up = ""
        self.excused: set[CellNodeId] = set()
        self.excused_at = 0.0
        self.claimed_since = False
        """A claim became durable after the last write of rows that failed."""
        self.saved_rows = self.held_before = self.saved_by(claim)
        self.tried: set[int] = set()
        """Rows that could be claimed when a write failed: what it held is not known."""
        self.waits: list[tuple[float, int]] = []
        self.open_saves: dict[object, tuple[Mark, Mark]] = {}
        """Saves by the order of their begin: when each began, and since when it counts as open."""
        self.just_saved: list[tuple[Mark, bool]] = []
        """Saves that ended well at this moment: when each began, and whether it was of rows."""
        self.on_the_way: set[int] = set()
        self.stopped = self.stop_requested = False
        self.paused_until = 0.0
        self.writes: list[tuple[set[str], set[int]]] = []
        self.again: list[set[CellNodeId]] = []
        self.write_failed = False
        self.lost_writes: list[tuple[set[str], set[int]]] = []
        self.stored = {name: set(claim[name]) for name in self.names}
        self.admitted: set[int] = set()
        self.was_admitted: set[int] = set()
        self.in_line: set[int] = set()
        self.worker_gone = False
        self.at_loss: set[NodeId] = set()
        self.gone: set[NodeId] = set()
        self.kept: set[CellNodeId] = set()
        self.by_itself: set[BarrierNodeId] = set()
        """Barrier nodes that nobody wanted before a result that they wait for was lost."""
        self.over_from_the_start = {g for g in self.groups() if self.group_resolved(g)}

    # Facts about columns

    def is_output(self, node: NodeId) -> bool:
        """An output cell of a barrier column."""
        return isinstance(node, CellNodeId) and node.column in self._barrier_columns

    def is_streamable(self, column: str) -> bool:
        streams = ExecutionTraits.ROW_STREAMABLE in self._column[column].traits
        return streams and column not in self._barrier_columns

    def may_skip(self, column: str) -> bool:
        return self._column[column].may_skip

    # What is resolved

    def is_claimed(self, cell: CellNodeId) -> bool:
        return cell.row in self.claimed[cell.column]

    def marked(self, cell: CellNodeId) -> bool:
        """It is skipped because an input of it was."""
        return self._column[cell.column].propagate_skip and any(
            self.results.get(CellNodeId(cell.row, name)) == SKIP
            for name in self._inputs[cell.column]
        )

    def cell_resolved(self, cell: CellNodeId) -> bool:
        return cell in self.results or cell.row in self.dropped

    def wanted(self, barrier: BarrierNodeId) -> list[CellNodeId]:
        """The output cells for which a barrier has to run."""
        return [
            cell
            for cell in self._scopes[barrier]
            if not (self.cell_resolved(cell) or self.marked(cell) or cell in self.running)
        ]

    def barrier_resolved(self, barrier: BarrierNodeId) -> bool:
        """It ran, its whole output was claimed, or nobody wants any of it (BARR-08)."""
        if barrier in self.ran or all(self.is_claimed(cell) for cell in self._scopes[barrier]):
            return True
        if barrier in self.by_itself:
            return True
        return (
            not self.wanted(barrier)
            and barrier not in self.running
            and self.waits_for_nothing(barrier)
        )

    def resolved(self, node: NodeId) -> bool:
        if isinstance(node, BarrierNodeId):
            return self.barrier_resolved(node)
        return self.cell_resolved(node)

    def open_needs(self, node: NodeId) -> set[NodeId]:
        return {need for need in self._needs[node] if not self.resolved(need)}

    def waits_for_nothing(self, node: NodeId) -> bool:
        return self.is_admitted(node) and not self.open_needs(node)

    def row_resolved(self, row: int) -> bool:
        """Clause TRACK-06, for a row that may be dropped."""
        if row in self.dropped:
            return True
        for name in self.names:
            cell = CellNodeId(row, name)
            if cell not in self.results:
                return False
            waits = self.is_output(cell) and not self.is_claimed(cell) and cell not in self.kept
            if waits and not self.barrier_resolved(self._barrier_of[cell]):
                return False
        return True

    def completed_rows(self) -> int:
        """Clause TRACK-10."""
        return next((row for row in self.rows if not self.row_resolved(row)), len(self.rows))

    def may_hold(self, cell: CellNodeId) -> bool:
        """A claim may hold a cell, whatever else it holds (CKPT-08)."""
        known = self.is_claimed(cell) or cell in self.kept or cell.row in self.dropped
        if self.is_output(cell) and not known:
            return self.cell_resolved(cell) and self.barrier_resolved(self._barrier_of[cell])
        return self.cell_resolved(cell)

    def prefix(self, column: str) -> int:
        """Clause CKPT-13."""
        without = (row for row in self.rows if not self.may_hold(CellNodeId(row, column)))
        return next(without, len(self.rows))

    def prefixes(self) -> dict[str, int]:
        """Clause CKPT-13: by column, no further than the inputs."""

        def reach(name: str) -> int:
            return min([self.prefix(name), *map(reach, self._inputs[name])])

        return {name: reach(name) for name in self.names}

    def most(self) -> Held:
        """Clause CKPT-13: every cell that a claim with gaps may hold, without what it may not."""
        held = {
            name: {r for r in self.rows if self.may_hold(CellNodeId(r, name))}
            for name in self.names
        }
        return self.closed({name: frozenset(rows) for name, rows in held.items()})

    def claims_sets(self) -> bool:
        """Claims of this run have, or are to have, gaps, or bring their data with them."""
        return self.rules.claims_any or self.commits or any(map(self.has_gap, self.begun))

    def stored_claim(self) -> Held:
        """Of the most that can be claimed what is durable; of ordered columns, without a gap."""
        held = {name: frozenset(rows & self.stored[name]) for name, rows in self.most().items()}
        while True:
            cut = {
                name: frozenset(r for r in rows if frozenset(range(r)) <= rows)
                if self.definition.is_ordered(name)
                else rows
                for name, rows in self.closed(held).items()
            }
            if cut == held:
                return held
            held = cut

    def first_rows(self, counts: Mapping[str, int]) -> Held:
        """The first rows of each column, as a claim."""
        return {name: frozenset(range(rows)) for name, rows in counts.items()}

    def cells_of(self, claim: Held) -> list[CellNodeId]:
        return [CellNodeId(row, name) for name in self.names for row in sorted(claim[name])]

    def whole_rows(self, claim: Held) -> int:
        """First rows of which every column is claimed."""
        cut = (row for row in self.rows if any(row not in claim[name] for name in self.names))
        return next(cut, len(self.rows))

    def closed(self, held: Held, beside: Held | None = None, *, leave: int = 0) -> Held:
        """Of some cells without those that a number says, the most that CKPT-05 allows."""
        places = [cell for place, cell in enumerate(self.cells_of(held)) if leave >> place % 6 & 1]
        left = {name: set(rows) for name, rows in held.items()}
        for cell in places:
            left[cell.column].discard(cell.row)
        while odd := self._not_closed(left, beside):
            for cell in odd:
                left[cell.column].discard(cell.row)
        return {name: frozenset(rows) for name, rows in left.items()}

    def _not_closed(
        self, held: Mapping[str, Iterable[int]], beside: Held | None = None
    ) -> list[CellNodeId]:
        """Cells without an input in their row, or without what comes before in order (CKPT-05)."""
        all_of_it = {
            name: set(held[name]) | (beside[name] if beside is not None else set())
            for name in self.names
        }
        found = []
        for cell in (CellNodeId(row, name) for name in self.names for row in held[name]):
            inputs = [CellNodeId(cell.row, name) for name in self._inputs[cell.column]]
            before = [] if cell.row in self.dropped else self._before(cell)
            if any(need.row not in all_of_it[need.column] for need in inputs + before):
                found.append(cell)
        return found

    def _before(self, cell: CellNodeId) -> list[CellNodeId]:
        """The cells that come before a cell in the order of its column."""
        if not self.definition.is_ordered(cell.column):
            return []
        first = self._scopes[self._barrier_of[cell]][0].row if self.is_output(cell) else cell.row
        return [CellNodeId(row, cell.column) for row in range(first)]

    def durable(self, column: str) -> int:
        """First rows of a column that are on storage without a gap."""
        return next((row for row in self.rows if row not in self.stored[column]), len(self.rows))

    def unrecorded(self) -> set[int]:
        return set(self.dropped) - self.recorded

    # Row groups

    def groups(self) -> dict[int, range]:
        """Clause GROUP-05."""
        size = self.rules.group_rows
        if size is None:
            return {}
        return {start // size: self.rows[start : start + size] for start in self.rows[::size]}

    def group_resolved(self, group: int) -> bool:
        return all(self.row_resolved(row) for row in self.groups()[group])

    def is_admitted(self, node: NodeId) -> bool:
        """Every row of the node is in an admitted group, or in one that had nothing left to do."""
        size = self.rules.group_rows
        if size is None:
            return True
        scope = [node] if isinstance(node, CellNodeId) else self._scopes[node]
        groups = {cell.row // size for cell in scope}
        return groups <= self.was_admitted | self.over_from_the_start

    def waiting_groups(self) -> set[int]:
        """Groups with work left that the limit would admit."""
        most = self.rules.groups
        if most is not None and len(self.admitted) >= most:
            return set()
        return {
            g for g in self.groups() if g not in self.was_admitted and not self.group_resolved(g)
        }

    # What is in flight

    def range_of(self, cell: NodeId) -> Range | None:
        if isinstance(cell, BarrierNodeId):
            return None
        found = [r for r in self.ranges if r.column == cell.column and cell.row in r.rows]
        # A row that was given and then lost may run anew while the rest of its range still does.
        found.sort(key=lambda r: (cell.row in r.given, r.rows.start))
        return found[0] if found else None

    def in_flight(self, node: NodeId) -> bool:
        ranged = self.range_of(node)
        if ranged is not None:
            assert isinstance(node, CellNodeId)
            return node.row not in ranged.given or node in self.running
        return node in self.running

    def working(self) -> list[str]:
        """The column of each thing that takes a worker: a node, or a range; no output cells."""
        return [node.column for node in self.running if not self.is_output(node)] + [
            ranged.column for ranged in self.ranges
        ]

    def abandoned(self) -> set[CellNodeId]:
        """Cells that run on for a dropped row."""
        cells = {node for node in self.running if isinstance(node, CellNodeId)}
        return {cell for cell in cells if cell.row in self.dropped}

    # Failures

    def spent(self, node: NodeId) -> int:
        return self.failed.count((node, "retryable")) + self.failed.count((node, "timeout"))

    def failed_for_good(self, node: NodeId) -> bool:
        return (node, "permanent") in self.failed or self.spent(node) >= self.rules.max_attempts

    def must_stop(self) -> bool:
        """Clause STOP-01: at some moment too many of the last calls had failed."""
        window = self.rules.stop_window
        if window is None:
            return False
        runs = (self.ends[i : i + window] for i in range(len(self.ends) - window + 1))
        share = Fraction(str(self.rules.stop_rate))
        return any(Fraction(sum(run), window) >= share for run in runs)

    def halted(self) -> bool:
        """No call starts any more: the run stops early, or somebody asked it to stop."""
        return bool(self.halt_breaks())

    def halt_breaks(self) -> set[str]:
        early = {"STOP-01"} if self.stopped or self.must_stop() else set()
        early |= {"STOP-05"} if self.stop_requested else set()
        return early | ({self.gave_up} if self.gave_up else set())

    def gives_up(self) -> bool:
        """A row is lost, and the engine neither records that nor claims to go on without rows."""
        return not self.rules.drops and bool(self.unrecorded() - self.filtered)

    def over(self) -> set[str]:
        return {"SCHED-07"} if self.crashed or self.ended else set()

    # Starting

    def is_open(self, node: NodeId) -> bool:
        """Neither resolved, nor in flight, nor waiting to be tried again."""
        return not (self.resolved(node) or self.in_flight(node) or node in self.cooling)

    def ready(self) -> set[NodeId]:
        """What could start now, if there is a worker."""
        return {
            node
            for node in self._needs
            if self.is_open(node) and self.waits_for_nothing(node) and not self._to_skip(node)
        }

    def _to_skip(self, node: NodeId) -> bool:
        return isinstance(node, CellNodeId) and self.marked(node)

    def limit_breaks(self, column: str) -> set[str]:
        broken: set[str] = set()
        working = self.working()
        if self.rules.workers is not None and len(working) >= self.rules.workers:
            broken.add("SCHED-06")
        resource = self.rules.column_resource.get(column)
        if resource is not None:
            busy = [name for name in working if self.rules.column_resource.get(name) == resource]
            if len(busy) >= self.rules.resources[resource]:
                broken.add("SCHED-11")
        return broken

    def dispatchable(self) -> set[NodeId]:
        """What could start at once (SCHED-09)."""
        if self.over():
            return set()
        ready = self.ready()
        spent = {n for n in ready if isinstance(n, CellNodeId) and self.is_killer(n)}
        calls = set() if self.halted() else ready - spent
        outputs = {node for node in ready if self.is_output(node)}
        return outputs | {node for node in calls if not self.limit_breaks(node.column)}

    def startable(self) -> set[NodeId]:
        """That, and what the engine may try again whenever it likes."""
        later = {node for node in self.cooling if not self._start_breaks(node)}
        return self.dispatchable() | later

    def paused(self) -> bool:
        """The engine said that it starts no call before a later time."""
        return self.now < self.paused_until

    def start_breaks(self, node: NodeId, attempt: int | None = None) -> set[str]:
        broken = self._start_breaks(node, attempt)
        if self.over() or self.halted() or self.is_output(node):
            return broken
        return broken | self.bypass_breaks([node]) | ({"SCHED-16"} if self.paused() else set())

    def _start_breaks(self, node: NodeId, attempt: int | None = None) -> set[str]:
        if self.over():
            return self.over()
        if self.halted() and not self.is_output(node):
            return self.halt_breaks()
        broken = self._past_breaks(node)
        if broken:
            return broken
        broken |= self._present_breaks(node) | self._killer_breaks(node)
        if not self.is_output(node):
            broken |= self.limit_breaks(node.column)
        if attempt is not None and attempt != self.spent(node) + 1:
            broken.add("FAIL-01")
        return broken

    def _past_breaks(self, node: NodeId) -> set[str]:
        """The node has had its turn, or will never have one."""
        broken: set[str] = set()
        if self.in_flight(node):
            broken.add("SCHED-02")
        if self.failed_for_good(node):
            broken.add("FAIL-02")
        if isinstance(node, BarrierNodeId):
            claimed = all(self.is_claimed(cell) for cell in self._scopes[node])
            if node in self.ran or claimed:
                broken.add("SCHED-03")
            if claimed:
                broken.add("SCHED-05")
            elif not self.wanted(node) and node not in self.running and node not in self.ran:
                broken.add("BARR-08")
                if not self.waits_for_nothing(node):
                    broken |= self._present_breaks(node)
        else:
            if node.row in self.dropped:
                broken.add("DROP-03")
            if self.is_claimed(node):
                broken.add("SCHED-05")
            elif node in self.results:
                broken.add("SCHED-03")
        return broken

    def _killer_breaks(self, node: NodeId) -> set[str]:
        spent = isinstance(node, CellNodeId) and self.is_killer(node)
        return {"DROP-06"} if spent else set()

    def is_killer(self, cell: CellNodeId) -> bool:
        """Clause DROP-06: so many processes died in flight of it, and it never ended well."""
        tries = self.rules.killer_tries
        return tries is not None and self.died_in[cell] >= tries and cell not in self.well

    def bypass_breaks(self, nodes: Iterable[NodeId]) -> set[str]:
        """These start as one task; what became ready at an earlier step waits on (SCHED-17)."""
        bound = self.rules.bypass
        if bound is None:
            return set()
        more = self._overtaken_by(list(nodes))
        return {"SCHED-17"} if any(self.overtaken[n] + more[n] > bound for n in more) else set()

    def _overtaken_by(self, nodes: Sequence[NodeId]) -> Counter[NodeId]:
        found = Counter[NodeId]()
        resource = self.rules.column_resource.get
        # What the engine may try again whenever it likes has no turn.
        for now in (self.waiting[node] for node in nodes if node in self.waiting):
            found.update(
                other
                for other, since in self.waiting.items()
                if other not in nodes
                and since < now
                and resource(other.column) == resource(nodes[0].column)
            )
        return found

    def _overtake(self, nodes: Sequence[NodeId]) -> None:
        if self.rules.bypass is not None:
            self.overtaken.update(self._overtaken_by(nodes))

    def move_on(self, *, admits: bool = False) -> None:
        """A step was taken: what it made ready waits from now on, or from the step before it."""
        if self.rules.bypass is None:
            return
        self.moves += not admits
        ready = set() if self.over() else {n for n in self.ready() if not self.is_output(n)}
        ready = {n for n in ready if not (isinstance(n, CellNodeId) and self.is_killer(n))}
        self.waiting = {n: self.waiting.get(n, self.moves) for n in sorted(ready, key=str)}
        self.overtaken = Counter({n: self.overtaken[n] for n in ready})

    def _present_breaks(self, node: NodeId) -> set[str]:
        """The node's turn has not come yet."""
        broken: set[str] = set()
        until = self.cooling.get(node)
        if until is not None and until > self.now:
            broken.add("FAIL-03")
        if not self.is_admitted(node):
            broken.add("GROUP-01")
        if self._to_skip(node):
            broken.add("SKIP-02")
        missing = self.open_needs(node)
        if any(self._was_lost(need) for need in missing):
            broken.add("FAIL-08")
        if missing and isinstance(node, BarrierNodeId):
            broken.add("BARR-01")
        elif missing and self.is_output(node):
            broken.add("BARR-02")
        elif missing:
            assert isinstance(node, CellNodeId)
            only_order = missing <= self.definition.earlier(node)
            broken.add("SCHED-13" if only_order else "SCHED-01")
        return broken

    def start(self, node: NodeId) -> None:
        self._overtake([node])
        if not self.is_output(node):
            # Output takes no call that could end the process.
            self.started.add(node)
        self.running.add(node)
        if isinstance(node, BarrierNodeId):
            self.read_by[node] = self.reads(node)
        self.began[node] = self.now
        self.cooling.pop(node, None)

    def reads(self, barrier: BarrierNodeId) -> Spans:
        """Clause BARR-06."""
        return spans(
            cell.row
            for cell in self._scopes[barrier]
            if cell.row not in self.dropped and not self.marked(cell)
        )

    def read_breaks(
        self, barrier: BarrierNodeId, reads: Spans | None, attempt: int | None = None
    ) -> set[str]:
        """A barrier node starts, and says which rows it read."""
        broken = self.start_breaks(barrier, attempt)
        if broken & {"SCHED-07", "STOP-01", "STOP-05"} or self._past_breaks(barrier):
            return broken
        return broken | ({"BARR-06"} if reads not in (None, self.reads(barrier)) else set())

    def range_breaks(self, column: str, rows: range, attempt: int | None = None) -> set[str]:
        """Rows of a column start as one task (RANGE-01)."""
        if self.over() or self.halted():
            return self.over() or self.halt_breaks()
        broken: set[str] = {"SCHED-16"} if self.paused() else set()
        for row in rows:
            cell = CellNodeId(row, column)
            wrong = self._past_breaks(cell) or self._present_breaks(cell)
            broken |= self._killer_breaks(cell)
            before = {CellNodeId(other, column) for other in rows if other < row}
            if self.open_needs(cell) <= before:
                # The range itself gives those rows first.
                wrong.discard("SCHED-13")
            if wrong:
                broken |= wrong | {"RANGE-01"}
            elif attempt is not None and attempt != self.spent(cell) + 1:
                broken.add("FAIL-01")
        cells = [CellNodeId(row, column) for row in rows]
        return broken | self.limit_breaks(column) | self.bypass_breaks(cells)

    def start_range(self, column: str, rows: range) -> None:
        cells = [CellNodeId(row, column) for row in rows]
        self._overtake(cells)
        self.started.update(cells)
        self.ranges.append(Range(column, rows))
        self.began[CellNodeId(rows.start, column)] = self.now
        for row in rows:
            self.cooling.pop(CellNodeId(row, column), None)

    # Ending

    def attempt_breaks(self, nodes: Iterable[NodeId], attempt: int | None) -> set[str]:
        """What is in flight ends as some attempt, or as whichever is in flight (FAIL-05)."""
        others = [n for n in nodes if attempt not in (None, self.spent(n) + 1)]
        return {"FAIL-05"} if others else set()

    def calls_of(self, node: NodeId) -> list[NodeId]:
        """The nodes that end when a node, or what is left of its range, fails or is cancelled."""
        ranged = None if node in self.running else self.range_of(node)
        if ranged is None:
            return [node]
        return [CellNodeId(row, ranged.column) for row in ranged.left()]

    def complete_breaks(self, node: NodeId, attempt: int | None = None) -> set[str]:
        if self.over():
            return self.over()
        ranged = self.range_of(node)
        other = self.attempt_breaks([node], attempt)
        if ranged is None or node in self.running:
            return other if node in self.running else {"SCHED-04"}
        assert isinstance(node, CellNodeId)
        if node.row in ranged.given:
            return {"RANGE-02", "SCHED-04"}
        in_turn = not self.definition.is_ordered(node.column) or node.row == ranged.left()[0]
        return other if in_turn else other | {"RANGE-02"}

    def reject(self, node: NodeId, rows: Iterable[int]) -> None:
        """A call ends well, and its answer rejects rows: those that are wanted are dropped."""
        if isinstance(node, BarrierNodeId):
            lost = {cell.row for cell in self._scopes[node] if not self.cell_resolved(cell)}
        else:
            lost = {node.row} - set(self.dropped)
        for row in sorted(lost & set(rows)):
            self.dropped[row] = node.column
            self.filtered.add(row)
        self.complete(node)

    def complete(self, node: NodeId) -> None:
        """What ends for a dropped row gives no value; that its call ended counts (STOP-01)."""
        self.well.add(node)
        self.just_ended[node] = True
        ranged = self.range_of(node)
        if isinstance(node, BarrierNodeId):
            self.running.remove(node)
            self.ran.add(node)
            self.ends.append(False)
            return
        live = node.row not in self.dropped
        if node in self.running:
            self.running.remove(node)
            if not self.is_output(node):
                self.ends.append(False)
        else:
            assert ranged is not None
            ranged.given.append(node.row)
            if not ranged.left():
                self.ranges.remove(ranged)
                self.ends.append(False)
        if live:
            self.results[node] = VALUE

    def fail_breaks(
        self, node: NodeId, attempt: int | None = None, failure: str | None = None
    ) -> set[str]:
        if self.over():
            return self.over()
        runs = node in self.running and (not self.is_output(node) or node in self.abandoned())
        if not runs and self.range_of(node) is None:
            return {"FAIL-04"}
        broken = self.attempt_breaks(self.calls_of(node), attempt)
        bound = self.rules.timeout_s
        if failure == "timeout" and bound is not None and self.now < self.begin_of(node) + bound:
            broken.add("FAIL-07")
        return broken

    def first_of(self, node: NodeId) -> NodeId:
        """The node itself, or the first row of the range that it is in flight with."""
        ranged = None if node in self.running else self.range_of(node)
        return node if ranged is None else CellNodeId(ranged.rows.start, ranged.column)

    def begin_of(self, node: NodeId) -> float:
        """When the call began that a node, or its range, is in flight as."""
        # An output cell takes no call of its own.
        return self.began.get(self.first_of(node), self.now)

    def late_breaks(self, t: float) -> set[str]:
        """Time moves to `t`: a call in flight may be beyond its bound (FAIL-07)."""
        calls: list[NodeId] = [node for node in self.running if not self.is_output(node)]
        calls += [CellNodeId(ranged.rows.start, ranged.column) for ranged in self.ranges]
        bound = self.rules.timeout_s
        late = bound is not None and any(self.began[each] + bound < t for each in calls)
        return {"FAIL-07"} if late and not self.over() else set()

    def fail(self, node: NodeId, failure: str, until: float | None) -> None:
        ranged = None if node in self.running else self.range_of(node)
        self.unanswered.append(node)
        self._ends_badly(node, again=failure != "permanent")
        if failure == "permanent" and not self.is_output(node):
            self.ends.append(True)
        if node in self.running:
            self.running.remove(node)
            if isinstance(node, CellNodeId) and node.row in self.dropped:
                spent = self.spent(node) + (failure in ("retryable", "timeout"))
                if failure == "permanent" or spent >= self.rules.max_attempts:
                    self.also_failed.add((node.row, node.column))
                return
        nodes: list[NodeId] = [node]
        if ranged is not None:
            self.ranges.remove(ranged)
            rows = (row for row in ranged.left() if row not in self.dropped)
            nodes = [CellNodeId(row, ranged.column) for row in rows]
        for each in nodes:
            self.failed.append((each, failure))
            self.taken_back.pop(each, None)
            if self.failed_for_good(each):
                self._drop_for(each)
            elif until is None or until > self.now:
                self.cooling[each] = until

    def _ends_badly(self, node: NodeId, *, again: bool = True) -> None:
        self.just_ended.update(dict.fromkeys(self.calls_of(node), False))
        self.to_try_again.update(self.calls_of(node) if again else ())

    def _drop_for(self, node: NodeId) -> None:
        lost = [node] if isinstance(node, CellNodeId) else self.wanted(node)
        if isinstance(node, BarrierNodeId):
            rows = {cell.row for cell in self._scopes[node]} & self.unrecorded()
            self.also_failed |= {(row, node.column) for row in rows}
        for cell in lost:
            self.dropped[cell.row] = node.column

    def cancel_breaks(self, node: NodeId, attempt: int | None = None) -> set[str]:
        if self.over():
            return self.over()
        wanted = self._unwanted_breaks(node)
        return wanted or self.attempt_breaks(self.calls_of(node), attempt)

    def take_back_breaks(self, node: NodeId, attempt: int | None = None) -> set[str]:
        if self.over():
            return self.over()
        runs = node in self.running and (not self.is_output(node) or node in self.abandoned())
        if not runs and self.range_of(node) is None:
            return {"FAIL-06"}
        often = any(self.taken_back.get(each, 0) >= 8 for each in self.calls_of(node))
        broken = {"FAIL-06"} if often and node not in self.abandoned() else set()
        return broken | self.attempt_breaks(self.calls_of(node), attempt)

    def take_back(self, node: NodeId) -> None:
        """What is wanted still is ready at once."""
        self._ends_badly(node)
        for each in self.calls_of(node):
            self.taken_back[each] = self.taken_back.get(each, 0) + 1
        if node in self.running:
            self.running.remove(node)
        else:
            ranged = self.range_of(node)
            assert ranged is not None
            self.ranges.remove(ranged)

    def _unwanted_breaks(self, node: NodeId) -> set[str]:
        """Only what nobody wants any more may be cancelled."""
        ranged = None if node in self.running else self.range_of(node)
        if ranged is None and node not in self.running:
            return {"FAIL-04"}
        if ranged is None and self.is_output(node):
            return set() if node in self.abandoned() else {"FAIL-04"}
        unwanted = self.halted() or self.may_give_up() or self.lost_a_write()
        return {"FAIL-04"} if self._is_call_wanted(node) and not unwanted else set()

    def _is_call_wanted(self, node: NodeId) -> bool:
        ranged = None if node in self.running else self.range_of(node)
        if ranged is not None:
            return any(row not in self.dropped for row in ranged.left())
        if isinstance(node, BarrierNodeId):
            return bool(self.wanted(node))
        return node.row not in self.dropped

    def cancel(self, node: NodeId) -> None:
        """What somebody wants still is open again, but never ready: it was cancelled by a stop."""
        if self._is_call_wanted(node) and not (self.halted() or self.may_give_up()):
            self.gave_up = self.gave_up or "FAIL-04"
        self._ends_badly(node)
        ranged = None if node in self.running else self.range_of(node)
        if ranged is None:
            self.running.remove(node)
            nodes: list[NodeId] = [node]
        else:
            self.ranges.remove(ranged)
            nodes = [CellNodeId(row, ranged.column) for row in ranged.left()]
        self.cooling.update(dict.fromkeys(n for n in nodes if not self.resolved(n)))

    def emit_breaks(self, cells: Iterable[CellNodeId]) -> set[str]:
        """A finished barrier gives output; it may after a stop, for its call has ended."""
        if self.over():
            return self.over()
        broken: set[str] = set()
        for cell in cells:
            if cell in self.running:
                broken.add("SCHED-02")
            if cell.row in self.dropped or self.marked(cell):
                broken.add("BARR-07")
            if cell in self.results:
                broken.add("SCHED-05" if self.is_claimed(cell) else "SCHED-03")
            if not self.barrier_resolved(self._barrier_of[cell]):
                broken.add("BARR-02")
        return broken

    def emit(self, cells: Iterable[CellNodeId]) -> None:
        self.results.update(dict.fromkeys(cells, VALUE))

    def skip_breaks(self, cell: CellNodeId) -> set[str]:
        if self.over():
            return self.over()
        could_start = self.is_open(cell) and self.waits_for_nothing(cell)
        reason = self.marked(cell) or self.may_skip(cell.column)
        broken = set() if could_start and reason else {"SKIP-01"}
        if cell in self.gone and cell not in self.results and not self.in_flight(cell):
            broken.add("FAIL-08")
        return broken

    def skip(self, cell: CellNodeId) -> None:
        self.results[cell] = SKIP

    # Answers from a cache

    def recall_breaks(self, node: NodeId) -> set[str]:
        """Clause CKPT-25; output is recalled with its barrier node."""
        if self.over():
            return self.over()
        past = self._past_breaks(node)
        broken = past or self._present_breaks(node)
        cells = [node] if isinstance(node, CellNodeId) else self._read_cells(node)
        same = isinstance(node, CellNodeId) or self.reads(node) in self.once_read.get(node, set())
        return broken if same and set(cells) <= self.once_durable else broken | {"CKPT-25"}

    def _read_cells(self, barrier: BarrierNodeId) -> list[CellNodeId]:
        rows = {row for span in self.reads(barrier) for row in range(*span)}
        return [cell for cell in self._scopes[barrier] if cell.row in rows]

    def recall(self, node: NodeId) -> None:
        self.cooling.pop(node, None)
        if isinstance(node, BarrierNodeId):
            self.ran.add(node)
        else:
            self.results[node] = VALUE

    # The loss of a worker

    def lose_worker(self) -> None:
        self.worker_gone = True
        made = {cell for cell, result in self.results.items() if result == VALUE}
        self.at_loss = made | self.ran

    def lose_breaks(self, node: NodeId) -> set[str]:
        """Clause FAIL-08; output goes with its barrier node."""
        if self.over():
            return self.over()
        if isinstance(node, CellNodeId):
            gives = self.results.get(node) == VALUE and not self.is_claimed(node)
            fragile = gives and node.row not in self.stored[node.column]
        else:
            live = self._live_output(node)
            fragile = node in self.ran and not (live and all(map(self._is_stored, live)))
        return set() if node in self.at_loss and fragile else {"FAIL-08"}

    def may_lose(self, node: NodeId) -> bool:
        """It may be lost, and somebody wants it."""
        if isinstance(node, CellNodeId):
            wanted = not self.is_output(node) and node.row not in self.dropped
        else:
            wanted = bool(self._live_output(node))
        return wanted and not self.lose_breaks(node)

    def lose(self, node: NodeId) -> None:
        """It is pending again, and nothing else is."""
        barriers = (b for b in self._scopes if b != node and b not in self.ran)
        self.by_itself.update(b for b in barriers if self.barrier_resolved(b))
        if isinstance(node, CellNodeId):
            if node.row not in self.dropped:
                del self.results[node]
                self.at_loss.remove(node)
                self.gone.add(node)
            return
        live = self._live_output(node)
        if not live:
            return
        self.gone.add(node)
        self.ran.remove(node)
        self.at_loss.remove(node)
        for cell in live:
            if not self._is_stored(cell) and self.results.pop(cell, None) == VALUE:
                self.gone.add(cell)
        self.kept -= set(self._scopes[node])
        self.kept |= {c for c in self._scopes[node] if c in self.results or c in self.running}

    def _live_output(self, barrier: BarrierNodeId) -> list[CellNodeId]:
        """Output cells with a value, or about to get one."""
        return [
            cell
            for cell in self._scopes[barrier]
            if cell.row not in self.dropped
            and self.results.get(cell) != SKIP
            and not self.marked(cell)
            and cell not in self.running
        ]

    def _is_stored(self, cell: CellNodeId) -> bool:
        return cell.row in self.stored[cell.column]

    def _was_lost(self, node: NodeId) -> bool:
        """It went with a worker, or with the barrier that gave it."""
        barrier = self._barrier_of.get(node) if isinstance(node, CellNodeId) else None
        return node in self.gone or barrier in self.gone

    def drop_breaks(self, column: str, row: int, cause: str | None = None) -> set[str]:
        if self.over():
            return self.over()
        broken: set[str] = set()
        if cause == "killer":
            return self._give_up_breaks(column, row)
        if row in self.recorded:
            broken.add("DROP-02")
        elif (row, column) in self.also_failed and cause in (None, "failed"):
            return broken
        if self.dropped.get(row) != column:
            broken.add("DROP-01")
        if (row in self.filtered) != (cause == "filtered"):
            broken.add("DROP-05")
        return broken

    def _give_up_breaks(self, column: str, row: int) -> set[str]:
        """A row is given up because its node ended so many processes (DROP-06)."""
        node: NodeId = CellNodeId(row, column)
        if self.definition.is_barrier(column):
            node = self._barrier_of[CellNodeId(row, column)]
        tries = self.rules.killer_tries
        spent = tries is not None and self.died_with[node] >= tries
        spent = spent and CellNodeId(row, column) not in self.results
        broken = set() if spent else {"DROP-06", "DROP-01"}
        if row in self.recorded:
            broken.add("DROP-02")
        elif row in self.dropped:
            broken |= {"DROP-01", "DROP-05", "DROP-06"}
        return broken

    def drop(self, row: int, column: str) -> None:
        self.dropped.setdefault(row, column)
        self.recorded.add(row)

    # Groups and early stop

    def admit_breaks(self, rows: range) -> set[str]:
        if self.over() or self.halted():
            return self.over() or self.halt_breaks()
        found = [g for g, members in self.groups().items() if members == rows]
        if not found:
            return {"GROUP-05"}
        broken = {"GROUP-03"} if found[0] in self.was_admitted else set()
        if self.rules.groups is not None and len(self.admitted) >= self.rules.groups:
            broken.add("GROUP-02")
        elif not broken and not self._groups_lead_on(found[0]):
            broken.add("GROUP-08")
        return broken

    def rows_of(self, node: NodeId) -> list[int]:
        if isinstance(node, CellNodeId):
            return [node.row]
        return [cell.row for cell in self._scopes[node]]

    def _groups_lead_on(self, group: int) -> bool:
        """After this admission some order of further ones ends the run, if no call fails."""
        most, memo = self.rules.groups, dict[frozenset[int], frozenset[int]]()

        def finished(was: frozenset[int]) -> frozenset[int]:
            """The groups that are resolved in the end if no other group than these is admitted."""
            if was not in memo:
                size = self.rules.group_rows
                assert size is not None
                done = {node for node in self._needs if self.resolved(node)}
                open_nodes = [
                    node
                    for node in self._needs
                    if node not in done and {row // size for row in self.rows_of(node)} <= was
                ]
                for _ in open_nodes:
                    done |= {node for node in open_nodes if self._needs[node] <= done}
                memo[was] = frozenset(
                    number
                    for number, members in self.groups().items()
                    if all(CellNodeId(row, name) in done for row in members for name in self.names)
                )
            return memo[was]

        def ends(admitted: frozenset[int], was: frozenset[int]) -> bool:
            over = finished(was)
            admitted -= over
            outside = [g for g in self.groups() if g not in was and g not in over]
            if not outside:
                return not admitted
            room = most is None or len(admitted) < most
            return room and any(ends(admitted | {g}, was | {g}) for g in outside)

        start = frozenset(self.was_admitted | self.over_from_the_start) | {group}
        return most is None or ends(frozenset(self.admitted) | {group}, start)

    def admit(self, rows: range) -> None:
        assert self.rules.group_rows is not None
        self.admitted.add(rows.start // self.rules.group_rows)
        self.was_admitted.add(rows.start // self.rules.group_rows)

    def retire_breaks(self, rows: range) -> set[str]:
        if self.over():
            return self.over()
        found = [g for g, members in self.groups().items() if members == rows]
        if not found:
            return {"GROUP-05"}
        done = found[0] in self.admitted and self.group_resolved(found[0])
        return set() if done else {"GROUP-03"}

    def retire(self, rows: range) -> None:
        assert self.rules.group_rows is not None
        self.admitted.remove(rows.start // self.rules.group_rows)

    def stop_breaks(self) -> set[str]:
        return self.over() or (set() if self.must_stop() or self.stopped else {"STOP-02"})

    def stop(self) -> None:
        self.stopped = True

    def request(self) -> None:
        self.stop_requested = True

    # Time

    def next_moment(self, t: float) -> float:
        """The end of the first backoff before `t`, or `t`."""
        return min([u for u in self.cooling.values() if u is not None and u < t], default=t)

    def claimable_rows(self) -> int:
        """Finished rows that a claim may hold: each before the first drop without a record.

        Where rows count wherever they are, it is every whole row, or row group.
        """
        if not self.counts_anywhere():
            return min([self.completed_rows(), *self.unrecorded()])
        done = {row for row in self.rows if self.row_resolved(row)} - self.unrecorded()
        return sum(done.issuperset(part) for part in self.save_parts())

    def counts_anywhere(self) -> bool:
        """A row may be claimed before those that come before it (CKPT-19)."""
        return self.rules.claims_any and not any(map(self.definition.is_ordered, self.names))

    def save_parts(self) -> list[set[int]]:
        """What counts for a save: rows, or row groups."""
        groups = self.groups() if self.rules.save_groups else {row: [row] for row in self.rows}
        return [set(rows) for rows in groups.values()]

    def saved_by(self, claim: Held) -> int:
        """How many rows, or row groups, a claim saves."""
        if not self.counts_anywhere():
            return self.whole_rows(claim)
        held = set.intersection(*(set(claim[name]) for name in self.names))
        return sum(held.issuperset(part) for part in self.save_parts())

    def held(self) -> Held:
        """The cells that are claimed, or held by a claim or a commit that is open."""
        pending = [] if self.pending_claim is None else [self.pending_claim]
        return self.together(self.durable_claim, *pending, *self.open_commits.values())

    def held_rows(self) -> int:
        """The rows, or groups, that the next save need not hold."""
        return self.saved_rows + self.saved_by(self.held()) - self.held_before

    def held_beside(self, before: int, rows: int) -> int:
        """Held behind a gap that has closed since, or by data that is being written."""
        written = self.on_the_way if self.writes else set()
        if self.counts_anywhere():
            return sum(not written.isdisjoint(part) for part in self.save_parts())
        held, behind = self.held(), set(range(before, max(rows, before)))
        tried = {row for row in behind if row in self.tried}
        whole = {row for row in behind if all(row in held[name] for name in self.names)}
        return len(tried | whole) + len(behind & written)

    def next_waits(self) -> list[tuple[float, int]]:
        """Since when rows wait that no save holds: as if saves took those that waited longest."""
        rows, before, waits = self.claimable_rows(), self.held_rows(), self.waits
        waits = [] if waits and rows < waits[-1][1] else waits
        waits = [wait for wait in waits if wait[1] > before]
        if rows > (waits[-1][1] if waits else before):
            waits = [*waits, (self.now, rows)]
        return waits

    def save_breaks(self, t: float) -> set[str]:
        """Time moves on from now to `t`: what is due is held by a save (clause CKPT-19)."""
        total, before, rules = self.claimable_rows(), self.held_rows(), self.rules
        if self.over() or (self.unwritten and t <= self.paused_until):
            return set()
        since = next((since for _, since in self.open_saves.values()), None)
        rows = total if since is None or rules.save_s is not None else min(total, since[1])
        rows -= self.held_beside(before, rows)
        if rows <= before:
            return set()
        until = t if since is None else since[0]
        left = total - (rows - before)
        began = next((at for at, count in self.next_waits() if count > left), self.now)
        due = rules.save_rows is not None and rows >= before + rules.save_rows
        due |= rules.save_s is not None and until > began + rules.save_s
        if rules.save_groups and self.counts_anywhere():
            return {"CKPT-19"}
        if rules.save_groups:
            # A group is there to be claimed once its last row is.
            ends = [members.stop for members in self.groups().values()]
            due |= any(before < end <= rows for end in ends)
        return {"CKPT-19"} if due else set()

    def begin_save(self, name: object, *, claims: bool = False) -> None:
        """A save begins; one that begins as another ends is open since that one began."""
        own = now = (self.now, self.claimable_rows())
        if claims:
            own = min([mark for mark, of_rows in self.just_saved if of_rows], default=now)
        since = min([own, *(mark for mark, _ in self.just_saved)])
        self.open_saves.setdefault(name, (own, since))

    def end_save(self, name: object, *, well: bool = True) -> None:
        own, _ = self.open_saves.pop(name, (None, None))
        if own is not None and well:
            self.just_saved.append((own, isinstance(name, tuple)))

    def end_writes(self, *, well: bool = True) -> None:
        """What is written no more is on its way no more."""
        names = {(frozenset(columns), frozenset(rows)) for columns, rows in self.writes}
        for name in [n for n in self.open_saves if isinstance(n, tuple) and n not in names]:
            self.end_save(name, well=well)
        self.on_the_way = {row for _, rows in self.writes for row in rows}
        if self.counts_anywhere():
            claimed = [self.durable_claim[name] for name in self.names]
            self.on_the_way -= frozenset.intersection(*claimed)

    def idle_breaks(self, until: float | None = None) -> set[str]:
        """Time moves on from now, to a moment."""
        if not self.over() and self.stop_requested:
            waits = self.working() or self.stores() or self.lost_a_write()
            return set() if waits else {"STOP-05"}
        if self.over() or self.halted() or self.gives_up():
            return set()
        broken = self._waits()
        if self.rules.conserves and self.lost_a_write():
            # The engine may be giving up: `pass_to` notes what a further start would break.
            broken.clear()
        limited, admitted = self.rules.groups is not None, self.admitted
        late = [group for group in admitted if limited and self.group_resolved(group)]
        if self.rules.conserves:
            late = [group for group in late if group not in self._in_line()]
        elif self.stores() or not self._goes_on(until) or len(late) == len(admitted):
            late = []
        if self.lost_a_write():
            late = []
        if not self.rules.conserves:
            outside = [g for g in self.groups() if g not in self.was_admitted]
            # The place of a group that is over is free for any that waits.
            if not all(map(self.group_resolved, outside)):
                broken |= {"GROUP-07"} if any(map(self.group_resolved, self.admitted)) else set()
            broken = {"SCHED-15"} if broken and self._is_still(until) else set()
        if self._skips_wait() and self._is_still(until):
            broken.add("SCHED-15")
        return broken | ({"GROUP-07"} if late else set())

    def _waits(self) -> set[str]:
        """What an engine that conserves work breaks if time moves on."""
        broken = {"SCHED-09"} if self.dispatchable() else set()
        return broken | ({"GROUP-06"} if self.waiting_groups() else set())

    def _notice_giving_up(self) -> None:
        """After a lost write work waits: nothing may start any more."""
        if not (self.over() or self.halted() or self.gives_up()) and self.lost_a_write():
            self.gave_up = max(self._waits(), default="")

    def _skips_wait(self) -> bool:
        """A cell waits for nothing but its skip, for an input of it was skipped."""
        cells = (node for node in self._needs if isinstance(node, CellNodeId))
        return any(
            self.is_open(cell) and self.waits_for_nothing(cell) and self.marked(cell)
            for cell in cells
        )

    def _in_line(self) -> set[int]:
        """Finished groups that wait for storage, as it was busy ever since they were not safe."""
        mine = {g for g in self.admitted if self.group_resolved(g) and self._is_at_risk(g)}
        return self.in_line | mine if self.stores() else set()

    def _is_at_risk(self, group: int) -> bool:
        """A row of a group that was not dropped would be lost with the process (GROUP-07)."""
        live = set(self.groups()[group]) - self.dropped.keys()
        safe = [self.stored[name] for name in self.names]
        if self.makes_claims():
            safe += [set(self.durable_claim[name]) for name in self.names]
        return not all(live <= rows for rows in safe)

    def _goes_on(self, until: float | None) -> bool:
        """No pause covers all the time until a moment."""
        return not self.paused() or (until is not None and self.paused_until < until)

    def stores(self) -> bool:
        """A storage step runs: rows, a claim or a commit are being written."""
        return self.pending_claim is not None or bool(self.writes or self.open_commits)

    def _is_still(self, until: float | None) -> bool:
        """Nothing happens from now on, for a part of the time until a moment."""
        if self.working() or self.stores() or self.may_give_up():
            return False
        return self._goes_on(until)

    # Pauses

    def pause_breaks(self, until: float | None) -> set[str]:
        if self.over():
            return self.over()
        return set() if until is not None and self.unanswered else {"SCHED-16"}

    def pause(self, until: float) -> None:
        self.unanswered.pop()
        self.paused_until = max(self.paused_until, until)

    def pass_to(self, t: float) -> None:
        self.in_line = self._in_line()
        if t > self.now:
            if self.rules.conserves:
                self._notice_giving_up()
            self.waits = self.next_waits()
            self.just_saved.clear()
            for node in (node for node, well in self.just_ended.items() if well):
                self.died_with.pop(node, None)
                self.to_try_again.discard(node)
            self.just_ended.clear()
        self.now = t
        for node in [n for n, until in self.cooling.items() if until is not None and until <= t]:
            del self.cooling[node]

    # Storage

    def durable_breaks(self, columns: Iterable[str], rows: range) -> set[str]:
        if self.over():
            return self.over()
        broken = set()
        cells = {CellNodeId(row, c) for c in columns for row in rows}
        if not all(map(self.cell_resolved, cells)):
            broken.add("CKPT-08")
        return broken | self._unexplained_breaks(cells)

    def _unexplained_breaks(self, cells: Iterable[CellNodeId]) -> set[str]:
        """Cells that nobody made, their rows dropped, before the drop is recorded (DROP-04)."""
        hidden = self.unrecorded()
        lost = (cell for cell in cells if cell.row in hidden and cell not in self.results)
        return {"DROP-04"} if any(lost) else set()

    def store(self, columns: Iterable[str], rows: Iterable[int]) -> None:
        self.has_stored, self.stored_at = True, self.now
        if self.now > self.excused_at:
            self.excused.clear()
        reported, those_rows = set(columns), set(rows)
        for column in reported:
            self.stored[column] |= those_rows
        cells = {CellNodeId(row, name) for name in reported for row in those_rows}
        kept = []
        for (names, those), again in zip(self.writes, self.again, strict=True):
            whole = names <= reported and those <= those_rows
            once_more = again - cells
            left = once_more if again else self._not_stored(names, those)
            if left and not whole:
                kept.append(((names, those), once_more))
        self.writes, self.again = [one for one, _ in kept], [again for _, again in kept]
        self.end_writes()
        self.lost_writes = [
            (names, those)
            for names, those in self.lost_writes
            if any(those - self.stored[name] for name in names)
        ]
        if not self.lost_writes:
            self.unwritten.discard("rows")

    def write_breaks(self, columns: Iterable[str], rows: range) -> set[str]:
        """Rows that are handed to storage are there; that their drops are known is asked later."""
        there = all(self.cell_resolved(CellNodeId(row, c)) for c in columns for row in rows)
        return self.over() or (set() if there else {"CKPT-08"})

    def write_begin(self, columns: Iterable[str], rows: range) -> None:
        """Rows are handed to storage, until they are reported, or all there that were not."""
        names = set(columns)
        again = self.lost_a_write() or self.stop_requested
        if not rows or not (again or self._not_stored(names, rows)):
            return
        cells = {CellNodeId(row, name) for name in names for row in rows}
        self.writes.append((names, set(rows)))
        self.again.append(set() if self._not_stored(names, rows) else cells)
        self.begin_save((frozenset(names), frozenset(rows)))
        self.end_writes()

    def _not_stored(self, names: Iterable[str], rows: Iterable[int]) -> set[CellNodeId]:
        return {CellNodeId(r, name) for name in names for r in set(rows) - self.stored[name]}

    def begin_breaks(self, claim: Held) -> set[str]:
        if self.over():
            return self.over()
        cells = self.cells_of(claim)
        broken = set() if self.pending_claim is None else {"CKPT-11"}
        if not all(map(self.may_hold, cells)):
            broken.add("CKPT-08")
        if any(self.durable_claim[name] - claim[name] for name in self.names):
            broken.add("CKPT-09")
        if not all(map(self._is_stored, cells)):
            broken.add("CKPT-10")
        if self._not_closed(claim):
            broken.add("CKPT-05")
        return broken | self._unexplained_breaks(cells)

    def begin(self, claim: Held) -> None:
        self.begun.append(claim)
        if claim != self.durable_claim:
            self.begin_save("claim", claims=True)
        self.pending_claim = claim
        self.pending_drops = set(self.recorded)

    def written_breaks(self) -> set[str]:
        return self.over() or (set() if self.pending_claim is not None else {"CKPT-11"})

    def written(self) -> None:
        assert self.pending_claim is not None
        # What was committed while it was being written stays.
        self.durable_claim = self.together(self.durable_claim, self.pending_claim)
        self.pending_claim = None
        self.durable_drops = self.durable_drops | self.pending_drops
        self.doubtful = []
        self.end_save("claim")
        self._has_claimed()

    def _has_claimed(self) -> None:
        self.unwritten.discard("claim")
        self.claimed_since = True
        self.excused.clear()
        self.saved_rows = self.held_before = self.saved_by(self.held())
        self.tried.clear()
        self.end_writes()

    def not_written(self) -> None:
        if self.pending_claim is None:
            self.excuse({name: frozenset(self._handed_over(name)) for name in self.names})
            self.claimed_since = False
            written = (self._not_stored(*write) for write in self.writes)
            known = set[CellNodeId]().union(*written)
            self.held_by_lost["rows"].update(known or self.cells_of(self.most()))
        else:
            self.held_by_lost["claim"].update(self.cells_of(self.pending_claim))
        if self.pending_claim is None:
            self.lost_writes += self.writes
            self.writes.clear()
            self.again.clear()
            self.end_writes(well=False)
        self.write_failed = True
        self.unwritten.add("rows" if self.pending_claim is None else "claim")
        most = self.most() if self.claims_sets() else self.first_rows(self.prefixes())
        self.excuse(most if self.pending_claim is None else self.pending_claim)
        if self.pending_claim is not None:
            self.doubtful.append((self.pending_claim, self.pending_drops))
        self.pending_claim = None
        self.end_save("claim", well=False)
        self.unanswered.append("write")
        self._counts_anew()

    def _handed_over(self, name: str) -> Iterator[int]:
        """The rows of a column that are being written."""
        return (row for names, rows in self.writes if name in names for row in rows)

    def _counts_anew(self) -> None:
        self.held_before = self.saved_by(self.held())
        if self.rules.save_s is None:
            self.saved_rows = self.claimable_rows()
            self.tried = set(frozenset.intersection(*self.most().values()))
        else:
            self.waits = [(self.now, self.claimable_rows())]

    def excuse(self, held: Held) -> None:
        self.excused |= set(self.cells_of(held))
        self.excused_at = self.now

    def together(self, *claims: Held) -> Held:
        return {name: frozenset().union(*(one[name] for one in claims)) for name in self.names}

    # Commits: data and claim in one write

    def commit_begin_breaks(self, new: Held, number: int | None) -> set[str]:
        """What is new, each cell with its inputs in it or claimed."""
        if self.over():
            return self.over()
        broken = {"CKPT-11"} if number in self.open_commits else set()
        if not all(map(self.may_hold, self.cells_of(new))):
            broken.add("CKPT-08")
        if self._not_closed(new, self.durable_claim):
            broken.add("CKPT-05")
        return broken | self._unexplained_breaks(self.cells_of(new))

    def commit_begin(self, new: Held, number: int | None) -> None:
        if any(new[name] - self.held()[name] for name in self.names):
            self.begin_save(f"commit {number}")
        self.open_commits[number] = new
        self.commits = True

    def committed_breaks(self, number: int | None) -> set[str]:
        return self.over() or (set() if number in self.open_commits else {"CKPT-11"})

    def committed(self, number: int | None) -> None:
        new = self.open_commits.pop(number)
        self.durable_claim = self.together(self.durable_claim, new)
        for name in self.names:
            if new[name]:
                self.store([name], new[name])
        self.end_save(f"commit {number}")
        self._has_claimed()

    def commit_failed(self, number: int | None) -> None:
        self.odd_commits.append(self.open_commits.pop(number))
        self.excuse(self.odd_commits[-1])
        self.held_by_lost["claim"].update(self.cells_of(self.odd_commits[-1]))
        self.unwritten.add("claim")
        self.write_failed = True
        self.unanswered.append("write")
        self.end_save(f"commit {number}", well=False)
        self._counts_anew()

    # Crash, resume, end

    def crash(self) -> None:
        in_flight = [node for node in self.started if self.in_flight(node)]
        self.died_in.update(in_flight)
        self.died_with.update({*in_flight, *self.just_ended, *self.to_try_again})
        self.crashed = True
        self.cut_off = self.stored_at == self.now
        self._halt()

    def _halt(self) -> None:
        rests = self.paused() or any(self.cooling.values())
        self.unanswered = ["the process before"] if rests else []
        self.writes.clear()
        self.again.clear()
        self.running.clear()
        self.ranges.clear()
        self.cooling.clear()

    def covered_drops(self, claim: Held) -> tuple[set[int], set[int]]:
        """Drops that a resume must know, and those that it may know (CKPT-17).

        It must if the claim covers a cell that nobody ever made; it may if storage can have given
        the drop back: it was recorded, and the claim holds a cell of the row.
        """
        cells = self.cells_of(claim)
        lost = {c.row for c in cells if c.row in self.dropped and c not in self.results}
        return lost, self.recorded & {cell.row for cell in cells}

    def drops_after(self, claim: Held, given_back: Spans | None) -> set[int]:
        """What storage says is dropped; if the engine keeps it to itself, what was at the claim."""
        if given_back is not None:
            return {row for span in given_back for row in range(*span)}
        if self.has_gap(claim):
            # A set tells by itself: it holds cells that were never made.
            return self.covered_drops(claim)[0]
        known = self.durable_drops
        if claim != self.durable_claim:
            written = [(self.pending_claim, self.pending_drops), *self.doubtful]
            known = next((drops for held, drops in written if held == claim), self.pending_drops)
        return known & {cell.row for cell in self.cells_of(claim)}

    def has_gap(self, claim: Held) -> bool:
        return any(rows != frozenset(range(len(rows))) for rows in claim.values())

    def covered_skips(self, claim: Held, drops: set[int]) -> dict[str, Spans]:
        """The skips of live rows that a claim covers, by column (SKIP-03)."""
        found = {
            name: spans(
                row
                for row in claim[name]
                if self.results.get(CellNodeId(row, name)) == SKIP and row not in drops
            )
            for name in self.names
        }
        return {name: rows for name, rows in found.items() if rows}

    def resumable(self) -> list[Held]:
        """Every claim that storage may give back (CKPT-12); the last durable one is the first."""
        whole = [self.durable_claim, *(held for held, _ in self.doubtful)]
        whole += [] if self.pending_claim is None else [self.pending_claim]
        commits = [*self.open_commits.values(), *self.odd_commits]
        return [
            self.together(self.durable_claim, base, *chosen)
            for base in whole
            for count in range(len(commits) + 1)
            for chosen in combinations(commits, count)
        ]

    def resume_breaks(
        self,
        claim: Held,
        *,
        dropped: Spans | None = None,
        skipped: Mapping[str, Spans] | None = None,
        records: int | None = None,
        keep: bool = False,
    ) -> set[str]:
        if not self.crashed and not self.ended:
            return {"SCHED-07"}
        if claim not in self.resumable():
            lacks = any(self.durable_claim[name] - claim[name] for name in self.names)
            shrank = all(claim[name] <= self.durable_claim[name] for name in self.names)
            if shrank and self.unwritten:
                return {"CKPT-23"}
            return {"CKPT-12", "CKPT-09"} if lacks and self.commits else {"CKPT-12"}
        broken: set[str] = set()
        must, may = self.covered_drops(claim)
        given_back = self.drops_after(claim, dropped)
        if not must <= given_back <= may:
            broken.add("CKPT-17")
        if skipped is not None:
            mine = self.covered_skips(claim, given_back)
            theirs = {
                name: spans(
                    r for span in skipped[name] for r in range(*span) if r not in given_back
                )
                for name in skipped
            }
            if mine != {name: rows for name, rows in theirs.items() if rows}:
                broken.add("SKIP-03")
        if records is not None and self._target_breaks(claim, records, given_back, keep=keep):
            broken.add("CKPT-16")
        return broken

    def resized(self, records: int) -> Definition:
        old = self.definition
        return Definition(records, old.columns, old.batch_size, old.barrier_scope)

    def _target_breaks(self, claim: Held, records: int, drops: set[int], *, keep: bool) -> bool:
        if any(row >= records for rows in claim.values() for row in rows):
            return True
        after = self.resized(records)
        for barrier, cells in self._scopes.items():
            held = [cell.row for cell in cells if cell.row in claim[cell.column]]
            claimed = [row for row in held if row not in drops]
            if claimed and not keep:
                then = after.scope(after.barrier_of(barrier.column, claimed[0]))
                if then != self.definition.scope(barrier):
                    return True
        return False

    def groups_needed(self, records: int) -> int:
        """The most row groups that the scope of a barrier has rows in (GROUP-04)."""
        definition, size = self.resized(records), self.rules.group_rows
        if size is None:
            return 0
        return max(
            (
                len({row // size for row in definition.scope(barrier)})
                for name in self.names
                for barrier in definition.barriers(name)
            ),
            default=0,
        )

    def resume(
        self,
        claim: Held,
        *,
        dropped: Spans | None = None,
        skipped: Mapping[str, Spans] | None = None,  # noqa: ARG002
        records: int | None = None,
        keep: bool = False,  # noqa: ARG002
    ) -> None:
        given_back = self.drops_after(claim, dropped)
        drops = {row: cause for row, cause in self.dropped.items() if row in given_back}
        # Of a dropped row it is known which cells were made, and not how.
        results = {
            cell: VALUE if cell.row in drops else result
            for cell, result in self.results.items()
            if cell.row in claim[cell.column]
        }
        if records is not None:
            self._define(self.resized(records))
        self.durable_claim = claim
        self.pending_claim = None
        self.doubtful = []
        self.crashed = self.ended = False
        safe = {CellNodeId(r, name) for name in self.stored for r in self.stored[name]}
        if self.cut_off:
            # It may not have come to say of all of it that it is durable.
            safe |= {cell for cell in self.results if cell.row not in self.dropped}
        for barrier, read in self.read_by.items():
            if self.cut_off or safe & set(self._scopes.get(barrier, ())):
                self.once_read.setdefault(barrier, set()).add(read)
        self.read_by.clear()
        self.stored_at, self.cut_off = None, False
        self.once_durable |= {cell for cell in safe if self.results.get(cell) == VALUE}
        self.durable_drops = self.pending_drops = set(drops)
        self._begin_life(claim, results, drops)

    def end_breaks(self, outcome: str) -> set[str]:
        if self.over():
            return self.over()
        total = len(self.rows)
        done = self.completed_rows() == total
        saved = all(self.durable(name) == total for name in self.names)
        broken = {"DROP-04"} if self.unrecorded() else set()
        if outcome == "success":
            if self.stopped:
                broken.add("STOP-03")
            if not done or (not saved and not self.lost_of("rows")):
                broken.add("SCHED-10")
            if not saved and self.lost_of("rows"):
                broken.add("CKPT-23")
            if self.makes_claims() and self.whole_rows(self.durable_claim) < total:
                broken.add("CKPT-23" if self.lost_of("claim") else "CKPT-22")
        elif outcome == "stopped":
            if not self.stopped:
                broken.add("STOP-06" if self.stop_requested else "STOP-03")
            elif self.leaves_unsaved():
                broken.add("STOP-08")
            broken |= {"STOP-09"} if self.working() else set()
        elif outcome == "interrupted":
            if not self.stop_requested:
                broken.add("STOP-06")
            if self.leaves_unsaved():
                broken.add("STOP-07")
            broken |= {"STOP-09"} if self.working() else set()
        else:
            if self.gives_up() or self.write_failed:
                broken.clear()
            if done and saved:
                broken |= set() if self.lost_of("claim") else {"STOP-04"}
            elif not self.stood_in_the_way() and self.may_go_on():
                broken.add("SCHED-14")
            if self.stopped or self.must_stop():
                if self.leaves_unsaved():
                    broken.add("STOP-08")
                if not self.lost_a_write() and not self.may_give_up() and self.working():
                    broken.add("STOP-09")
        return broken

    def claimable(self) -> set[CellNodeId]:
        """The cells that a claim of the kind that this run makes could hold (STOP-07)."""
        if self.claims_sets():
            return set(self.cells_of(self.most()))
        whole = dict.fromkeys(self.names, self.completed_rows() if self.begun else 0)
        by_column = any(len(set(claim.values())) > 1 for claim in self.begun)
        return set(self.cells_of(self.first_rows(self.prefixes() if by_column else whole)))

    def claimed_cells(self) -> set[CellNodeId]:
        return set(self.cells_of(self.durable_claim))

    def is_excused(self) -> bool:
        """A claim or rows could not be written, and no claim was written since."""
        return "claim" in self.unwritten or ("rows" in self.unwritten and not self.claimed_since)

    def known_rows(self) -> int:
        """The rows before the first drop that is not recorded."""
        return min(self.unrecorded(), default=len(self.rows))

    def makes_claims(self) -> bool:
        """A process of the run began a claim or a commit, or the run is to claim (CKPT-22)."""
        return bool(self.begun) or self.commits or self.rules.claims_any

    def leaves_unsaved(self) -> bool:
        """Something could be claimed and is not; of a run without claims, could be durable."""
        excused = self.excused if self.is_excused() else set()
        if self.makes_claims():
            left = self.claimable() - self.claimed_cells() - excused
            return any(cell.row < self.known_rows() for cell in left)
        done = min(self.completed_rows(), self.known_rows())
        live = set(range(done)) - set(self.dropped)
        left = {CellNodeId(row, name) for name in self.names for row in live - self.stored[name]}
        return self.has_stored and bool(left - excused)

    def stood_in_the_way(self) -> bool:
        """Something excuses that the run gives up; that somebody asks for a stop does not."""
        early = self.stopped or self.must_stop()
        return self.write_failed or bool(self.gave_up) or early or self.may_give_up()

    def lost_of(self, kind: str) -> bool:
        """A write of this kind failed in this process, and what it held is not safe."""
        safe = self.claimed_cells() if kind == "claim" else set(self.cells_of(self.stored_cells()))
        return kind in self.unwritten or bool(self.held_by_lost[kind] - safe)

    def stored_cells(self) -> Held:
        return {name: frozenset(rows) for name, rows in self.stored.items()}

    def lost_a_write(self) -> bool:
        return self.lost_of("rows") or self.lost_of("claim")

    def may_give_up(self) -> bool:
        """A node failed for good in an engine that does not claim to go on without rows."""
        lost = any(self.failed_for_good(node) for node, _ in self.failed)
        return lost and not self.rules.drops

    def may_go_on(self) -> bool:
        """There is something to do, to wait for, or to save; a request to stop is no obstacle."""
        asked, self.stop_requested = self.stop_requested, False
        try:
            return self._has_a_way()
        finally:
            self.stop_requested = asked

    def _has_a_way(self) -> bool:
        if self.completed_rows() == len(self.rows) or self.running or self.ranges:
            return True
        later = any(self._start_breaks(node) == {"FAIL-03"} for node in self.cooling)
        cells = [CellNodeId(row, name) for row in self.rows for name in self.names]
        skips = any(not self.skip_breaks(cell) for cell in cells)
        return bool(self.startable()) or later or skips or self._groups_may_move()

    def _groups_may_move(self) -> bool:
        """A row group that has work left may be admitted, now or once another one has retired."""
        outside = [g for g in self.groups() if g not in self.was_admitted]
        if all(self.group_resolved(group) for group in outside):
            return False
        return bool(self.waiting_groups()) or any(map(self.group_resolved, self.admitted))

    def end(self) -> None:
        self.ended = True
        self._halt()
