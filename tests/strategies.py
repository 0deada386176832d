"""Hypothesis strategies for pipelines, limits, failure policies and damaged checkpoints.

They shrink to few columns, few rows, no barriers, no skips, no limits, and columns in the order of
their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from cellspec import (
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    SpecError,
)
from cellspec.machine.limits import SavePolicy, check_limits

T = ExecutionTraits

ROW_KINDS = (T.CELL_BY_CELL, T.ROW_STREAMABLE, T.NONE)
ALL_KINDS = (*ROW_KINDS, T.BARRIER, T.BATCH_BARRIER)


@dataclass(frozen=True, repr=False)
class Case:
    """All that makes a graph. Its repr is what a failing property prints."""

    rows: int
    columns: tuple[ColumnDescriptor, ...]
    batch_size: int | None = None
    barrier_scope: Literal["declared", "batch"] = "declared"

    def graph(self) -> ExecutionGraph:
        return ExecutionGraph(
            self.rows,
            self.columns,
            batch_size=self.batch_size,
            barrier_scope=self.barrier_scope,
        )

    def __repr__(self) -> str:
        columns = []
        for item in self.columns:
            traits = "|".join(flag.name or "" for flag in T if flag in item.traits) or "NONE"
            made = f" (makes {', '.join(item.side_effects)})" if item.side_effects else ""
            needs = f" <- {', '.join(item.dependencies)}" if item.dependencies else ""
            skips = " may skip" * item.may_skip + " keeps skips" * (not item.propagate_skip)
            columns.append(f"{item.name}: {traits}{made}{needs}{skips}")
        head = f"{self.rows} rows, batch_size={self.batch_size}, scope={self.barrier_scope}"
        return f"<{head}; {'; '.join(columns)}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    min_columns: int = 1,
    max_columns: int = 6,
    min_rows: int = 1,
    max_rows: int = 8,
    skips: bool = False,
) -> Case:
    """Any legal pipeline, its columns given in any order; with `skips`, some may skip cells."""
    batch_size = draw(st.none() | st.integers(1, max_rows + 2))
    kinds = (*ROW_KINDS, T.BARRIER) if batch_size is None else ALL_KINDS
    scopes = ("declared",) if batch_size is None else ("declared", "batch")
    columns: list[ColumnDescriptor] = []
    available: list[str] = []
    for position in range(draw(st.integers(min_columns, max_columns))):
        name = "abcdefgh"[position]
        needs: list[str] = []
        if available:
            needs = draw(st.lists(st.sampled_from(available), unique=True, max_size=3))
        traits = draw(st.sampled_from(kinds))
        if draw(st.booleans()):
            traits |= T.START
        if draw(st.sampled_from((False, False, True))):
            traits |= T.ORDERED
        made = [f"{name}_{i}" for i in range(draw(st.sampled_from((0, 0, 1, 2))))]
        columns.append(
            ColumnDescriptor(
                name,
                traits=traits,
                dependencies=needs,
                side_effects=made,
                may_skip=skips and draw(st.sampled_from((False, False, True))),
                propagate_skip=not skips or draw(st.sampled_from((True, True, True, False))),
            )
        )
        available += [name, *made]
    return Case(
        rows=draw(st.integers(min_rows, max_rows)),
        columns=tuple(draw(st.permutations(columns))),
        batch_size=batch_size,
        barrier_scope=draw(st.sampled_from(scopes)),
    )


@st.composite
def limits(draw: st.DrawFn, case: Case) -> Limits:
    """No limit, a few workers, one endpoint that some columns share, or both."""
    workers = draw(st.none() | st.integers(1, 3))
    names = [item.name for item in case.columns]
    users = draw(st.lists(st.sampled_from(names), unique=True))
    if not users:
        return Limits(workers=workers)
    return Limits(
        workers=workers,
        resources={"endpoint": draw(st.integers(1, 2))},
        column_resource=dict.fromkeys(users, "endpoint"),
    )


@st.composite
def limited_cases(draw: st.DrawFn, *, max_columns: int, max_rows: int) -> tuple[Case, Limits]:
    """A pipeline and limits for it."""
    case = draw(cases(max_columns=max_columns, max_rows=max_rows))
    return case, draw(limits(case))


@st.composite
def grouped(draw: st.DrawFn, case: Case, free: Limits) -> Limits:
    """Those limits, and most often row groups, as many at once as the barriers need or more."""
    size = draw(st.none() | st.integers(1, case.rows + 1))
    if size is None:
        return free
    most = draw(st.none() | st.integers(1, 3))
    while True:
        found = Limits(free.workers, free.resources, free.column_resource, size, most)
        try:
            check_limits(found, case.graph().rules)
        except SpecError:
            assert most is not None
            most += 1
        else:
            return found


@dataclass(frozen=True)
class Plan:
    """All that a machine is made from."""

    case: Case
    limits: Limits
    failures: FailurePolicy | None
    drops: bool = True
    conserves: bool = True
    saving: SavePolicy | None = None
    bypass: int | None = None
    killer_tries: int | None = None
    sets: bool = False
    states: bool = False


@st.composite
def plans(draw: st.DrawFn, *, max_columns: int, max_rows: int) -> Plan:
    """A pipeline with skips, limits with row groups, and a policy on failures.

    Each is left out by its own coin, so that the others get far.
    """
    case = draw(
        cases(
            # Small pipelines are drawn too often when they are only allowed.
            min_columns=draw(st.sampled_from((1, 2, 3))),
            max_columns=max_columns,
            min_rows=draw(st.sampled_from((1, 2, 3))),
            max_rows=max_rows,
            skips=draw(st.booleans()),
        )
    )
    free = draw(limits(case))
    if draw(st.booleans()):
        free = draw(grouped(case, free))
    if draw(st.sampled_from((True, True, True, False))):
        policy, drops = draw(policies), draw(st.sampled_from((True, True, False)))
        saving, conserves = draw(saves(free)), draw(st.sampled_from((True, True, False)))
        bypass = draw(st.sampled_from((None, None, None, 0, 1, 2)))
        tries = draw(st.sampled_from((None, None, 1, 2)))
        sets = draw(st.booleans())
        states = sets and (saving is not None or draw(st.booleans()))
        return Plan(case, free, policy, drops, conserves, saving, bypass, tries, sets, states)
    return Plan(case, free, None, sets=draw(st.booleans()))


def saves(free: Limits) -> st.SearchStrategy[SavePolicy | None]:
    """A promise to save, or none; row groups can be promised where there are some."""
    promised = [SavePolicy(rows=1), SavePolicy(rows=2), SavePolicy(seconds=0.0)]
    promised += [SavePolicy(seconds=3.0)]
    promised += [SavePolicy(group=True)] if free.group_rows is not None else []
    return st.none() | st.sampled_from(promised)


policies = st.builds(
    FailurePolicy,
    max_attempts=st.integers(1, 3),
    stop_window=st.sampled_from((None, None, None, 1, 2, 3, 4)),
    stop_rate=st.sampled_from((1.0, 0.5, 0.3)),
    timeout_s=st.sampled_from((None, None, 1.0, 2.0)),
)

picks = st.lists(st.integers(0, 63), max_size=40)
"""Answers to "which of these": each is taken modulo the number of options."""

junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Anything that JSON or a careless program may hand over in place of a checkpoint's field."""


@st.composite
def damaged(draw: st.DrawFn, payload: Mapping[str, Any]) -> object:
    """A payload with one field replaced, taken away or added; or no object at all."""
    how = draw(st.sampled_from(("replace", "remove", "add", "nest", "whole")))
    if how == "whole":
        return draw(junk)
    bad = dict(payload)
    if how == "add":
        bad[draw(st.text(max_size=12).filter(lambda key: key not in payload))] = draw(junk)
        return bad
    key = draw(st.sampled_from(sorted(payload)))
    if how == "remove":
        del bad[key]
    elif how == "nest" and isinstance(bad[key], dict):
        bad[key] = draw(damaged(bad[key]))
    else:
        bad[key] = draw(junk)
    return bad
