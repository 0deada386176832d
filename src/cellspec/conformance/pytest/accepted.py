"""The findings that fail no run, although they are told: what the user has accepted.

A user who runs the suite every day wants it red when something *broke*, and not because of what
she knows, nor because cellspec judges by more than before. So these findings are accepted:

- a root cause with a finding that is in her baseline too (`cellspec.conformance.report.baseline`),
  and whatever broke only as its consequence;
- a clause was broken in her baseline, and broke only as a consequence of what she expects to fail;
- a clause is inconclusive, and was so in her baseline;
- a clause is broken or inconclusive that her pinned clauses do not have, or have in other words
  (`cellspec.conformance.campaign.pins`);
- a clause is inconclusive only because a coverage goal was not met that is not pinned.

The verdict stays what it is. The test of a broken clause that is accepted ends as an expected
failure of pytest, and the exit code of the run passes it over. ``--conformance-strict`` accepts
nothing, and still tells all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clauses
from cellspec.conformance.campaign.options import judged_clauses
from cellspec.conformance.campaign.pins import Pins, pins_text, read_pins
from cellspec.conformance.campaign.results import Failure
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.verdict import Judgement, Verdict
from cellspec.conformance.report.baseline import Baseline, read_baseline
from cellspec.conformance.report.results import suite_sources
from cellspec.errors import SpecError
from cellspec.files import check_apart, check_target, write_files

__all__ = ["Accepted"]


class Accepted:
    """What fails no run, as the options of the user say.

    Args:
        config: the configuration of pytest.
        suite: the suite of the run.
        written: the results files that the run will write.

    Raises:
        SpecError: a file cannot be used.
    """

    def __init__(self, config: pytest.Config, suite: Suite, written: list[Path]) -> None:
        self.suite = suite
        self.strict = bool(config.getoption("cellspec_strict"))
        self.baseline: Baseline | None = None
        self.pins: Pins | None = None
        self._to_pin: Path | None = None
        if suite.case is not None:
            # A replay judges one workload, and says nothing of clauses as a whole.
            return
        folder = config.invocation_params.dir
        base, pins = config.getoption("cellspec_baseline"), config.getoption("cellspec_clauses")
        if base is not None:
            self.baseline = _baseline(folder / base, base, suite.backend.name, written)
        if pins is not None:
            path = folder / pins
            self.pins = read_pins(path, f"--conformance-clauses: {pins}", pins)
            if self.pins is None:
                check_target(path)
                self._to_pin = path
        suite.is_accepted = lambda clause: bool(self._why_broken(clause, "it broke"))

    def why_root(self, failure: Failure) -> str:
        """Why a root cause fails no run; "" if it does."""
        if self.strict:
            return ""
        baseline = self.baseline
        if baseline and baseline.knows(failure.clause, failure.detail, suite_sources()):
            return f"broken in {baseline.shown} too: {failure.detail}"
        return self._by_pins(failure.clause)

    def why(self, clause: str, judgement: Judgement) -> str:
        """Why a clause that is broken or inconclusive fails no run; "" if it does."""
        if judgement.broken:
            return self._why_broken(clause, judgement.reason)
        if self.strict or judgement.verdict is not Verdict.INCONCLUSIVE:
            return ""
        if self.baseline is not None and self.baseline.knows_inconclusive(clause):
            return f"inconclusive in {self.baseline.shown} too"
        return self._by_pins(clause) or self._by_goals(clause)

    def _why_broken(self, clause: str, reason: str) -> str:
        """Why this broken clause fails no run; "" if it does."""
        if self.strict:
            return ""
        roots = [root.failure for root in self.suite.roots]
        mine = [self.why_root(failure) for failure in roots if failure.clause == clause]
        if mine:
            return mine[0] if all(mine) else ""
        number = self.suite.consequences.get(clause)
        root = None if number is None else roots[number - 1]
        if root and root.clause not in self.suite.expected and not self.why_root(root):
            return self._by_pins(clause)
        baseline = self.baseline
        if baseline is not None:
            if baseline.knows_broken(clause):
                return f"broken in {baseline.shown} too: {reason}"
            if root and baseline.knows(root.clause, root.detail, suite_sources()):
                return f"a consequence of {root.clause}, which is broken in {baseline.shown} too"
        return self._by_pins(clause)

    def _by_pins(self, clause: str) -> str:
        pins = self.pins
        if pins is not None and pins.is_new(clause):
            return f"{clause} is new since {pins.shown} was written"
        if pins is not None and pins.is_changed(clause):
            return f"{clause} was changed since {pins.shown} was written"
        return ""

    def _by_goals(self, clause: str) -> str:
        """Why an inconclusive clause fails no run: it lacks no goal that is pinned."""
        pins, home = self.pins, judged_clauses().get(clause)
        if pins is None or home is None:
            return ""
        again = self.suite.judge(clauses()[clause], pins.pinned(home))
        if again.verdict is Verdict.INCONCLUSIVE:
            return ""
        return f"it lacks a coverage goal that is new since {pins.shown} was written"

    def add_to(self, found: dict[str, Any]) -> None:
        """Add the comparisons to the results of the run."""
        for backend in found["backends"]:
            if self.baseline is not None:
                backend["baseline"] = self.baseline.compared(backend, found["suite"])
            if self.pins is not None:
                verdicts = {name: entry["verdict"] for name, entry in backend["clauses"].items()}
                ran = [one for one in self.suite.profiles if one.name in self.suite.campaigns]
                backend["pins"] = self.pins.compared(verdicts, ran) | {"strict": self.strict}

    def write_pins(self) -> list[Path]:
        """Write the file that pins the clauses of this run, if there was none; the files written.

        Raises:
            SpecError: it cannot be written.
        """
        path = self._to_pin
        if path is None:
            return []
        write_files(path.parent, {path.name: pins_text()})
        return [path]


def _baseline(path: Path, shown: str, backend: str, written: list[Path]) -> Baseline:
    found = read_baseline(path, shown, backend)
    try:
        check_apart(written, [path])
    except SpecError:
        raise SpecError(
            f"--conformance-baseline: {shown}: this run would write its own results there, and the "
            "next one would accept whatever broke; let it write elsewhere, and copy the file when "
            "you accept its state"
        ) from None
    return found
