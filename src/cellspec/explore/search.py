"""The search: every state of one graph, breadth first, with the clauses judged at each step.

A state has two halves. Its *base* holds the running and the done nodes: one integer, see
`cellspec.explore.relation`. Its *history* holds the claims on storage and the faults so far: the
last durable claim, the claim being written, and how many crashes, retries, drops, stops and
losses are spent.

==================  ================================================================================
step                changes
==================  ================================================================================
start               base: a node is in flight
complete            base: a node in flight is resolved; one of a dropped row is no longer in flight
checkpoint_begin    history: a claim is being written; its data was made durable first
checkpoint_durable  history: that claim is the last durable one
crash               both: the process dies, storage gives back a claim, a new one resumes from it
fail retryable      both: a call fails, and the node is as if it had never been started
fail permanent      both: a call fails for good; the rows that want it are dropped
stop_requested      history: from now on the run is stopping; only output cells start
interrupt           both: the run ends as interrupted, and a new process resumes
lose                both: a result that is not durable is gone; its node is pending again
admit               base: a row group is admitted; it retires with its last cell
==================  ================================================================================

The end of the run is invisible to every other step. So it is a property of a state, not a step.

The search is fast because start and end steps depend on the base alone, and hardly any step looks
at the history. So all histories with which one base was reached go through a step
together, as the bits of one integer: bit ``x * block + slot * claims + d`` is the history with
faults x, the claim being written `slot` − 1 (0: none), and the durable claim d. One addition to a
dictionary moves them all, and the result is exact: level n of the search is the set of states that
are n steps away, with all their histories.

The search is a loop, and stores levels only on demand: when a clause breaks, it is run again as far
as that level with its levels kept, and the way is found backwards through them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cellspec.explore.histories import Histories
from cellspec.explore.invariants import Invariants
from cellspec.explore.losing import Losses
from cellspec.explore.relation import Relation, bits
from cellspec.explore.resuming import Resumes
from cellspec.explore.steps import State, Step
from cellspec.explore.stopping import Stopping
from cellspec.explore.symmetry import may_reduce, sorted_rows

__all__ = ["Search", "SearchResult"]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search of one graph.

    Attributes:
        states: distinct states.
        transitions: steps out of them, counted once for each state and step.
        bases: distinct bases.
        depth: steps to the state that is furthest away.
        ends: states in which the run may report success.
        clause: the clause that is broken, or "".
        path: the shortest way to break it, if there is one; the last step may be one that is not
            allowed.
        trap: the path leads to a state from which every good end is out of reach.
    """

    states: int
    transitions: int
    bases: int
    depth: int
    ends: int
    clause: str = ""
    path: tuple[Step, ...] = ()
    trap: bool = False


class _Done:
    """The answers that depend on the set of done nodes alone; computed once for each set."""

    __slots__ = ("bad", "begins", "broken", "forbidden", "is_end", "ready")

    ready: int
    forbidden: int
    begins: list[tuple[int, int]]
    bad: int
    broken: list[tuple[int, str]]
    is_end: bool


@dataclass(slots=True)
class _Violation:
    level: int
    clause: str
    # The state before the step, or the state itself if it breaks the clause.
    state: State
    step: Step | None


@dataclass(slots=True)
class _Tally:
    transitions: int = 0
    ends: int = 0
    depth: int = 0
    violation: _Violation | None = None


