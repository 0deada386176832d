"""Replays case files on a backend, in the environment of one release: a line of JSON each.

One release broke a clause with a case, through one entry point. Its replays on all others show
since when, and until when, an engine does that; its replay through the public entry point shows
whether a user can meet it. So each case is first brought to the nearest workload that the backend's
engine can be asked for (`fit`), and then run:

=============  ===================================================================================
says           meaning
=============  ===================================================================================
``same``       it breaks the clause that the case is about
``another``    it breaks another clause first
``nothing``    it breaks nothing
``refused``    the engine refuses the workload, as it must
``none``       the engine cannot be asked for anything like it
``died``       the replay itself failed, or did not end
=============  ===================================================================================

`changes` lists the differences between the case and the workload that ran. A run of another
workload that breaks nothing leaves the case open, so a reader of `nothing` or `refused` must look
at `changes` (`simulations.releases.gather` does).

A case about cost takes seconds, for it is run with more and more rows. If the suite has run the
same workload here, its verdict is the result.

Most cases come from runs of the suite that went on after other clauses had broken, without judging
those. `first` is the clause that breaks first when all are judged: if it is another, the case may
show a consequence of that alone.

``python simulations/releases/replay.py --backend=MODULE:NAME --out=FILE [--suite=FILE] [--tries=N]
CASE…``
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cellspec.conformance.campaign.scaling import judge_cost
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES, COST_PROFILE, SHAPES
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.case import Case, differences, read_case
from cellspec.conformance.run.loading import load_backend
from cellspec.exit_codes import FINE, Parser, run_command
from cellspec.files import open_log

__all__ = ["main", "replayed"]

NO_END = 124
"""Exit code of a process that was ended because a case took too long."""


def replayed(
    backend: Backend,
    case: Case,
    suite: Mapping[str, Any] = MappingProxyType({}),
    tries: int = 1,
) -> dict[str, Any]:
    """Run a case on a backend; the fields of its line.

    Args:
        backend: the backend.
        case: the case.
        suite: the suite's verdicts on this backend, by clause, as in its results.
        tries: so many runs at most: each but the first waives the clause that the one before broke
            in place of its own.
    """
    said = _once(backend, case, suite)
    for _ in range(1, tries):
        if said["says"] != "another":
            break
        case = replace(case, waived=tuple(sorted({*case.waived, said["clause"]})))
        said = _once(backend, case, suite)
    return said


def _once(backend: Backend, case: Case, suite: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"says": "", "clause": "", "detail": "", "adapter": "", "first": ""}
    said["changes"] = []
    work = fit_of(backend)(case.workload)
    if work is None:
        return {**said, "says": "none"}
    said["changes"] = differences(case.workload, work)
    counted = case.clause in COST_CLAUSES
    if counted and COST_PROFILE not in backend.capabilities:
        return {**said, "says": "none"}
    if counted and (verdict := _by_suite(backend, case, suite.get(case.clause))):
        return {**said, **verdict}
    try:
        if counted:
            result = plain = judge_cost(backend, case.clause, case.workload, waive=case.waived)
        else:
            result = run_workload(backend, work, waive=case.waived)
            plain = run_workload(backend, work) if case.waived and result.violations else result
    except Exception as error:
        return {**said, "says": "died", "detail": f"{type(error).__name__}: {error}"}
    said["adapter"] = result.adapter
    if result.violations:
        broken = result.violations[0]
        said["first"] = next((one.clause for one in plain.violations), "")
        same = "same" if broken.clause == case.clause else "another"
        return {**said, "says": same, "clause": broken.clause, "detail": broken.detail}
    if result.refused:
        return {**said, "says": "refused", "detail": result.refused}
    return {**said, "says": "nothing"}


def _by_suite(
    backend: Backend, case: Case, entry: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The suite's verdict on a case about cost; None if it did not judge this workload."""
    asked = [
        shape.asked_of(backend.capabilities)
        for shape in SHAPES
        if shape.clause == case.clause and shape.needs <= frozenset(backend.capabilities)
    ]
    if entry is None or case.workload not in asked:
        return None
    for failure in entry.get("failures", ()):
        if failure["workload"] == case.workload.to_dict():
            found = {"clause": case.clause, "first": case.clause, "detail": failure["detail"]}
            return {"says": "same", **found}
    judged_all = entry["verdict"] == "pass" and entry["exercised"] == len(asked)
    return {"says": "nothing"} if judged_all else None


def main(argv: Sequence[str] | None = None) -> int:
    """Replay the cases on the command line; the exit code.

    A case that takes longer than ``--limit-s`` ends the process, because an engine that hangs
    cannot be stopped otherwise. Its line is then missing, and the code is `NO_END`, as of the
    command timeout.
    """
    return run_command(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python simulations/releases/replay.py")
    parser.add_argument("--backend", required=True, metavar="MODULE:NAME")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument("--limit-s", type=float, default=60.0, metavar="S")
    parser.add_argument("--suite", type=Path, metavar="FILE", help="the suite's verdicts")
    parser.add_argument(
        "--tries", type=int, default=1, metavar="N", help="waive what breaks before, so often"
    )
    parser.add_argument("cases", nargs="+", type=Path, metavar="CASE")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(NO_END))
    backend, _ = load_backend(args.backend, Path.cwd())
    suite = json.loads(args.suite.read_text(encoding="utf-8")) if args.suite else {}
    with open_log(args.out) as out:
        for path in args.cases:
            signal.setitimer(signal.ITIMER_REAL, args.limit_s)
            said = replayed(backend, read_case(path), suite, args.tries)
            signal.setitimer(signal.ITIMER_REAL, 0)
            out.write(json.dumps({"case": path.name, **said}).encode() + b"\n")
            out.flush()
    return FINE


if __name__ == "__main__":
    sys.exit(main())
