"""Latencies that do not fit the rows and columns they stand for: lists, and sums of tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

from cellspec.graph.rules import ColumnRule, Rules
from sim.scenario.distributions import LatencyModel, List
from sim.scenario.strict import Fault
from sim.scenario.tokens import PARTS, Request, TokenModel
from sim.scenario.words import unknown_name

__all__ = ["row_faults"]

Place: TypeAlias = "tuple[int | str, ...]"


def row_faults(
    rules: Rules,
    latencies: Mapping[str, tuple[LatencyModel, float]],
    places: Mapping[str, Place],
    ranged: Collection[str],
) -> list[Fault]:
    """Lists that are too short, and sums of counts that do not exist; each fault once.

    Args:
        rules: of the scenario's graph.
        latencies: by column, the model and the further seconds for each row that a barrier reads.
        places: by column, where the file gives its latency.
        ranged: the columns whose calls may make a range of rows.
    """
    countable = {
        rule.name
        for rule in rules.columns
        if isinstance(latencies[rule.name][0], Request)
        and not rule.is_barrier
        and rule.name not in ranged
    }
    # Columns may share a latency, and then its faults.
    found: dict[Fault, None] = {}
    for rule in rules.columns:
        (model, per_row_s), where = latencies[rule.name], places[rule.name]
        found |= dict.fromkeys(_of_list(rules, rule, model, where))
        if not isinstance(model, Request):
            continue
        if per_row_s:
            text = f"column {rule.name!r} has tokens instead of seconds; no row adds seconds to it"
            found[Fault(where, text)] = None
        for name, item in zip(PARTS, model.counts, strict=True):
            found |= dict.fromkeys(_of_list(rules, rule, item, (*where, name)))
            found |= dict.fromkeys(_of_sum(rules, rule, item, (*where, name, "of"), countable))
    return list(found)


def _of_list(rules: Rules, rule: ColumnRule, model: LatencyModel, where: Place) -> Iterator[Fault]:
    """The fault of a list that ends before its column does."""
    calls, what = rules.num_records, "rows"
    if rule.is_barrier:
        calls, what = rules.scope_count(rule.index), "scopes"
    if isinstance(model, List) and len(model.values) < calls:
        text = f"expected a number for each of {calls:,} {what}, got {len(model.values):,}"
        yield Fault((*where, model.word("values")), text)


def _of_sum(
    rules: Rules, rule: ColumnRule, model: TokenModel, where: Place, countable: Collection[str]
) -> Iterator[Fault]:
    """The references of a sum that no call of the same row has made.

    Args:
        rules: of the scenario's graph.
        rule: the column that the sum is of.
        model: any model of a count.
        where: its list of references.
        countable: the columns that have tokens of single rows.
    """
    if rule.is_barrier and model.references():
        yield Fault(where, f"column {rule.name!r} is a barrier, and reads more than one row")
        return
    before = _ancestors(rules, rule)
    known = [other.name for other in rules.columns if other.index in before]
    known = [name for name in known if name in countable]
    for place, (name, _) in enumerate(model.references()):
        index = rules.index.get(name)
        if name in known:
            continue
        if index is None:
            text = f"no column {name!r}"
        elif index not in before:
            text = f"column {rule.name!r} does not depend on {name!r}"
        else:
            text = f"column {name!r} has no tokens of single rows"
        yield Fault((*where, place), unknown_name(text, name, known, "it may count"))


def _ancestors(rules: Rules, rule: ColumnRule) -> set[int]:
    """The columns that a column depends on, directly or through others."""
    found: set[int] = set()
    left = list(rule.needs)
    while left:
        column = left.pop()
        if column not in found:
            found.add(column)
            left += rules.columns[column].needs
    return found