class Search:
    """Every state of one graph.

    Args:
        relation: the steps.
        invariants: the judge of steps and states.
        symmetric: count states that differ in the order of rows once. Sound only if rows are
            interchangeable; see `may_reduce`.

    Raises:
        ValueError: symmetric, for rows that are not interchangeable.
    """

    def __init__(
        self, relation: Relation, invariants: Invariants, *, symmetric: bool = False
    ) -> None:
        if symmetric and not may_reduce(relation):
            raise ValueError("rows are not interchangeable here")
        self.relation, self.invariants = relation, invariants
        self.histories = Histories(relation)
        self._resumes = Resumes(relation, invariants, self.histories)
        self._stopping = Stopping(relation, invariants, self.histories, self._resumes)
        size = relation.size
        self._done = (1 << size) - 1
        # The answers for a base without its calls in flight, by that base.
        self._known: dict[int, _Done] = {}
        self._settled = ((1 << 2 * size + len(relation.row_cells)) - 1) & ~(self._done << size)
        self._all_claims = (1 << len(relation.claims)) - 1
        self._losses = Losses(relation, invariants, self.histories)
        self._steps: dict[int, list[int]] = {}
        self._fault_steps: dict[int, list[tuple[Step, int, str]]] = {}
        self._canonical = partial(sorted_rows, relation) if symmetric else None
        self._expand = self._compile_expand()

    def start(self) -> State:
        """The state before the first step, without done nodes and claims."""
        return State(self.relation.restored[0], 0)

    def run(self, progress: Callable[[int], object] | None = None) -> SearchResult:
        """Explore; stops at the first level at which a clause breaks."""
        seen: dict[int, int] = {}
        tally = self._explore(seen, None, progress)
        if tally.violation is None:
            self._find_trap(seen, tally)
        states = sum(map(int.bit_count, seen.values()))
        found = SearchResult(states, tally.transitions, len(seen), tally.depth, tally.ends)
        return found if tally.violation is None else self._explain(found)

    # The levels

    def _explore(
        self,
        seen: dict[int, int],
        levels: list[dict[int, int]] | None,
        progress: Callable[[int], object] | None = None,
    ) -> _Tally:
        tally = _Tally()
        start = self.start()
        level: dict[int, int] = {start.base: 1 << start.history}
        seen.update(level)
        number = 0
        while level:
            if levels is not None:
                levels.append(level)
            tally.depth = number
            if progress is not None:
                progress(len(seen))
            following = self._advance(level, number, tally)
            if tally.violation is not None:
                break
            level = {}
            for base, found in following.items():
                known = seen.get(base, 0)
                new = found & ~known
                if new:
                    level[base] = new
                    seen[base] = known | new
            number += 1
        return tally

    def _advance(self, level: dict[int, int], number: int, tally: _Tally) -> defaultdict[int, int]:
        """Every state one step from a level; the first step that breaks a clause ends it."""
        following: defaultdict[int, int] = defaultdict(int)
        histories = self.histories
        steps_of, about_of, settled = self._steps, self._known, self._settled
        may_save, may_crash, writing = histories.may_save, histories.may_crash, histories.writing
        stopping, has_stops = histories.stopping, bool(histories.stopping)
        has_faults = histories.may_retry | histories.may_fail
        may_lose = histories.may_lose
        of_row = 2 * self.relation.size
        crashing: dict[int, int] = {}
        transitions = 0
        for base, found in level.items():
            about = about_of.get(base & settled) or self._about(base)
            if about.bad & found:
                tally.violation = self._wrong(base, about, found, number)
                return following
            steps = steps_of.get(base)
            if steps is None:
                steps = steps_of[base] = []
                broken = self._expand(base, about, steps)
                if broken is not None:
                    state = State(base, (found & -found).bit_length() - 1)
                    tally.violation = _Violation(number + 1, broken[1], state, broken[0])
                    break
            running = found & ~stopping if has_stops else found
            transitions += len(steps) * running.bit_count()
            for other in steps:
                following[other] |= running
            if about.is_end:
                tally.ends += found.bit_count()
            if has_faults:
                transitions += self._fault(base, found, number, tally, following)
            if has_stops:
                transitions += self._stops(base, about, found, number, tally, following)
            if may_lose & found:
                transitions += self._loss(base, found, number, tally, following)
            saved = found & may_save
            if saved:
                crash = saved & may_crash
                if crash:
                    dropped = base >> of_row
                    crashing[dropped] = crashing.get(dropped, 0) | crash
                    transitions += crash.bit_count()
                if about.begins or saved & writing:
                    moved, count = self._storage(saved, about)
                    transitions += count
                    following[base] |= moved
        tally.transitions += transitions
        for dropped, crash in crashing.items():
            if tally.violation is None:
                self._crash(dropped, crash, number, tally, level, following)
        if tally.violation is not None:
            # A state of this level that is wrong is one step nearer.
            for base, found in level.items():
                about = self._about(base)
                if about.bad & found:
                    tally.violation = self._wrong(base, about, found, number)
                    break
        return following

    def _wrong(self, base: int, about: _Done, found: int, number: int) -> _Violation | None:
        """The clause that one of the states of a base breaks, if there is one."""
        for wrong, clause in about.broken:
            bad = wrong & found
            if bad:
                return _Violation(number, clause, State(base, (bad & -bad).bit_length() - 1), None)
        return None

    def _stops(
        self,
        base: int,
        about: _Done,
        found: int,
        number: int,
        tally: _Tally,
        following: defaultdict[int, int],
    ) -> int:
        """Requests to stop, and the steps of a run that is stopping; gives how many there are."""
        begins = 0
        for mask, _ in about.begins:
            begins |= mask
        moves, count, broken = self._stopping.advance(base, about.ready, begins, found)
        for other, moved in moves:
            following[other] |= moved
        if broken is not None and tally.violation is None:
            level = number + (broken.step is not None)
            state = State(base, broken.history)
            tally.violation = _Violation(level, broken.clause, state, broken.step)
        return count

    def _loss(
        self, base: int, found: int, number: int, tally: _Tally, following: defaultdict[int, int]
    ) -> int:
        """Results that are lost with a worker; gives how many steps there are."""
        count = 0
        for step, histories, other, clause in self._losses.of(base):
            may = found & histories
            if may:
                if clause and tally.violation is None:
                    state = State(base, (may & -may).bit_length() - 1)
                    tally.violation = _Violation(number + 1, clause, state, step)
                following[other] |= may << self.histories.of_loss
                count += may.bit_count()
        return count

    def _storage(self, saved: int, about: _Done) -> tuple[int, int]:
        """Histories that begin or finish a claim: where they go, and how many steps these are.

        Crashes in the middle of a write are counted too; `_crash` takes them, all bases at once.
        """
        writes = saved & self.histories.writing
        count = moved = 0
        for mask, shift in about.begins:
            may = saved & mask
            if may:
                count += may.bit_count()
                moved |= may << shift
        if writes:
            # It becomes durable; or the process dies, and finds the new claim, or a torn one.
            died = (writes & self.histories.may_crash).bit_count()
            count += writes.bit_count() + died * (2 if self.relation.faults.torn else 1)
            moved |= self.histories.written(writes)
        return moved, count

    def _about(self, base: int) -> _Done:
        key = base & self._settled
        about = self._known.get(key)
        if about is None:
            about = self._known[key] = self._ask(base & self._done, base >> 2 * self.relation.size)
        return about

    def _ask(self, done: int, dropped: int) -> _Done:
        relation, invariants, about = self.relation, self.invariants, _Done()
        about.ready = relation.ready(done)
        about.forbidden, unsettled = invariants.look(done, dropped)
        about.is_end = relation.is_end(done)
        bad, clause = invariants.states(done, unsettled)
        wrong = {clause: bad} if bad else {}
        begins: dict[int, int] = {}
        versions = relation.faults.versions if relation.faults.saves else ()
        for durable in bits(self._all_claims & ~bad):
            clause = ""
            for version in versions:
                if clause:
                    break
                claim = relation.claim_after(version, done, dropped, durable)
                clause = invariants.reported(version, claim, done, dropped, durable)
                index = relation.may_claim(claim, dropped, durable)
                if index is not None and not begins.get(index, 0) >> durable & 1:
                    begins[index] = begins.get(index, 0) | 1 << durable
            if clause:
                wrong[clause] = wrong.get(clause, 0) | 1 << durable
        if about.is_end:
            clause = invariants.success(done)
            if clause:
                wrong[clause] = self._all_claims
        histories = self.histories
        about.broken = [(histories.with_durable(mask), clause) for clause, mask in wrong.items()]
        about.bad = 0
        for mask, _ in about.broken:
            about.bad |= mask
        about.begins = [
            (histories.may_begin(mask), (index + 1) * histories.claims)
            for index, mask in begins.items()
        ]
        return about

    def _compile_expand(self) -> Callable[[int, _Done, list[int]], tuple[Step, str] | None]:
        """The function that finds the start and end steps of a base, and the first that breaks a
        clause.

        This is the innermost loop of the search, so all that it needs is bound once. Without limits
        and without a rule broken on purpose, it finds the steps inline, without a call of the
        relation.
        """
        relation, invariants = self.relation, self.invariants
        size, every = relation.size, self._done
        kind = type(relation)
        is_plain = relation.faults.workers is None and kind.startable is Relation.startable
        startable = None if is_plain else relation.startable
        endable = None if kind.endable is Relation.endable else relation.endable
        canonical, judged_alone = self._canonical, invariants.workers is not None
        has_groups = bool(relation.groups)
        # By set of nodes: the number that each start adds to a base, and that each end takes.
        added: dict[int, list[int]] = {}
        taken: dict[int, list[int]] = {}

        def expand(base: int, about: _Done, steps: list[int]) -> tuple[Step, str] | None:
            flight = base >> size & every
            ready = about.ready
            starts = ready & ~flight if startable is None else startable(ready, flight)
            if starts & (about.forbidden | flight) or judged_alone:
                done, dropped = base & every, base >> 2 * size
                wrong = invariants.starts(done, flight, dropped, starts, about.forbidden)
                if wrong is not None:
                    return Step("start", wrong[0]), wrong[1]
            if starts not in added:
                added[starts] = [1 << place + size for place in bits(starts)]
            for more in added[starts]:
                steps.append(base + more)
            if has_groups:
                wrong = _admissions(relation, invariants, base, steps)
                if wrong is not None:
                    return Step("admit", wrong[0]), wrong[1]
            ends = flight if endable is None else endable(base & every, flight)
            if ends & ~flight:
                place = next(bits(ends & ~flight))
                clause = invariants.end(flight, place)
                if clause:
                    return Step("complete", place), clause
            if base >> 2 * size or ends & base:
                steps += [relation.complete(base, place) for place in bits(ends)]
            else:
                if ends not in taken:
                    taken[ends] = [(1 << n + size) - (1 << n) for n in bits(ends)]
                for less in taken[ends]:
                    steps.append(base - less)
            if canonical is not None:
                steps[:] = [canonical(other) for other in steps]
            return None

        return expand

    def _fault(
        self,
        base: int,
        found: int,
        number: int,
        tally: _Tally,
        following: defaultdict[int, int],
    ) -> int:
        """Calls in flight that fail; gives how many steps there are."""
        histories = self.histories
        steps = self._fault_steps.get(base)
        if steps is None:
            steps = self._fault_steps[base] = list(_failures(self.relation, self.invariants, base))
        count = 0
        for step, other, clause in steps:
            again = step.outcome == "retryable"
            may = found & (histories.may_retry if again else histories.may_fail)
            if may:
                if clause and tally.violation is None:
                    state = State(base, (may & -may).bit_length() - 1)
                    tally.violation = _Violation(number + 1, clause, state, step)
                moved = may << (histories.of_retry if again else histories.of_fail)
                following[other if self._canonical is None else self._canonical(other)] |= moved
                count += may.bit_count()
        return count

    def _crash(
        self,
        dropped: int,
        crash: int,
        number: int,
        tally: _Tally,
        level: dict[int, int],
        following: defaultdict[int, int],
    ) -> None:
        """All histories that crash with these rows dropped, and the claims they resume from."""
        for history in bits(crash):
            for step, other, clause in self._resumes.after("crash", history, dropped):
                if clause:
                    base = next(
                        base
                        for base, new in level.items()
                        if new >> history & 1 and base >> 2 * self.relation.size == dropped
                    )
                    tally.violation = _Violation(number + 1, clause, State(base, history), step)
                    return
                following[other.base] |= 1 << other.history

    # No trap

    def _find_trap(self, seen: dict[int, int], tally: _Tally) -> None:
        """Look for traps: states from which the engine's own steps miss every good end.

        Backward reachability over start and end steps from the good ends, to a fixed point: cycles
        need no special care. Crashes, retries and drops come from outside, so a run must not count
        on one; and checkpoints are independent of running calls. The first trap reached is
        reported.
        """
        trap = _first_trap(seen, self._steps, lambda base: self._about(base).is_end)
        clause = "" if trap is None else self.invariants.trap(trap & self._done)
        if trap is not None and clause:
            tally.violation = _Violation(-1, clause, State(trap, -1), None)

    # One state at a time

    def steps(self, state: State) -> Iterator[tuple[Step, State]]:
        """Every step from a state, in a fixed order, without the symmetry of rows."""
        relation, histories = self.relation, self.histories
        base, history = state
        size = relation.size
        flight, dropped = base >> size & self._done, base >> 2 * size
        about, mask = self._about(base), 1 << history
        if mask & histories.stopping:
            for step, other in self._stopping.nodes(base, about.ready):
                yield step, State(other, history)
        else:
            for place in bits(relation.startable(about.ready, flight)):
                yield Step("start", place), State(base | 1 << place + size, history)
            for place in bits(flight):
                yield Step("complete", place), State(relation.complete(base, place), history)
            for place in bits(relation.admissible(base & self._done, flight)):
                yield Step("admit", place), State(relation.admit(base, place), history)
        for place in bits(relation.failable(base)):
            if mask & histories.may_retry:
                after = State(relation.retry(base, place), history + histories.of_retry)
                yield Step("fail", place, "retryable"), after
            if mask & histories.may_fail:
                after = State(relation.fail(base, place), history + histories.of_fail)
                yield Step("fail", place, "permanent"), after
        for step, may, lost, _ in self._losses.of(base) if histories.may_lose else ():
            if mask & may:
                yield step, State(lost, history + histories.of_loss)
        if mask & histories.may_request:
            yield Step("stop_requested"), State(base, history + histories.of_stop)
        if histories.stopping and not flight:
            for may, _ in self._stopping.interruptible(base & self._done, dropped):
                if mask & may:
                    for step, resumed, _ in self._resumes.after("interrupt", history, dropped):
                        yield step, resumed
        if not mask & histories.may_save:
            return
        for may, shift in about.begins:
            if mask & may:
                claim = shift // histories.claims - 1
                yield Step("checkpoint_begin", claim), State(base, history + shift)
        pending = histories.claims_of(history)[1]
        if pending is not None:
            yield (
                Step("checkpoint_durable", pending),
                State(base, histories.written(mask).bit_length() - 1),
            )
        if mask & histories.may_crash:
            for step, resumed, _ in self._resumes.after("crash", history, dropped):
                yield step, resumed

    # The way to a violation

    def _explain(self, found: SearchResult) -> SearchResult:
        """Search again with the levels kept, rows told apart, and find the way back."""
        plain = Search(self.relation, self.invariants)
        seen: dict[int, int] = {}
        levels: list[dict[int, int]] = []
        tally = plain._explore(seen, levels)
        if tally.violation is None:
            plain._find_trap(seen, tally)
        violation = tally.violation
        assert violation is not None
        path = [] if violation.step is None else [violation.step]
        state = violation.state
        if violation.level < 0:
            last = next(number for number, new in enumerate(levels) if state.base in new)
            new = levels[last][state.base]
            state = State(state.base, (new & -new).bit_length() - 1)
        else:
            last = violation.level - len(path)
        for level in reversed(levels[:last]):
            step, state = _step_before(plain, level, state)
            path.append(step)
        path.reverse()
        return replace(
            found,
            clause=violation.clause,
            path=tuple(path),
            trap=violation.clause in ("SCHED-12", "GROUP-08"),
        )


