"""The simulator and the naive program agree on random scenarios: `tests.theory.differential`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings

from tests.theory.differential import Data, differences, same, scenarios, settled, times_of
from tests.theory.parts import Parts


# 80 and 150 in the profile `ci`.
@settings(max_examples=4 * settings().max_examples // 3)
@given(scenarios())
def test_the_simulator_agrees_with_the_naive_program(data: Data) -> None:
    expected = settled(data)
    assume(expected is not None)
    assert expected is not None
    with TemporaryDirectory() as folder:
        assert not differences(data, expected, Path(folder))


@settings(max_examples=5 * settings().max_examples // 2)
@given(scenarios())
def test_client_and_server_agree_with_the_naive_program(data: Data) -> None:
    limits = {"workers": data["limits"]["workers"], "resources": data["limits"]["resources"]}
    alone = {
        **data,
        "failures": {"cool_down": data["failures"]["cool_down"]},
        "columns": data["columns"][:1],
        "policy": "fifo",
        "limits": limits,
    }
    expected = settled(alone)
    assume(expected is not None)
    assert expected is not None
    times = Parts(alone).run()
    for call in expected.calls:
        assert same(times_of(expected, call), times[call.row])
