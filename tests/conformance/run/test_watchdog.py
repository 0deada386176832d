"""The watchdog: it names the line of an engine that does not come back, and decides nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import Probe, Table, Workload, run_workload
from cellspec.conformance.judge.run_result import Interrupted
from cellspec.conformance.run.watchdog import Turns, Watchdog, watched_turns

WORK = Workload((ColumnDescriptor("a"),), rows=1)
QUIET_S = 0.2


class Computes:
    """An engine that computes for a while before it makes its only cell."""

    name, version, capabilities = "computes", "1", frozenset({"core"})

    def __init__(self, compute: Callable[[], None]) -> None:
        self._compute = compute

    async def run(self, probe: Probe) -> None:
        self._compute()
        self.values = {"a": str(await probe.cell("a", 0, {}))}
        probe.end("success")

    def table(self, _: Probe) -> Table:
        return Table({0: self.values} if hasattr(self, "values") else {})


def test_an_engine_that_does_not_come_back_is_named_with_its_line() -> None:
    said: list[str] = []
    with watched_turns(Turns(WORK)), Watchdog(said.append, QUIET_S):
        while not said:
            pass
    (line,) = said
    assert line.startswith(
        "a run of 1 column × 1 row has not come back to its event loop for 0.2 s: it is in "
        "test_an_engine_that_does_not_come_back_is_named_with_its_line (run/test_watchdog.py:"
    )


def test_an_engine_that_comes_back_is_judged_as_ever_whatever_was_said() -> None:
    said: list[str] = []

    def compute() -> None:
        while not said:
            pass

    with Watchdog(said.append, QUIET_S):
        late = run_workload(Computes(compute), WORK)
    prompt = run_workload(Computes(lambda: None), WORK)
    assert (late.violations, late.events, late.tables) == ([], prompt.events, prompt.tables)
    assert "in test_an_engine_that_comes_back" in said[0]


def test_the_users_end_of_an_engine_that_was_named_is_judged_as_a_hang() -> None:
    said: list[str] = []

    def compute() -> None:
        said.clear()
        while not said:
            pass
        raise KeyboardInterrupt

    with Watchdog(said.append, QUIET_S), pytest.raises(Interrupted) as stopped:
        run_workload(Computes(compute), WORK)
    (found,) = stopped.value.result.violations
    assert found.clause == "SCHED-12"
    assert found.detail.startswith("the engine does not come back to its event loop: test_the_")
    assert found.detail.endswith(" runs on without an await, at virtual time 0 s")
    with Watchdog(said.append, QUIET_S), pytest.raises(KeyboardInterrupt) as plain:
        run_workload(Computes(compute), WORK, waive=["SCHED-12"])
    assert plain.type is KeyboardInterrupt


def test_the_users_end_of_an_engine_that_nobody_was_told_of_says_nothing_of_it() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Watchdog(lambda _: None), pytest.raises(KeyboardInterrupt) as plain:
        run_workload(Computes(interrupt), WORK)
    assert plain.type is KeyboardInterrupt
