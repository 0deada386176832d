"""The pipeline of a workload: rows and columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.size import Knobs, Size
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import BarrierScope
from cellspec.graph.rowset import parts_touched

__all__ = ["Shape", "draw_shape"]

_T = ExecutionTraits
_BARRIERS = _T.BARRIER | _T.BATCH_BARRIER
_CELLS_ALONE = frozenset({"skips", "killer_cells", "streaming"})
"""Features of columns that are no barriers."""
_NAMES = "abcdefghijklmnopqrstuvwxyz"
_LATENCIES_S = (0.5, 0.0625, 0.25, 2.0, 0.0)


@dataclass(slots=True)
class Shape:
    """A pipeline; later draws refer to columns by number.

    Attributes:
        rows: of the first incarnation.
        columns: in the order of the pipeline.
        barriers: the numbers of those that are barriers.
        batch_size, barrier_scope, latency_s: as of the workload.
        many: it has many more rows than usual.
        most_rows: of any incarnation.
    """

    rows: int
    columns: list[ColumnDescriptor] = field(default_factory=list)
    barriers: list[int] = field(default_factory=list)
    batch_size: int | None = None
    barrier_scope: BarrierScope = "declared"
    latency_s: dict[str, float] = field(default_factory=dict)
    many: bool = False
    most_rows: int = 0

    def scope_rows(self, column: int) -> int:
        """Rows of one scope of a barrier, over the largest dataset that is asked for."""
        batched = _T.BATCH_BARRIER in self.columns[column].traits
        if self.batch_size is not None and (batched or self.barrier_scope == "batch"):
            return self.batch_size
        return self.most_rows

    def positions(self, column: int) -> int:
        """How many nodes of a column can fail: its rows, or its scopes."""
        if column not in self.barriers:
            return self.most_rows
        return -(-self.most_rows // self.scope_rows(column))

    def name(self, column: int) -> str:
        """The name of a column."""
        return self.columns[column].name

    def groups_of_a_scope(self, group_rows: int) -> int:
        """How many row groups a scope touches at most; 1 without a barrier."""
        return max(
            (len(parts_touched(*scope, group_rows)) for scope in self._scopes()),
            default=1,
        )

    def _scopes(self) -> Iterator[tuple[int, int]]:
        for size in {self.scope_rows(column) for column in self.barriers}:
            for start in range(0, self.most_rows, size):
                yield start, min(start + size, self.most_rows)

    def step_count(self, every: int | None, known: Collection[str]) -> int:
        """Steps of a run, about: two of each call, and those of each time that rows are saved.

        Args:
            every: rows between two saves; None for one save at the end.
            known: the capabilities of the engine.
        """
        calls = sum(map(self.positions, range(len(self.columns))))
        saves = 1 if every is None else -(-self.most_rows // every)
        return 2 * calls + saves * (12 if "storage_steps" in known else 4)


def _count(choices: Choices, low: int, high: int) -> int:
    """How many there are of a thing, of which little can go wrong with the fewest.

    Of a few the fewest are half as likely as the others; of many, small numbers come as often as
    large ones.
    """
    if high - low < 8:
        return choices.either((low, high), (min(low + 1, high), high))
    spans = [(low, min(2 * low, high))]
    while spans[-1][1] < high:
        start = spans[-1][1] + 1
        spans.append((start, min(2 * start, high)))
    return choices.integer(*choices.sample(spans))


def _rows(choices: Choices, size: Size, columns: int, has: Collection[str]) -> tuple[int, bool]:
    """The rows of a pipeline with so many columns, and whether they are many more than usual."""
    low, high = size.rows
    room = size.cells // columns
    many = [rows for rows in size.many_rows if high < rows <= room]
    if many and choices.chance(1, 8):
        if "resume" in has and choices.chance(3, 4):
            # To have claims far behind the first rows for the next process to resume from.
            many = many[-3:]
        return choices.sample(many), True
    return _count(choices, low, max(low, min(high, room))), False


def draw_shape(
    choices: Choices, size: Size, knobs: Knobs, has: Collection[str], must: Collection[str]
) -> Shape:
    """A pipeline.

    Args:
        choices: the source of choices.
        size: how large it gets.
        knobs: how much of each thing there is.
        has: the features that it may have.
        must: those of them of which it has one column at least.
    """
    width = _count(choices, *size.columns)
    rows, many = _rows(choices, size, width, has)
    kinds = [_kind(choices, knobs, has) for _ in range(width)]
    traits = [kind | (_T.START if choices.chance(1, 2) else _T.NONE) for kind in kinds]
    # In a wide pipeline a few columns of a kind are enough to meet all others.
    of = 2 if width <= 6 else 4
    if "ordered" in has:
        traits = [one | (_T.ORDERED if choices.chance(1, of) else _T.NONE) for one in traits]
    _make_sure(choices, traits, must)
    shape = Shape(rows, most_rows=rows, many=many)
    if "batch_barriers" in has and choices.chance(1, 6):
        shape.barrier_scope = "batch"
    for place, one in enumerate(traits):
        if one & _BARRIERS:
            shape.barriers.append(place)
        skips = "skips" in has and not one & _BARRIERS
        name = _NAMES[place]
        shape.columns.append(
            ColumnDescriptor(
                name,
                traits=one,
                dependencies=_needs(choices, knobs, shape.columns),
                side_effects=[f"{name}_more"] if choices.chance(1, 3) else [],
                may_skip=skips and choices.chance(1, of),
                propagate_skip=not (skips and choices.chance(1, 3)),
            )
        )
        latency_s = choices.sample(_LATENCIES_S)
        if latency_s != _LATENCIES_S[0]:
            shape.latency_s[name] = latency_s
    if shape.barrier_scope == "batch" or any(_T.BATCH_BARRIER in one for one in traits):
        shape.batch_size = choices.either((1, min(7, rows + 1)), (1, rows + 1))
    _let_skip(choices, shape, must)
    return shape


def _kind(choices: Choices, knobs: Knobs, has: Collection[str]) -> ExecutionTraits:
    if choices.chance(knobs.barriers, 64):
        batched = "batch_barriers" in has and choices.chance(1, 2)
        return _T.BATCH_BARRIER if batched else _T.BARRIER
    if "streaming" in has and choices.chance(2, 5):
        return _T.ROW_STREAMABLE
    return _T.CELL_BY_CELL if choices.chance(1, 2) else _T.NONE


def _make_sure(choices: Choices, traits: list[ExecutionTraits], must: Collection[str]) -> None:
    """Change a column, if need be, so that there is one of each kind that must be."""
    if not _CELLS_ALONE.isdisjoint(must) and all(one & _BARRIERS for one in traits):
        traits[choices.integer(0, len(traits) - 1)] &= ~_BARRIERS
    for feature, trait in (
        ("batch_barriers", _T.BATCH_BARRIER),
        ("streaming", _T.ROW_STREAMABLE),
        ("ordered", _T.ORDERED),
    ):
        if feature not in must or any(trait in one for one in traits):
            continue
        place = choices.integer(0, len(traits) - 1)
        cells = [place for place, one in enumerate(traits) if not one & _BARRIERS]
        if trait is _T.BATCH_BARRIER and len(cells) == 1 and not _CELLS_ALONE.isdisjoint(must):
            # The only column of cells has to stay one.
            traits.append(_T.NONE)
        kept = traits[place] if trait is _T.ORDERED else traits[place] & (_T.START | _T.ORDERED)
        traits[place] = kept | trait


def _let_skip(choices: Choices, shape: Shape, must: Collection[str]) -> None:
    """Let a column skip cells, if some column must; a barrier never does."""
    able = [place for place in range(len(shape.columns)) if place not in shape.barriers]
    if "skips" in must and able and not any(item.may_skip for item in shape.columns):
        place = choices.sample(able)
        shape.columns[place] = replace(shape.columns[place], may_skip=True)


def _needs(choices: Choices, knobs: Knobs, before: list[ColumnDescriptor]) -> list[str]:
    """The names that a column needs of those before it, the nearest first."""
    needs = []
    for distance, item in enumerate(reversed(before), 1):
        if choices.chance(max(64 >> distance, knobs.edges), 64):
            made = item.all_produced_columns
            needs.append(choices.sample(made) if len(made) > 1 else made[0])
    return needs
