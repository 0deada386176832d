"""Prints what Hypothesis draws: ``python -m tests.conformance.campaign.drawn ORDER [MODULES]``.

The order is names of `PROPERTIES` with commas between them. Modules, with commas between them, are
imported between one property and the next, as a test that imports late would do. `test_drawn`
compares what processes print that differ in nothing that may show.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import tests.conftest  # noqa: F401  # it chooses the profile
from tests.strategies import Plan, plans

DRAWN: list[str] = []


@given(plans(max_columns=5, max_rows=6))
def graphs(plan: Plan) -> None:
    DRAWN.append(repr(plan))


@given(st.integers(), st.floats(), st.text(), st.binary())
def plain(number: int, real: float, text: str, data: bytes) -> None:
    DRAWN.append(repr((number, real, text, data)))


class _Machine(RuleBasedStateMachine):
    @rule(number=st.integers(), text=st.text())
    def step(self, number: int, text: str) -> None:
        DRAWN.append(repr((number, text)))

    @rule(names=st.lists(st.sampled_from("abcdef"), unique=True))
    def other(self, names: list[str]) -> None:
        DRAWN.append(repr(names))


def steps() -> None:
    run_state_machine_as_test(_Machine)


PROPERTIES: dict[str, Callable[[], None]] = {"graphs": graphs, "plain": plain, "steps": steps}


def main(order: str, modules: str = "") -> None:
    late = [name for name in modules.split(",") if name]
    found = {}
    for place, name in enumerate(order.split(",")):
        for module in late if place == 1 else []:
            importlib.import_module(module)
        DRAWN.clear()
        PROPERTIES[name]()
        digest = hashlib.blake2b("\n".join(DRAWN).encode("utf-8", "backslashreplace"))
        found[name] = f"{len(DRAWN)} {digest.hexdigest()}"
    for name in sorted(found):
        print(name, found[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
