"""The findings that fail no run, although they are told: what the user has accepted.

A user who runs the suite every day wants it red when something *broke*, and not because of what
she knows. So a finding may be accepted: a clause that was broken or inconclusive in her baseline
(`cellspec.conformance.report.baseline`). Its verdict stays what it is. The test of a clause that
is accepted ends as an expected failure of pytest, and the exit code of the run passes it over.

``--conformance-strict`` accepts nothing, and still tells all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellspec.conformance.judge.verdict import Judgement, Verdict
from cellspec.conformance.report.baseline import Baseline, read_baseline
from cellspec.errors import SpecError
from cellspec.files import check_apart

__all__ = ["Accepted"]


class Accepted:
    """What fails no run, as the options of the user say.

    Args:
        config: the configuration of pytest.
        backend: the name of the backend.
        written: the results files that the run will write.

    Raises:
        SpecError: a file cannot be used.
    """

    def __init__(self, config: pytest.Config, backend: str, written: list[Path]) -> None:
        self.strict = bool(config.getoption("cellspec_strict"))
        self.baseline: Baseline | None = None
        given = config.getoption("cellspec_baseline")
        # A replay judges one workload, and says nothing of clauses as a whole.
        if given is not None and config.getoption("cellspec_replay") is None:
            path = Path(config.invocation_params.dir, given)
            self.baseline = read_baseline(path, given, backend)
            try:
                check_apart(written, [path])
            except SpecError:
                raise SpecError(
                    f"--conformance-baseline: {given}: this run would write its own results there, "
                    "and the next one would accept whatever broke; let it write elsewhere, and "
                    "copy the file when you accept its state"
                ) from None

    def why(self, clause: str, judgement: Judgement) -> str:
        """Why a clause that is broken or inconclusive fails no run; "" if it does."""
        if self.strict or self.baseline is None:
            return ""
        baseline = self.baseline
        if judgement.broken and baseline.knows_broken(clause):
            return f"broken in {baseline.shown} too: {judgement.reason}"
        inconclusive = judgement.verdict is Verdict.INCONCLUSIVE
        if inconclusive and baseline.knows_inconclusive(clause):
            return f"inconclusive in {baseline.shown} too"
        return ""

    def add_to(self, found: dict[str, Any]) -> None:
        """Add the comparisons to the results of the run."""
        for backend in found["backends"]:
            if self.baseline is not None:
                backend["baseline"] = self.baseline.compared(backend, found["suite"])