def _first_trap(
    seen: Iterable[int], steps: Mapping[int, Sequence[int]], is_end: Callable[[int], bool]
) -> int | None:
    """The first base from which steps lead to no end; None if there is none."""
    good: set[int] = set()
    # Most steps lead to states reached later, so one pass from the back finds nearly all.
    order = list(seen)
    order.reverse()
    before = -1
    while before < len(good) < len(order):
        before = len(good)
        for base in order:
            if not good.isdisjoint(steps[base]) or is_end(base):
                good.add(base)
    return next((base for base in reversed(order) if base not in good), None)


def _step_before(search: Search, level: dict[int, int], target: State) -> tuple[Step, State]:
    for base, found in level.items():
        for history in bits(found):
            state = State(base, history)
            for step, other in search.steps(state):
                if other == target:
                    return step, state
    raise AssertionError("a state of one level has no step from the level before")


def _admissions(
    relation: Relation, invariants: Invariants, base: int, steps: list[int]
) -> tuple[int, str] | None:
    """The admissions from a base, added to its steps, and the first that breaks a clause."""
    done = base & relation.every
    admits = relation.admissible(done, base >> relation.size & relation.every)
    steps += [relation.admit(base, place) for place in bits(admits)]
    return invariants.admissions(done, bits(admits))


def _failures(
    relation: Relation, invariants: Invariants, base: int
) -> Iterator[tuple[Step, int, str]]:
    """The ways in which calls in flight may fail: each with the base, and a broken clause."""
    for place in bits(relation.failable(base)):
        yield Step("fail", place, "retryable"), relation.retry(base, place), ""
        other = relation.fail(base, place)
        clause = invariants.fail(base, other, place)
        yield Step("fail", place, "permanent"), other, clause
