"""The words of ``cellspec explore``: counts of graphs, and the path to a broken clause."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cellspec.clauses import clause_set_data
from cellspec.explore.bounds import Configuration, Totals

__all__ = ["many_as_json", "many_as_table", "one_as_json", "one_as_table"]

Rows: TypeAlias = Sequence[tuple[Configuration, Totals]]
Explanation: TypeAlias = "Mapping[str, Any] | None"


def one_as_table(result: Mapping[str, Any], explanation: Explanation) -> str:
    """The counts of one graph, for a person.

    Args:
        result: the counts by name, and the clause that broke, or "".
        explanation: the lines of a counterexample; None if no clause broke.
    """
    lines = [f"{name:12} {value:>14,}" for name, value in result.items() if name != "clause"]
    return "\n".join([*lines, *_explained(result["clause"], explanation)]) + "\n"


def one_as_json(result: Mapping[str, Any], explanation: Explanation) -> str:
    """The counts of one graph, for a program."""
    plain = {**result, "clauses": clause_set_data(), **(explanation or {})}
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def many_as_table(rows: Rows, explanation: Explanation) -> str:
    """The counts of each configuration, for a person; the last may have broken a clause."""
    width = max(len(str(configuration)) for configuration, _ in rows)
    lines = [
        f"{'configuration':{width}}  {'graphs':>7}  {'explored':>8}  {'states':>13}  "
        f"{'transitions':>13}  {'deepest':>7}"
    ]
    lines += [
        f"{configuration!s:{width}}  {totals.graphs:>7,}  {totals.classes:>8,}  "
        f"{totals.states:>13,}  {totals.transitions:>13,}  {totals.depth:>7}"
        for configuration, totals in rows
    ]
    last = rows[-1][1]
    if last.clause:
        lines += ["", f"graph: {last.shape}"]
    return "\n".join([*lines, *_explained(last.clause, explanation)]) + "\n"


def many_as_json(rows: Rows, explanation: Explanation) -> str:
    """The counts of each configuration, for a program."""
    return json.dumps(list(_plain(rows, explanation)), indent=2, ensure_ascii=False) + "\n"


def _explained(clause: str, explanation: Explanation) -> Iterator[str]:
    if explanation is None:
        yield "no clause broke"
        return
    yield ""
    yield f"{clause} breaks after {len(explanation['story'])} steps:"
    for number, line in enumerate(explanation["story"], start=1):
        yield f"{number:3}  {line}"


def _plain(rows: Rows, explanation: Explanation) -> Iterator[dict[str, Any]]:
    for configuration, totals in rows:
        yield {
            "configuration": str(configuration),
            "graphs": totals.graphs,
            "explored": totals.classes,
            "states": totals.states,
            "states_of_all_graphs": totals.all_states,
            "transitions": totals.transitions,
            "ends": totals.ends,
            "deepest": totals.depth,
            "clause": totals.clause,
            "clauses": clause_set_data(),
            **({"graph": totals.shape, **(explanation or {})} if totals.clause else {}),
        }
