"""The checker says of thousands of traces what it said before."""

from __future__ import annotations

import pytest

from cellspec.clauses import clauses
from tests.check.verdicts import differences, kept, runs, verdicts


@pytest.mark.parametrize("name", runs())
def test_the_verdicts_are_those_of_the_file(name: str) -> None:
    changed = differences(name, verdicts(name), kept()[name])
    assert not changed, (
        "a change of verdicts that is meant is written by python -m tests.check.verdicts --write: "
        + "; ".join(changed)
    )


def test_the_file_has_a_verdict_of_each_kind() -> None:
    said = [verdict for of_run in kept().values() for verdict in of_run]
    assert kept().keys() == set(runs())
    assert (len(kept()), len(said)) == (684, 15_451)
    of_traces = [of_run for name, of_run in kept().items() if not name.startswith("walks")]
    assert all(of_run[0].startswith("as it is: pass") for of_run in of_traces)
    broken = {words.partition(": ")[2].partition(" at ")[0] for words in said if " at " in words}
    assert len(broken & clauses().keys()) > 75
    assert any(words.startswith("enabled after") for words in said)
