"""A toy engine with three releases, and its findings in a release matrix.

No release is installed. The environments are wrappers around this interpreter that tell a small
backend which release it is: 1.0 loses the last row of tables of four columns, 2.0 is right, 3.0
dies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor
from simulations.releases import command
from simulations.releases.cases import cases_of
from simulations.releases.environments import Workspace
from simulations.releases.findings import Findings
from simulations.releases.gather import NOTHING_KNOWN, Known, gather
from simulations.releases.outcome import Outcome
from simulations.releases.release_list import Engine, read_list
from simulations.releases.script_files import Script

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "simulations" / "releases"

LIST = """
engine = "Toy"
package = "toy"

[words]
"a row" = "a record"

[variables]
PYTHONPATH = "{here}"

[[entry_points]]
name = "inner"
backend = "toy_engine:Backend"
about = "its inside"

[[entry_points]]
name = "outer"
backend = "toy_engine:Outer"
about = "what users call"
public = true

[[releases]]
version = "1.0"

[[releases]]
version = "2.0"

[[releases]]
version = "3.0"
"""

ENGINE = """
import os
from dataclasses import replace

from cellspec.conformance.run.backend import Table
from cellspec.engines.reference import ReferenceBackend

if os.environ["TOY"] == "3.0":
    os._exit(9)


class Backend(ReferenceBackend):
    capabilities = frozenset({"core"})

    def table(self, probe):
        table = super().table(probe)
        if os.environ["TOY"] != "1.0" or len(probe.work.columns) < 4:
            return table
        rows = dict(table.rows)
        rows.pop(max(rows, default=None), None)
        return replace(table, rows=rows)


class Outer(Backend):
    def fit(self, work):
        return work if work.batch_size is None else None
"""

SCRIPT = """\
# Clause: TABLE-01
# Releases: 1.0
# Defect: The last row is
#   lost.
# Public: yes
# Fixed by: change 7
import os, sys
if os.environ["TOY"] == "1.0":
    print("DEFECT: lost")
    sys.exit(1)
if os.environ["TOY"] == "3.0":
    print("ABSENT: no rows")
    sys.exit(2)
"""


def matrix_of(workspace: Workspace, *arguments: str) -> int:
    lists = workspace.folder.parent / "lists"
    given = [str(lists / "toy.toml"), f"--work={workspace.folder}", "--max-examples=8", "--seeds=1"]
    return command.main([*given, *arguments])


def published(workspace: Workspace) -> dict[str, str]:
    lists = workspace.folder.parent / "lists"
    made = [path for path in sorted(lists.rglob("*")) if path.suffix in (".md", ".json", ".html")]
    return {path.relative_to(lists).as_posix(): path.read_text() for path in made}


def case(rows: int, clause: str = "TABLE-01") -> Case:
    return Case(Workload((ColumnDescriptor("a"),), rows=rows), clause, "lost", "toy_engine:Backend")


def failure(rows: int) -> dict[str, Any]:
    return {
        "clause": "SCHED-12",
        "detail": f"{rows} rows stand still",
        "seq": None,
        "story": ["#1 t=0 start a[0]"],
        "workload": case(rows).workload.to_dict(),
        "trace": None,
        "waived": [],
    }


def outcome(rows: int | None) -> Outcome:
    broken: dict[str, Any] = {"verdict": "violated", "reason": "", "examples": 1}
    entry = {"verdict": "pass", "reason": "", "examples": 1, "failure": None}
    clauses = {"SCHED-12": {**broken, "failure": failure(rows)} if rows else entry}
    found = {
        "name": "toy",
        "version": "1",
        "capabilities": ["core"],
        "seed": 0,
        "clauses": clauses,
        "evidence": {"smoke": "fine", "workloads": 4, "crashes": 0},
        "sometimes": {},
        "profiles": {},
    }
    return Outcome("ran", found=found, suite="s", max_examples=4, seeds=[0])


def engine(tmp_path: Path) -> Engine:
    listed = tmp_path / "toy.toml"
    listed.write_text(LIST)
    return read_list(listed)


SAID: dict[str, Any] = {"clause": "", "detail": "", "adapter": "", "first": "", "changes": []}


def found_in(
    tmp_path: Path,
    does: Mapping[tuple[str, str], Mapping[str, Any]],
    known: Known = NOTHING_KNOWN,
    **scripts: str,
) -> Findings:
    """Findings of one case that 1.0 broke through the inner entry point, with replays and scripts.

    Args:
        tmp_path: where the list is written.
        does: the replay's result, by release and entry point; the rest of `SAID` is added.
        known: the curated causes.
        scripts: the result of a script about the clause, by release: ``v1_0="shows"``.
    """
    listed = engine(tmp_path)
    places = [
        (one.version, entry_point.name)
        for one in listed.releases
        for entry_point in listed.entry_points
    ]
    outcomes = {place: outcome(2 if place == ("1.0", "inner") else None) for place in places}
    cases = cases_of(listed, "toy", outcomes)
    replays = {place: {cases[0].name: {**SAID, **said}} for place, said in does.items()}
    script = Script("sched_12_x.py", ("SCHED-12",), (), "It stands still.", public=True)
    ran = {
        (version.removeprefix("v").replace("_", "."), script.file): {"says": says, "detail": ""}
        for version, says in scripts.items()
    }
    return gather(listed, "toy", "0", outcomes, cases, replays, [script], ran, known)


def row_of(page: str, clause: str) -> str:
    """The line of the matrix for a clause."""
    return next(line for line in page.splitlines() if line.startswith(f"| [{clause}]("))
