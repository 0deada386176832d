"""Large random workloads, swarm fashion.

A workload is a function of one seed and of a few *knobs*, numbers from 0 to 1 that say how much of
something there is. Swarm testing (Groce et al., ISSTA 2012) found that leaving features out at
random finds more than having each in every test: so each feature is in a workload or not, by a coin
of its own, and a knob says how much of it if it is. The targeted search turns the knobs.

Every workload is legal: each draw is brought into its range.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cellspec.conformance.campaign.variations import varied
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.fuzz.mishaps import with_mishaps
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.policy import within_budget

__all__ = ["KNOBS", "Knobs", "Size", "workload"]

_T = ExecutionTraits

_ANSWERS: tuple[tuple[Failure, ...], ...] = (
    ("retryable",),
    ("retryable", "retryable"),
    ("backpressure",),
    ("backpressure", "retryable", "backpressure"),
)
_LAST_ANSWERS: tuple[tuple[Failure, ...], ...] = (
    ("permanent",),
    ("retryable", "permanent"),
    ("backpressure", "permanent"),
    ("retryable",) * 4,
)
_BACKOFFS_S = (0.0, 0.25, 1.0, 3.0)


@dataclass(frozen=True, slots=True)
class Size:
    """How large workloads get.

    Attributes:
        columns: the fewest and the most columns.
        rows: the fewest and the most rows.
        cells: the most cells: a wide pipeline has fewer rows.
    """

    columns: tuple[int, int] = (3, 24)
    rows: tuple[int, int] = (20, 300)
    cells: int = 1_500


@dataclass(frozen=True, slots=True)
class Knobs:
    """The knobs of a workload, each from 0 to 1.

    Attributes:
        barriers: of the columns, how many are barriers.
        edges: how many of the columns before it a column needs.
        slots: how many calls may run at once.
        faults: how many calls fail.
        lateness: how late in its incarnation a process crashes.
        saving: how often claims are written.
        mishaps: how many calls time out or reject their row, writes fail, workers are lost and
            cells end the process.
    """

    barriers: float = 0.3
    edges: float = 0.4
    slots: float = 0.3
    faults: float = 0.2
    lateness: float = 0.6
    saving: float = 0.5
    mishaps: float = 0.0


KNOBS: tuple[str, ...] = tuple(Knobs.__dataclass_fields__)
"""The names of the knobs, in order."""


def workload(
    seed: int, capabilities: Collection[str], size: Size = Size(), knobs: Knobs | None = None
) -> Workload:
    """One workload.

    Args:
        seed: the seed of the draws.
        capabilities: the capabilities that it may use (see `cellspec.conformance.run.backend`).
        size: how large it gets.
        knobs: its knobs; by default drawn too.
    """
    draw = _Draw(seed, frozenset(capabilities), size, knobs)
    return draw.with_more(draw.workload())


class _Draw:
    """The draws of one workload, in order."""

    def __init__(self, seed: int, known: frozenset[str], size: Size, knobs: Knobs | None) -> None:
        self.dice = dice = random.Random(seed)
        # What came later, so that all else is drawn as it was before.
        self.more = random.Random(f"{seed} more")
        # The coins of the swarm; a capability without a coin is used whenever it is known.
        tossed = ("batch_barriers", "groups", "streaming", "ordered", "retries", "drops", "skips")
        self.has = {name: name in known and dice.random() < 0.6 for name in tossed}
        self.has["resume"] = "resume" in known and dice.random() < 0.7
        self.known = known
        self.size = size
        self.knobs = knobs or Knobs(*[*(dice.random() for _ in KNOBS[:-1]), self.more.random()])
        low, high = size.columns
        # Small numbers as often as large ones.
        self.width = round(low * (high / low) ** dice.random())
        low, high = size.rows
        most = max(low, min(high, size.cells // self.width))
        self.rows = round(low * (most / low) ** dice.random())
        self.batch_size = max(1, round(self.rows * dice.choice((0.05, 0.1, 0.3, 0.5, 1.1))))
        self.batched: Collection[int] = ()
        self.most_rows = self.rows

    def workload(self) -> Workload:
        dice = self.dice
        columns = [self._column(place) for place in range(self.width)]
        scope = "batch" if self.has["batch_barriers"] and dice.random() < 0.2 else "declared"
        crashes, targets = self._incarnations()
        self.most_rows = max((self.rows, *targets))
        batched = scope == "batch" or any(_T.BATCH_BARRIER in one.traits for one in columns)
        draft = Workload(
            columns=tuple(columns),
            rows=self.rows,
            batch_size=self.batch_size if batched else None,
            barrier_scope="batch" if scope == "batch" else "declared",
            targets=targets,
        )
        policy = self._policy()
        every = max(1, round(self.rows ** (1 - self.knobs.saving))) if self.has["resume"] else None
        work = draft.replace(
            seed=dice.randrange(1 << 30),
            limits=self._limits(draft),
            failures=policy,
            latency_s={one.name: dice.choice((0.0625, 0.25, 1.0, 4.0)) for one in columns},
            faults=self._faults(draft, policy),
            skips=self._skips(columns),
            checkpoint_every_rows=every,
            checkpoint_version=2
            if "column_checkpoints" in self.known and dice.random() < 0.6
            else 1,
            crashes=self._steps(draft, crashes, every),
            order_seed=dice.randrange(16),
            keep=bool(targets) and dice.random() < 0.5,
        )
        # Drawn last, so that all else is drawn as it was before there were stop requests.
        if "interrupts" not in self.known or dice.random() < 0.7:
            return work
        asked = [dice.random() for _ in range(1 + len(crashes) if self.has["resume"] else 1)]
        return work.replace(
            stop_at=self._steps(draft, asked, every), stop_twice=dice.random() < 0.3
        )

    def with_more(self, work: Workload) -> Workload:
        """The workload with what came later: set claims, mishaps, and the campaign's variations."""
        dice, every = self.more, work.checkpoint_every_rows
        if every and not self.known.isdisjoint(("set_claims", "commits")) and dice.random() < 0.5:
            work = work.replace(checkpoint_version=3)
        if dice.random() < 0.5:
            work = varied(work, self.known)
        return with_mishaps(
            work,
            dice,
            self.known,
            amount=self.knobs.mishaps,
            steps=lambda share: self._steps(work, (share,), every)[0],
        )

    def _column(self, place: int) -> ColumnDescriptor:
        dice = self.dice
        traits = _T.START if dice.random() < 0.3 else _T.NONE
        drawn = dice.random()
        if drawn < 0.5 * self.knobs.barriers:
            batched = self.has["batch_barriers"] and dice.random() < 0.6
            traits |= _T.BATCH_BARRIER if batched else _T.BARRIER
        elif self.has["streaming"] and dice.random() < 0.3:
            traits |= _T.ROW_STREAMABLE
        barrier = bool(traits & (_T.BARRIER | _T.BATCH_BARRIER))
        if self.has["ordered"] and dice.random() < 0.2:
            traits |= _T.ORDERED
        before = range(place)
        near = [one for one in before if dice.random() < 2 ** (one - place) + self.knobs.edges / 4]
        needs = [f"c{one}" + ("_more" if one % 5 == 4 else "") for one in near]
        skips = self.has["skips"]
        return ColumnDescriptor(
            f"c{place}",
            traits=traits,
            dependencies=needs,
            side_effects=[f"c{place}_more"] if place % 5 == 4 else [],
            may_skip=skips and not barrier and dice.random() < 0.3,
            propagate_skip=not skips or dice.random() < 0.8,
        )

    def _incarnations(self) -> tuple[list[float], tuple[int, ...]]:
        """Crashes as shares of an incarnation, and the rows of each incarnation."""
        dice = self.dice
        if not self.has["resume"]:
            return [], ()
        late = self.knobs.lateness
        crashes = [min(1.1, dice.random() + late / 2) for _ in range(dice.choice((1, 1, 2, 3)))]
        if "targets" not in self.known or dice.random() < 0.7:
            return crashes, ()
        later = [
            max(1, round(self.rows * dice.choice((0.6, 1.0, 1.2, 1.5))))
            for _ in range(len(crashes))
        ]
        return crashes, (self.rows, *later)

    def _steps(
        self, draft: Workload, crashes: Sequence[float], every: int | None
    ) -> tuple[int, ...]:
        """Crash points, or stop requests, as steps.

        A call takes two, and each time that rows are saved a few.
        """
        graph = draft.graph()
        saves = self.rows // every if every else 0
        steps = 2 * graph.num_nodes + saves * (12 if "storage_steps" in self.known else 4)
        return tuple(1 + round(share * steps) for share in crashes)

    def _limits(self, draft: Workload) -> Limits:
        dice = self.dice
        slots = max(1, round(64**self.knobs.slots))
        resources = {"r": max(1, slots // 2), "s": 1 + slots // 4}
        used = {one.name: dice.choice("rs") for one in draft.columns if dice.random() < 0.4}
        workers = None if dice.random() < 0.1 else slots
        resources = {name: most for name, most in resources.items() if name in used.values()}
        if not self.has["groups"]:
            return Limits(workers, resources, used)
        size = max(1, round(self.rows * dice.choice((0.05, 0.2, 0.5))))
        rules = draft.graph(max(range(draft.incarnations), key=draft.rows_of)).rules
        touched = 1
        for rule in rules.columns:
            for scope in range(rules.scope_count(rule.index)):
                start, stop = rules.scope_bounds(rule.index, scope)
                touched = max(touched, -(-stop // size) - start // size)
        return Limits(workers, resources, used, size, touched + dice.choice((0, 0, 1, 2)))

    def _policy(self) -> FailurePolicy:
        dice = self.dice
        attempts = dice.choice((2, 3)) if self.has["retries"] else 1
        if self.has["drops"] and "early_stop" in self.known and dice.random() < 0.2:
            rate = dice.choice((1.0, 0.5, 0.3, dice.randint(1, 100) / 100))
            return FailurePolicy(attempts, dice.choice((5, 10, 20, 25, 50)), rate)
        return FailurePolicy(attempts)

    def _faults(self, draft: Workload, policy: FailurePolicy) -> tuple[Fault, ...]:
        dice = self.dice
        chains: list[tuple[Failure, ...]] = []
        if self.has["retries"]:
            chains += _ANSWERS
        if self.has["drops"]:
            chains += _LAST_ANSWERS
        if not chains:
            return ()
        rules = draft.graph(max(range(draft.incarnations), key=draft.rows_of)).rules
        made: dict[tuple[str, int], tuple[Fault, ...]] = {}
        for _ in range(round(self.knobs.faults * 40)):
            column = dice.randrange(self.width)
            position = dice.randrange(rules.scope_count(column) or self.most_rows)
            answers = dice.choice(chains)
            if not self.has["drops"]:
                answers = within_budget(answers, policy.max_attempts)
            name = rules.columns[column].name
            wait_s = dice.choice(_BACKOFFS_S)
            made[name, position] = tuple(
                Fault(name, position, call, failure, wait_s)
                for call, failure in enumerate(answers, 1)
            )
        return tuple(fault for faults in made.values() for fault in faults)

    def _skips(self, columns: Sequence[ColumnDescriptor]) -> tuple[tuple[str, int], ...]:
        dice = self.dice
        found = []
        for one in columns:
            share = dice.choice((0.05, 0.3, 1.0))
            if one.may_skip:
                found += [(one.name, row) for row in range(self.most_rows) if dice.random() < share]
        return tuple(found)
