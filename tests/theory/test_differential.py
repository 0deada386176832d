"""The simulator and the naive program agree on random scenarios: `tests.theory.differential`."""

from __future__ import annotations

from hypothesis import assume, given, settings

from tests.theory.differential import Data, same, scenarios, settled, times_of
from tests.theory.parts import Parts


@settings(max_examples=200)
@given(scenarios())
def test_client_and_server_agree_with_the_naive_program(data: Data) -> None:
    limits = {"workers": data["limits"]["workers"], "resources": data["limits"]["resources"]}
    alone = {**data, "columns": data["columns"][:1], "policy": "fifo", "limits": limits}
    expected = settled(alone)
    assume(expected is not None)
    assert expected is not None
    times = Parts(alone).run()
    for call in expected.calls:
        assert same(times_of(call), times[call.row])
