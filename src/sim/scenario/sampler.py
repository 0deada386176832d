"""The sampler: the latencies of a run, in seconds, by column, row and attempt.

A latency is a *fact about a cell*, not a step of a shared random sequence: a function of (seed,
column name, row, attempt), drawn by `sim.draws`, and of the incarnation if a run draws anew after a
crash (`LatencySource.begin`). So a difference between two policies is a
difference between the policies, because both ran on the same numbers. First attempts are drawn in
blocks of `BLOCK_ROWS` rows. Later attempts are sparse, and so are barriers (one draw for each
scope): their blocks have `SPARSE_ROWS`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cellspec.machine.actions import Failure
from sim.draws import Draws, stream
from sim.scenario.distributions import Constant, LatencyModel
from sim.scenario.recorded import Replay
from sim.scenario.row_effect import RowEffect
from sim.scenario.token_source import TokenSource
from sim.scenario.tokens import Request
from sim.scenario.trace_file import FAILURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sim.draws import Floats

__all__ = [
    "BLOCK_MASK",
    "BLOCK_ROWS",
    "BLOCK_SHIFT",
    "SPARSE_ROWS",
    "ColumnLatency",
    "LatencySource",
]

BLOCK_SHIFT = 10
BLOCK_ROWS = 1 << BLOCK_SHIFT
"""Rows of one block of first attempts."""
BLOCK_MASK = BLOCK_ROWS - 1
SPARSE_ROWS = 128
"""Rows (or barrier scopes) of one block of everything else: later attempts and barriers."""
FEW_BLOCKS = 8
"""So many blocks are kept for each column by default."""


class ColumnLatency(NamedTuple):
    """How long a column's nodes take.

    For a barrier column the latency is the barrier node's, and grows by `per_row_s` for each row
    that it reads; its output cells come with the end of the barrier, at once.

    Attributes:
        name: the column's name, which keys its random numbers.
        latency: the model.
        per_row_s: further seconds for each row that a barrier reads.
        scope_rows: rows of one full scope of a barrier column; 0 for a column without barriers.
        token_s: of a request, the seconds of a token of its prompt, and of its answer, at an
            endpoint that serves it alone.
    """

    name: str
    latency: LatencyModel
    per_row_s: float = 0.0
    scope_rows: int = 0
    token_s: tuple[float, float] = (0.0, 0.0)


class LatencySource:
    """The latencies of a run, in seconds, fetched by column and row.

    A column of requests has no seconds of its own: `tokens` gives what its calls have instead, and
    to ask for its seconds is a TypeError.

    A block of `BLOCK_ROWS` rows is drawn when its first row is asked for and kept until
    `blocks_per_column` younger ones have come; so memory is O(columns) for any number of
    rows, about 8 kB a block. That suits every policy that visits rows roughly in order. Where
    rows are visited at random over more than ``blocks_per_column x BLOCK_ROWS`` rows, a fetch may
    draw its block again (some 60 µs, the same numbers): then pass None, which keeps every block,
    8 bytes a cell. The numbers are the same in all cases.

    Args:
        seed: the run's seed, an integer of any size.
        columns: the columns in the order of their indices: `ColumnLatency`, or (name, model).
        rows: rows of the dataset.
        blocks_per_column: blocks of first attempts kept for each column; None keeps all.
        row_effect: what the draws of a row have in common; None if nothing.
    """

    __slots__ = (
        "_blocks",
        "_columns",
        "_effect",
        "_failures",
        "_fixed",
        "_incarnation",
        "_keep",
        "_keep_sparse",
        "_rows",
        "_seed",
        "_sparse",
        "_streams",
        "counts",
    )

    def __init__(
        self,
        seed: int,
        columns: Iterable[ColumnLatency | tuple[str, LatencyModel]],
        rows: int,
        *,
        blocks_per_column: int | None = FEW_BLOCKS,
        row_effect: RowEffect | None = None,
    ) -> None:
        self._seed = seed
        self._columns = [ColumnLatency(*item) for item in columns]
        self._rows = rows
        self._keep = blocks_per_column
        # Who keeps many blocks has rows of many attempts under way, in places far apart.
        many = blocks_per_column is not None and blocks_per_column > FEW_BLOCKS
        self._keep_sparse = 8 * blocks_per_column if many and blocks_per_column else FEW_BLOCKS
        self._fixed = [_fixed_s(item) for item in self._columns]
        self._blocks: list[dict[int, array[float]]] = [{} for _ in self._columns]
        self._sparse: dict[tuple[str, int, int, int], list[float]] = {}
        self._failures: dict[tuple[str, int, int, int], list[int]] = {}
        self._streams: dict[tuple[str, int, int, int], Draws] = {}
        self._incarnation = 0
        self._effect = row_effect
        sizes = BLOCK_ROWS, SPARSE_ROWS
        self.counts = TokenSource(
            self._columns, self._stream, self._sample, rows, sizes, blocks_per_column
        )

    def begin(self, incarnation: int) -> None:
        """Draw anew for an incarnation; those of number 0 are the numbers without a crash."""
        self._incarnation = incarnation
        self.counts.begin(incarnation)
        for blocks in self._blocks:
            blocks.clear()
        self._sparse.clear()
        self._failures.clear()
        self._streams.clear()

    def is_request(self, column: int) -> bool:
        """True if a column's calls have tokens instead of seconds."""
        return self.counts.is_request(column)

    def tokens(self, column: int, place: int, attempt: int = 1) -> tuple[float, float, float]:
        """The tokens of one call's prompt and answer, and what is reserved for the answer.

        See `sim.scenario.token_source.TokenSource.tokens`; `counts` has the rest of it.
        """
        return self.counts.tokens(column, place, attempt)

    @property
    def columns(self) -> Sequence[ColumnLatency]:
        """The columns, in the order of their indices."""
        return self._columns

    def fixed(self, column: int) -> float | None:
        """The one latency of all cells of a column, in seconds; None if they differ."""
        return self._fixed[column]

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        """Seconds that a cell takes in one attempt.

        Args:
            column: the column's index.
            row: 0 to rows - 1.
            attempt: counted from 1.

        Raises:
            IndexError: a row out of range. Only a draw looks: a column whose cells all take the
                same time, and a later attempt, answer for any row from 0.
        """
        fixed = self._fixed[column]
        if fixed is not None:
            return fixed
        if attempt != 1:
            block = self._sparse_block("cell", column, attempt, row // SPARSE_ROWS)
            return block[row % SPARSE_ROWS]
        try:
            return self._blocks[column][row >> BLOCK_SHIFT][row & BLOCK_MASK]
        except KeyError:
            return self.block(column, row >> BLOCK_SHIFT)[row & BLOCK_MASK]

    def reader(self, column: int) -> Callable[[int], float]:
        """``get(column, row)`` of one column, as a function of the row: half the cost a fetch."""
        fixed = self._fixed[column]
        if fixed is not None:
            return lambda _row: fixed
        kept, block = self._blocks[column], self.block

        def get(row: int) -> float:
            try:
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]
            except KeyError:
                return block(column, row >> BLOCK_SHIFT)[row & BLOCK_MASK]

        return get

    def get_barrier(
        self, column: int, scope: int, attempt: int = 1, *, rows: int | None = None
    ) -> float:
        """Seconds that a barrier node takes in one attempt.

        Args:
            column: the barrier column's index.
            scope: the batch's number; 0 for the dataset.
            attempt: counted from 1.
            rows: how many rows the barrier reads, each of which adds the column's `per_row_s`;
                if not given, all rows of its scope.
        """
        item = self._columns[column]
        if isinstance(item.latency, Constant):
            seconds = item.latency.value
        else:
            block = self._sparse_block("barrier", column, attempt, scope // SPARSE_ROWS)
            seconds = block[scope % SPARSE_ROWS]
        if item.per_row_s == 0.0:
            return seconds
        if rows is None:
            rows = min(item.scope_rows, self._rows - scope * item.scope_rows)
        return seconds + rows * item.per_row_s

    def mean_s(self, column: int) -> float:
        """The expected seconds of a column's cell, or of its barrier node with a full scope.

        Of a request: of its mean tokens at the column's `token_s`.
        """
        item = self._columns[column]
        if self.is_request(column):
            pairs = zip(self.counts.mean_tokens(column), item.token_s, strict=True)
            return sum(tokens * seconds for tokens, seconds in pairs)
        rows = min(item.scope_rows, self._rows)
        return item.latency.mean_s() + rows * item.per_row_s

    def block(self, column: int, block: int, attempt: int = 1) -> list[float]:
        """The latencies of consecutive rows, in seconds, for a loop that holds them itself.

        Args:
            column: the column's index.
            block: rows ``block x size`` and up, where size is `BLOCK_ROWS` for a first attempt and
                `SPARSE_ROWS` for others; the dataset's last block may be short.
            attempt: counted from 1.

        Returns:
            A list; of a later attempt it is shared, and must not be changed.

        Raises:
            IndexError: the block is outside of the dataset.
        """
        size = self.block_rows(attempt)
        if not 0 <= block * size < self._rows:
            raise IndexError(f"block {block} of {size} rows is outside of {self._rows} rows")
        fixed = self._fixed[column]
        if fixed is not None:
            return [fixed] * min(size, self._rows - block * size)
        if attempt != 1:
            return self._sparse_block("cell", column, attempt, block)[: self._rows - block * size]
        kept = self._blocks[column]
        found = kept.get(block)
        if found is None:
            drawn = self._drawn("cell", column, 1, block, size)[: self._rows - block * size]
            found = array("d", drawn.astype("d", copy=False).tobytes())
            if self._keep is not None and len(kept) >= self._keep:
                del kept[next(iter(kept))]
            kept[block] = found
        return found.tolist()

    def of_rows(self, column: int, rows: NDArray[np.uint64], attempt: int) -> Floats:
        """Seconds that cells of some rows take in one attempt, each block drawn once.

        Args:
            column: the column's index.
            rows: in ascending order.
            attempt: counted from 1.
        """
        import numpy as np

        fixed, size = self._fixed[column], self.block_rows(attempt)
        if fixed is not None or not len(rows):
            return np.full(len(rows), fixed or 0.0)
        blocks = rows // np.uint64(size)
        is_first = np.concatenate(([True], blocks[1:] != blocks[:-1]))
        drawn = [
            self._drawn("cell", column, attempt, block, size) for block in blocks[is_first].tolist()
        ]
        found: Floats = np.array(drawn, "d")[np.cumsum(is_first) - 1, rows % np.uint64(size)]
        return found

    def block_rows(self, attempt: int) -> int:
        """How many rows a block of an attempt has."""
        return BLOCK_ROWS if attempt == 1 else SPARSE_ROWS

    def _sparse_block(self, kind: str, column: int, attempt: int, block: int) -> list[float]:
        key = (kind, column, attempt, block)
        found = self._sparse.get(key)
        if found is None:
            if block < 0:
                raise IndexError(f"expected a row or scope from 0, got one in block {block}")
            found = self._draw(kind, column, attempt, block, SPARSE_ROWS)
            if self._keep is not None and len(self._sparse) >= self._keep_sparse * len(
                self._columns
            ):
                del self._sparse[next(iter(self._sparse))]
            self._sparse[key] = found
        return found

    @property
    def has_failures(self) -> bool:
        """True if some column replays requests that failed."""
        return any(item.latency.fails for item in self._columns)

    def failure(
        self, column: int, place: int, attempt: int = 1, *, barrier: bool = False
    ) -> Failure | None:
        """How a call fails because the request that it replays did; None if it does not.

        Args:
            column: the column's index.
            place: the row, or the scope of a barrier node.
            attempt: counted from 1.
            barrier: which of the two.
        """
        model = self._columns[column].latency
        if not model.fails:
            return None
        kind = "barrier" if barrier else "cell"
        if isinstance(model, Request):
            kind, model = "request", next(item for item in model.counts if item.fails)
        if not isinstance(model, Replay):
            return None
        size = BLOCK_ROWS if attempt == 1 and not barrier else SPARSE_ROWS
        block = place // size
        key = (kind, column, attempt, block)
        found = self._failures.get(key)
        if found is None:
            draws = self._stream(kind, column, attempt, self._incarnation, block)
            found = model.sample_failures(draws, block * size, size)
            if self._keep is not None and len(self._failures) >= 8 * len(self._columns):
                del self._failures[next(iter(self._failures))]
            self._failures[key] = found
        return FAILURES[found[place % size]]

    def _draw(self, kind: str, column: int, attempt: int, block: int, size: int) -> list[float]:
        found: list[float] = self._drawn(kind, column, attempt, block, size).tolist()
        return found

    def _drawn(self, kind: str, column: int, attempt: int, block: int, size: int) -> Floats:
        model = self._columns[column].latency
        draws = self._stream(kind, column, attempt, self._incarnation, block)
        return self._sample(column, model, draws, block * size, size)

    def _sample(
        self, column: int, model: LatencyModel, draws: Draws, start: int, count: int
    ) -> Floats:
        if self._effect is None:
            return model.sample(draws, start, count)
        return self._effect.sample(column, model, draws, start, count)

    def _stream(self, kind: str, column: int, attempt: int, incarnation: int, block: int) -> Draws:
        key = kind, column, attempt, incarnation
        found = self._streams.get(key)
        if found is None:
            found = stream(self._seed, kind, self._columns[column].name, attempt, incarnation)
            self._streams[key] = found
        return found.at(block)


def _fixed_s(item: ColumnLatency) -> float | None:
    if item.scope_rows:
        return 0.0
    return item.latency.value if isinstance(item.latency, Constant) else None
