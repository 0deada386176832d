"""Mends in a copy of a release: the installed one stays, and cases tell which cause they have."""

from __future__ import annotations

from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor
from simulations.releases.causes import Cause
from simulations.releases.environments import Workspace
from simulations.releases.findings import Mended
from simulations.releases.mended_runs import Mends, kept_mends, try_mends
from simulations.releases.replay_runs import replay_cases
from simulations.releases.script_files import Script
from tests.releases.toy import ENGINE, SCRIPT

LOSES = 'if os.environ["TOY"] != "1.0" or'
"""The line of the toy engine by which release 1.0 loses a row of a table of four columns."""


def cause(identity: str, old: str, new: str) -> Cause:
    return Cause.model_validate(
        {
            "id": identity,
            "harm": "lost or corrupt rows",
            "title": "It loses a row",
            "public": True,
            "since": "1.0",
            "expected": "all rows",
            "actual": "one row is lost",
            "scripts": ["table_01_lost.py"] if identity == "lost-row" else [],
            "clauses": ["TABLE-04"],
            "places": [{"file": "toy_engine.py", "line": 1, "text": "import os"}],
            "mends": [{"file": "toy_engine.py", "old": old, "new": new}],
        }
    )


def test_a_mend_in_a_copy_tells_which_cause_a_case_has(workspace: Workspace) -> None:
    release, entry_point = workspace.engine.releases[0], workspace.engine.entry_points[0]
    packages = workspace.place(release) / "env" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "toy_engine.py").write_text(ENGINE)
    work = Workload(tuple(map(ColumnDescriptor, "abcd")), rows=2)
    lost = {"lost.json": Case(work, "TABLE-04", "lost", entry_point.backend).to_json()}
    (said,) = replay_cases(workspace, release, entry_point, lost, 60.0, again=False).values()
    assert said["says"] == "same", said

    causes = [
        cause("lost-row", LOSES, "if True or"),
        cause("something-else", "rows.pop(max(", "rows.pop(min("),
        cause("not-there", "no such text", ""),
    ]
    script = Script("table_01_lost.py", ("TABLE-01",), ("1.0",), "It loses a row.", text=SCRIPT)
    breaks = {entry_point.name: ["lost.json"]}
    mends = try_mends(workspace, release, causes, [script], lost, breaks, 60.0, jobs=2, again=False)
    assert mends == Mends(
        [
            Mended("lost-row", "", {"table_01_lost.py": "shows"}),
            Mended("something-else", "", {}),
            Mended(
                "not-there",
                "toy_engine.py: the text to be changed is not there exactly once",
                {},
            ),
        ],
        {"lost.json": ("lost-row",)},
    )
    assert kept_mends(workspace, release, causes, breaks) == mends
    assert (packages / "toy_engine.py").read_text() == ENGINE
