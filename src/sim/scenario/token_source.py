"""The token counts of a run's requests, by column, row (or barrier scope) and attempt.

Counts are drawn as latencies are (`sim.scenario.sampler`): in blocks, each a function of (seed,
kind, column, attempt), where the kind is ``prompt`` or ``output``. Both counts of a recorded trace
have the kind ``request``, so that they come from one entry.

A sum adds the counts of other columns' cells, as the call drew them that gave the cell its value.
By itself the source takes that for the first attempt of the first incarnation; a driver whose calls
fail, or draw anew after a crash, says otherwise, and that a cell was skipped (`TokenSource.gave`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from sim.scenario.distributions import LatencyModel
from sim.scenario.recorded import Replay
from sim.scenario.tokens import PARTS, ConstantTokens, Request

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["Sample", "Stream", "TokenSource"]

Stream: TypeAlias = "Callable[[str, int, int, int, int], Draws]"
"""The draws of (kind, column's index, attempt, incarnation), at the start of a block."""

Sample: TypeAlias = "Callable[[int, LatencyModel, Draws, int, int], Floats]"
"""The numbers of a column by its index, from a model and draws, for rows from one on, so many."""

_KINDS = ("prompt", "output")
_Counts: TypeAlias = tuple[float, float, float]
"""Of the prompt, of the answer, and what is reserved for it."""

_ATTEMPTS = 32
"""Bits of the number of an attempt, from 0; the incarnation is above them."""
_ATTEMPT = (1 << _ATTEMPTS) - 1
_NOTHING = (1 << 64) - 1
"""The call of a cell that was skipped."""


class _Column(Protocol):
    """What is asked of a column; `sim.scenario.sampler.ColumnLatency` has it."""

    @property
    def name(self) -> str: ...
    @property
    def latency(self) -> LatencyModel: ...
    @property
    def scope_rows(self) -> int: ...


class _Plan(NamedTuple):
    """One column of requests.

    Attributes:
        fixed: the counts of all its calls, if they are the same.
        added: for each of the two counts, the (column, part) whose counts are added.
        most: the answer is cut there.
    """

    model: Request
    fixed: _Counts | None
    added: tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]
    most: float | None


