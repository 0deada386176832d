"""What may know of what: traits in one place, no heavy imports, oracles on their own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import cellspec

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src"
MODULES = sorted([*(SRC / "cellspec").rglob("*.py"), *(SRC / "sim").rglob("*.py")])

# They state the traits of a column, or hand them on to a descriptor; none asks what they mean.
STATE_TRAITS = {
    "cellspec/__init__.py",
    "cellspec/graph/columns.py",
    "cellspec/graph/rules.py",
    "cellspec/build/builder.py",
    "cellspec/build/inference.py",
    "cellspec/build/datadesigner.py",
    "cellspec/conformance/campaign/smoke.py",
    "cellspec/conformance/campaign/generator/columns.py",
    "cellspec/conformance/campaign/generator/features.py",
    "cellspec/graph/plain.py",
    "cellspec/conformance/run/workload.py",
    "cellspec/trace/convert.py",
    "sim/experiments/calibration/from_trace.py",
    "sim/scenario/records.py",
    "sim/scenario/resolve.py",
    "cellspec/explore/pipelines.py",
}
# It works out what tables must hold without the rules that engines are built on, so it reads the
# traits itself.
STATE_TRAITS |= {"cellspec/conformance/judge/expected_table.py"}
# They make workloads, or bring them to ones that an engine can be asked for.
STATE_TRAITS |= {
    "cellspec/conformance/campaign/scaling_shapes.py",
    "cellspec/engines/datadesigner/mocks.py",
    "cellspec/engines/datadesigner/scheduler_fit.py",
}
# What a descriptor says of its traits, under names that a compiled rule does not have.
READERS = {
    "traits",
    "is_start_column",
    "is_cell_by_cell",
    "is_row_streamable",
    "is_batch_barrier",
    "is_ordered",
}


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, at any depth; name is "" for ``import module``."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def ids(path: Path) -> str:
    return name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_those_who_state_traits_import_them(path: Path) -> None:
    if name_of(path) not in STATE_TRAITS:
        assert "ExecutionTraits" not in {name for _, name in imports(path)}
        named = {node.id for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name)}
        assert "ExecutionTraits" not in named


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_the_rules_read_the_traits_of_a_descriptor(path: Path) -> None:
    if name_of(path) in STATE_TRAITS:
        return
    read = {
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in READERS
    }
    assert not read, (
        f"{name_of(path)} reads {sorted(read)}; cellspec.graph.rules is the place for it"
    )


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_is_barrier_is_asked_of_a_rule_and_not_of_a_descriptor(path: Path) -> None:
    """Rules and descriptors both have it, so a module may ask it only if it never holds both."""
    if name_of(path) in STATE_TRAITS:
        return
    tree = tree_of(path)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr == "is_barrier"):
            continue
        owner = ast.unparse(node.value)
        of_rule = owner in {"rule", "later"} or owner.endswith(("rule", ".rule(column)"))
        assert of_rule or "rules.columns[" in owner, (
            f"{name_of(path)}:{node.lineno}: {owner}.is_barrier"
        )


def test_importing_cellspec_brings_no_dependency_and_no_test_tool() -> None:
    heavy = ("numpy", "simpy", "pydantic", "yaml", "pytest", "hypothesis", "sim", "data_designer")
    code = f"import sys, cellspec; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


# The console script, which hands on to the command line once it has checked where `sim` stands.
KNOWS_THE_SIMULATOR = {"cellspec/__main__.py"}


@pytest.mark.parametrize("path", sorted((SRC / "cellspec").rglob("*.py")), ids=ids)
def test_the_specification_knows_nothing_of_the_simulator(path: Path) -> None:
    if name_of(path) in KNOWS_THE_SIMULATOR:
        return
    assert "sim" not in {module.partition(".")[0] for module, _ in imports(path)}


# What they import by a name that they work out is named by the user or by themselves, and never by
# a file that is read: `load_backend` takes what stands on the command line.
IMPORT_BY_NAME = {
    "cellspec/__init__.py",
    "cellspec/conformance/__init__.py",
    "cellspec/conformance/cost.py",
    "cellspec/conformance/harness.py",
    "cellspec/conformance/reference.py",
    "cellspec/conformance/run/loading.py",
    "cellspec/conformance/run/registered.py",
    "cellspec/conformance/workload.py",
    "cellspec/engines/datadesigner/create_release.py",
    "cellspec/engines/datadesigner/releases.py",
    "cellspec/graph/graph.py",
    "sim/fuzz/machine.py",
}


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_nothing_imports_by_a_name_that_may_come_from_a_file(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).rpartition(".")[2]
        assert called not in {"__import__", "eval", "exec", "run_path", "run_module"}
        if called == "import_module" and name_of(path) not in IMPORT_BY_NAME:
            assert isinstance(node.args[0], ast.Constant), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_every_program_ends_with_an_exit_code_of_the_table(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if '__name__ == "__main__"' not in text:
        return
    assert text.rstrip().endswith("sys.exit(main())") or "sys.exit(main(sys.argv[1:]))" in text
    homes = [module for module, name in imports(path) if name == "main"]
    for home in homes or [name_of(path).removesuffix(".py").replace("/", ".")]:
        source = SRC / f"{home.replace('.', '/')}.py"
        assert "return run_command(" in source.read_text(encoding="utf-8"), home


class Wall(NamedTuple):
    """All that an independent part takes from elsewhere, and why that leaves it independent."""

    reason: str
    imports: dict[str, set[str]]


IDENTITIES = "names of nodes and columns, in which the oracle and the package talk"

# A rule that an oracle took from the package would be wrong in both, and no test would see it. So
# an import that is missing here is a question: is it a value, or a rule?
WALLS = {
    "tests/theory/formulas.py": Wall(
        "nothing of the package: gamma and beta functions", {"scipy": {"special"}}
    ),
    "tests/theory/naive.py": Wall("nothing: a scenario is the data of a file", {}),
    "tests/oracles.py": Wall(
        IDENTITIES,
        {
            "cellspec.graph.columns": {"ColumnDescriptor", "ExecutionTraits"},
            "cellspec.graph.nodes": {"BarrierNodeId", "CellNodeId", "NodeId"},
        },
    ),
    "tests/run_oracle.py": Wall(
        f"{IDENTITIES}; and the oracle of graphs",
        {
            "cellspec.graph.columns": {"ExecutionTraits"},
            "cellspec.graph.nodes": {"BarrierNodeId", "CellNodeId", "NodeId"},
            "tests.oracles": {"Definition"},
        },
    ),
    "tests/matrix/definition.py": Wall(
        f"{IDENTITIES}; and the examples, which are data",
        {
            "cellspec": {"BarrierNodeId", "CellNodeId", "ExecutionTraits", "NodeId"},
            "tests.matrix.examples": {"Example"},
        },
    ),
    "src/cellspec/explore/invariants.py": Wall(
        "types of what it is given: of the graph it reads sizes and the compiled rule of each "
        "column, which `tests/oracles.py` judges, and asks it for no edge; a claim is a tuple of "
        "numbers",
        {
            "cellspec.graph.graph": {"ExecutionGraph"},
            "cellspec.state.claims": {"Claim"},
        },
    ),
    "src/cellspec/conformance/judge/expected_table.py": Wall(
        "values and how they are computed from their inputs, which the judge must compute again; "
        "the workload and its traits, which are data",
        {
            "cellspec.conformance.run.values": {
                "PLAIN",
                "SKIPPED",
                "Style",
                "Value",
                "barrier_values",
                "value_of",
            },
            "cellspec.conformance.run.workload": {"Workload"},
            "cellspec.graph.columns": {"ColumnDescriptor", "ExecutionTraits"},
        },
    ),
    "src/cellspec/conformance/judge/table_judge.py": Wall(
        "the expected table, which is independent itself; values and the calls that gave them; the "
        "workload; and the words of a count",
        {
            "cellspec.conformance.judge.expected_table": {
                "PlainColumn",
                "expected_table",
                "may_drop",
                "plain_columns",
            },
            "cellspec.conformance.run.values": {
                "SKIPPED",
                "BarrierRun",
                "CellCall",
                "Registry",
                "Table",
                "Value",
            },
            "cellspec.conformance.run.workload": {"Workload"},
            "cellspec.text": {"counted"},
        },
    ),
    "tests/conformance/second_engine.py": Wall(
        "the interface of backends, as every adapter uses it, and the type of the column rules of "
        "the graph that the probe gives each engine; nothing of the reference engine, the "
        "counters, the machine or its policy",
        {
            "cellspec.conformance": {
                "CAPABILITIES",
                "REJECTED",
                "SKIPPED",
                "BackPressure",
                "Permanent",
                "Probe",
                "Refused",
                "Retryable",
                "SavePolicy",
                "Table",
                "Value",
            },
            "cellspec.graph.rules": {"ColumnRule"},
        },
    ),
}


@pytest.mark.parametrize("oracle", WALLS)
def test_the_oracles_share_nothing_with_the_package_but_the_values_both_talk_in(
    oracle: str,
) -> None:
    wall, path = WALLS[oracle], TESTS.parent / oracle
    taken: dict[str, set[str]] = {}
    for module, name in imports(path):
        if module.partition(".")[0] not in sys.stdlib_module_names:
            taken.setdefault(module, set()).add(name)
    assert taken == wall.imports, f"{oracle} may take: {wall.reason}"
    called = {
        node.func.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"__import__", "eval", "exec", "getattr"}


# Questions about edges and rows, which the invariants answer themselves.
ANSWERS = {
    "get_dependencies",
    "iter_dependencies",
    "get_dependents",
    "iter_dependents",
    "is_row_complete",
    "is_complete",
}


def test_the_invariants_ask_the_graph_for_no_edge() -> None:
    tree = tree_of(SRC / "cellspec" / "explore" / "invariants.py")
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not read & ANSWERS


def test_every_public_name_is_there_and_none_is_public_by_accident() -> None:
    assert len(set(cellspec.__all__)) == len(cellspec.__all__)
    for name in cellspec.__all__:
        assert getattr(cellspec, name) is not None


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), name_of(path)


ORACLES = (
    "tests.oracles",
    "tests.pair",
    "tests.run_oracle",
    "tests.recompute",
    "cellspec.explore.invariants",
)


def test_what_is_held_against_an_oracle_is_marked_as_an_invariant() -> None:
    unmarked = []
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        modules = {module for module, _ in imports(path)}
        if modules & {*ORACLES, "hypothesis.stateful"} and "pytest.mark.invariant" not in text:
            unmarked.append(path.name)
    assert not unmarked, "run by `pytest -m invariant`: pytestmark = pytest.mark.invariant"