class TokenSource:
    """The token counts of a run's requests.

    Args:
        columns: all columns, in the order of their indices.
        stream: their random numbers.
        sample: a model's `LatencyModel.sample` of the calls of a column.
        rows: rows of the dataset.
        sizes: rows of a block of first attempts, and of any other.
        keep: blocks kept for each column; None keeps all.

    Attributes:
        referenced: the columns whose counts another column's sum holds; of these `gave` is to be
            told.
    """

    __slots__ = (
        "_blocks",
        "_columns",
        "_first",
        "_fixed",
        "_given",
        "_keep",
        "_new",
        "_plans",
        "_rows",
        "_sample",
        "_sizes",
        "_stream",
        "_whole",
        "referenced",
    )

    def __init__(
        self,
        columns: Sequence[_Column],
        stream: Stream,
        sample: Sample,
        rows: int,
        sizes: tuple[int, int],
        keep: int | None,
    ) -> None:
        index = {item.name: place for place, item in enumerate(columns)}
        self._plans = [_plan(item.latency, index) for item in columns]
        self._columns, self._stream, self._rows, self._keep = columns, stream, rows, keep
        self._sample = sample
        self._sizes = [sizes if not item.scope_rows else (sizes[1], sizes[1]) for item in columns]
        self._fixed = [None if plan is None else plan.fixed for plan in self._plans]
        # Of columns whose blocks hold all that there is to a call: nothing is to be added.
        self._whole = [plan is not None and not any(plan.added) for plan in self._plans]
        self._blocks: list[dict[tuple[int, int], list[_Counts]]] = [{} for _ in columns]
        # The same blocks of this incarnation's first attempts, whose number is `_first`.
        self._first = 0
        self._new: list[dict[int, list[_Counts]]] = [{} for _ in columns]
        self.referenced = frozenset(
            column
            for plan in self._plans
            if plan is not None
            for refs in plan.added
            for column, _ in refs
        )
        # By column, the call of each row that gave its value; made when one is not the first.
        self._given: dict[int, array[int]] = {}

    def begin(self, incarnation: int) -> None:
        """Draw anew for an incarnation; number 0 is the first."""
        self._first = incarnation << _ATTEMPTS
        for kept in self._new:
            kept.clear()

    def is_request(self, column: int) -> bool:
        """True if the column's calls have tokens instead of seconds."""
        return self._plans[column] is not None

    def tokens(self, column: int, place: int, attempt: int = 1) -> _Counts:
        """The tokens of one call.

        Args:
            column: the column's index; of a barrier column for its barrier nodes.
            place: the row, or the scope of a barrier node.
            attempt: counted from 1.

        Returns:
            Of the prompt, of the answer (cut at ``max_output_tokens``), and what is reserved for
            the answer.

        Raises:
            TypeError: the column's latency is one of seconds.
        """
        fixed = self._fixed[column]
        if fixed is not None:
            return fixed
        if attempt == 1:
            size = self._sizes[column][0]
            block = self._new[column].get(place // size)
            if block is not None:
                found = block[place % size]
                return found if self._whole[column] else self._with_others(column, place, found)
        return self._tokens(column, place, attempt - 1 | self._first)

    def reader(self, column: int) -> Callable[[int], _Counts]:
        """``tokens(column, row)`` of one column, as a function of the row."""
        fixed = self._fixed[column]
        if fixed is not None:
            return lambda _row: fixed
        if not self._whole[column]:
            return lambda row: self.tokens(column, row)
        kept, size = self._new[column], self._sizes[column][0]

        def get(row: int) -> _Counts:
            try:
                return kept[row // size][row % size]
            except KeyError:
                return self.tokens(column, row)

        return get

    def _tokens(self, column: int, place: int, call: int) -> _Counts:
        """The tokens of a call, which holds its attempt (from 0) and its incarnation."""
        plan = self._plans[column]
        if plan is None:
            raise TypeError(f"column {self._columns[column].name!r} takes seconds, not tokens")
        size = self._sizes[column][call & _ATTEMPT != 0]
        block = place // size
        kept = self._blocks[column].get((call, block))
        if kept is None:
            kept = self._draw(column, plan, call, block, size)
        found = kept[place % size]
        return found if self._whole[column] else self._with_others(column, place, found)

    def _with_others(self, column: int, place: int, own: _Counts) -> _Counts:
        """A call's own counts, and those that are added to them."""
        plan = self._plans[column]
        assert plan is not None
        prompt, output, _ = own
        for other, part in plan.added[0]:
            prompt += self._value(other, part, place)
        for other, part in plan.added[1]:
            output += self._value(other, part, place)
        if plan.most is None:
            return prompt, output, output
        return prompt, min(output, plan.most), plan.most

    def gave(self, column: int, row: int, attempt: int) -> None:
        """A call of this incarnation gave a cell its value; attempt 0 stands for a skip."""
        call = attempt - 1 | self._first if attempt else _NOTHING
        given = self._given.get(column)
        if given is None:
            if not call:
                return
            given = self._given[column] = array("Q", bytes(8 * self._rows))
        given[row] = call

    def mean_tokens(self, column: int) -> tuple[float, float]:
        """The expected tokens of a call's prompt and answer; the cut of each answer is left out.

        The answer is at most ``max_output_tokens`` all the same.
        """
        plan = self._plans[column]
        if plan is None:
            return 0.0, 0.0
        found = [
            model.expected() + sum(self.mean_tokens(other)[part] for other, part in refs)
            for model, refs in zip(plan.model.counts, plan.added, strict=True)
        ]
        return found[0], found[1] if plan.most is None else min(found[1], plan.most)

    def _value(self, column: int, part: int, row: int) -> float:
        """A count of the call that gave a cell its value; 0 for a cell that was skipped."""
        given = self._given.get(column)
        call = 0 if given is None else given[row]
        if call == self._first:
            return self.tokens(column, row)[part]
        return 0.0 if call == _NOTHING else self._tokens(column, row, call)[part]

    def _draw(self, column: int, plan: _Plan, call: int, block: int, size: int) -> list[_Counts]:
        """The counts of a block of calls, as far as they are the column's own."""
        if block < 0:
            raise IndexError(f"expected a row or scope from 0, got one in block {block}")
        incarnation, attempt = call >> _ATTEMPTS, (call & _ATTEMPT) + 1
        drawn = []
        for kind, model in zip(_KINDS, plan.model.counts, strict=True):
            kind = "request" if isinstance(model, Replay) else kind
            draws = self._stream(kind, column, attempt, incarnation, block)
            drawn.append(self._sample(column, model, draws, block * size, size))
        prompts, outputs = drawn
        if plan.most is None or plan.added[1]:
            answers = outputs.tolist()
            reserved: Iterable[float] = answers
        else:
            answers = outputs.clip(max=plan.most).tolist()
            reserved = repeat(plan.most, size)
        found = list(zip(prompts.tolist(), answers, reserved, strict=True))
        kept, new = self._blocks[column], self._new[column]
        if self._keep is not None and len(kept) >= self._keep:
            call_before, block_before = next(iter(kept))
            del kept[call_before, block_before]
            if call_before == self._first:
                new.pop(block_before, None)
        kept[call, block] = found
        if call == self._first:
            new[block] = found
        return found


def _plan(model: LatencyModel, index: dict[str, int]) -> _Plan | None:
    if not isinstance(model, Request):
        return None
    prompt, output = (
        [(index[name], PARTS.index(part)) for name, part in item.references()]
        for item in model.counts
    )
    most, fixed = model.max_output_tokens, None
    if isinstance(model.prompt_tokens, ConstantTokens) and isinstance(
        model.output_tokens, ConstantTokens
    ):
        tokens = model.output_tokens.value
        answer = tokens if most is None else min(tokens, most)
        fixed = model.prompt_tokens.value, answer, answer if most is None else most
    return _Plan(model, fixed, (prompt, output), most)
