"""The rules of the house: one direction of imports, no circles, no reach into private state.

`plans/house.md` says what each room is for. The order of the rooms is `ROOMS` here: a module
imports from its own room and from rooms listed before it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.test_architecture import tree_of

SRC = Path(__file__).parents[1] / "src"

ROOMS = (
    # Every room stands on the first.
    (
        "cellspec.errors",
        "cellspec.clauses",
        "cellspec.shapes",
        "cellspec.text",
        "cellspec.skipped",
        "cellspec.rejected",
        "cellspec.console",
        "cellspec.progress_line",
        "cellspec.files",
        "cellspec.exit_codes",
        "cellspec.faults",
        "cellspec.plain_yaml",
        "cellspec.clusters",
        "cellspec.parallel",
    ),
    ("cellspec.graph",),
    ("cellspec.state",),
    ("cellspec.machine",),
    ("cellspec.trace",),
    ("cellspec.check",),
    ("cellspec.build",),
    # The names that `import cellspec` gives come from the rooms so far.
    ("cellspec.__init__",),
    ("cellspec.virtualtime",),
    ("cellspec.engine",),
    ("cellspec.conformance",),
    ("cellspec.engines",),
    ("cellspec.explore",),
    ("cellspec.replay",),
    ("cellspec.fuzz",),
    ("sim",),
    ("cellspec.__main__",),
)
"""A room imports only from rooms listed before it."""

SUITE = ("run", "judge", "campaign", "report", "starter", "pytest")
"""The rooms within the conformance suite, in the same order."""

SIM = (
    ("policies", "draws", "figures", "targets", "terminal", "arguments", "hints", "examples"),
    ("endpoints",),
    ("scenario",),
    ("simulator",),
    # A scenario made into a run, and a run into figures.
    ("simulation", "results"),
    ("results_together",),
    ("result_fields",),
    ("experiments",),
    ("api", "__init__"),
    ("output",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""The rooms within the simulator, in the same order; modules that lie flat stand among them."""

LARGEST_CLASS = 450
"""Lines, with its docstrings."""

MOST_OVERRIDES = 8
"""Methods of a base class of ours that one class may replace."""

WRAPS = {"ThreadSafeCompletionTracker"}
"""It is a `CompletionTracker` to its users, and holds a lock around each method."""


def modules() -> dict[str, Path]:
    """Every module of the two packages by name; a package's own is named ``….__init__``."""
    found = {}
    for path in sorted([*(SRC / "cellspec").rglob("*.py"), *(SRC / "sim").rglob("*.py")]):
        found[path.relative_to(SRC).with_suffix("").as_posix().replace("/", ".")] = path
    return found


MODULES = modules()


ALIASES = {
    "cellspec.conformance.cost",
    "cellspec.conformance.harness",
    "cellspec.conformance.reference",
    "cellspec.conformance.workload",
    "sim.fuzz.__init__",
    "sim.fuzz.machine",
}
"""Older places of names, for version 0.1: tests that the suite printed for its users import them.

They stand in no room. Each is a table of names, whose new place, of any room, is loaded when a name
is asked for; and no module of ours imports one.
"""

LATE = {("cellspec.graph.graph", "cellspec.state.tracker")}
"""`ExecutionGraph.tracker` is part of the public interface: it loads its room when it is called."""


def home_of(name: str) -> str | None:
    """The module that an import of this name loads, if it is ours."""
    if name in MODULES:
        return name
    return f"{name}.__init__" if f"{name}.__init__" in MODULES else None


def imported(name: str) -> Iterator[tuple[str, int]]:
    """The modules of ours that a module imports at any depth, for types only as well; and where."""
    for node in ast.walk(tree_of(MODULES[name])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if home := home_of(alias.name):
                    yield home, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                home = home_of(f"{node.module}.{alias.name}") or home_of(node.module)
                if home and home != name:
                    yield home, node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named = constant_of(name, node.args[0])
            if (home := home_of(named)) and (name, home) not in LATE:
                yield home, node.lineno


def constant_of(name: str, node: ast.expr) -> str:
    """The text that an expression is known to be: itself, or a constant of its module."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    for item in tree_of(MODULES[name]).body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == ast.unparse(node):
            return str(item.value.value) if isinstance(item.value, ast.Constant) else ""
    return ""


def floor_of(name: str) -> int:
    """The place in the list of the room that a module is in."""
    floors = [
        floor
        for floor, rooms in enumerate(ROOMS)
        if any(name == room or name.startswith(f"{room}.") for room in rooms)
    ]
    assert len(floors) == 1, f"{name}: stands in no room of ROOMS, or in more than one"
    return floors[0]


def suite_floor(name: str) -> int:
    """The floor of a module within the conformance suite; -1 for its front page."""
    part = name.removeprefix("cellspec.conformance.").partition(".")[0]
    return SUITE.index(part) if part in SUITE else -1


# Its names are loaded when they are first asked for, and belong to rooms listed after it.
FRONT_PAGE = "cellspec.conformance.__init__"
ABOVE_THE_SUITE = ("cellspec.engines", "cellspec.explore", "cellspec.replay", "cellspec.fuzz")


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_rooms_listed_before_it(name: str) -> None:
    for other, line in imported(name):
        where = f"{name}:{line} imports {other}"
        if name.startswith("cellspec.") and not name.startswith(ABOVE_THE_SUITE):
            assert other != FRONT_PAGE, f"{where}, whose names belong to the rooms of the suite"
        assert floor_of(other) <= floor_of(name), f"{where}, of a room listed after it"
        inside = "cellspec.conformance."
        if name.startswith(inside) and other.startswith(inside) and name != FRONT_PAGE:
            assert suite_floor(other) <= suite_floor(name), f"{where}, of a room listed after it"


def sim_floor(name: str) -> int:
    """The floor of a module within the simulator."""
    part = name.split(".")[1]
    floors = [floor for floor, parts in enumerate(SIM) if part in parts]
    assert len(floors) == 1, f"{name}: stands in no room of SIM, or in more than one"
    return floors[0]


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith("sim.") and name not in ALIASES]
)
def test_rooms_of_the_simulator_import_only_rooms_listed_before_them(name: str) -> None:
    floor = sim_floor(name)
    for other, line in imported(name):
        if other.startswith("sim."):
            assert sim_floor(other) <= floor, (
                f"{name}:{line} imports {other}, of a room listed after it"
            )


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_an_older_place_is_a_table_of_names(name: str) -> None:
    assert not list(imported(name))
    body = [
        item
        for item in tree_of(MODULES[name]).body
        if not isinstance(item, ast.Import | ast.ImportFrom)
    ]
    what = [
        item.name if isinstance(item, ast.FunctionDef) else ast.unparse(item).partition(" = ")[0]
        for item in body[1:]
    ]
    assert what == ([] if name.endswith("__init__") else ["_HOME_OF", "__getattr__"])


def test_no_module_imports_an_older_place() -> None:
    users = {name for name in MODULES for other, _ in imported(name) if other in ALIASES}
    assert not users


def test_there_is_no_circle_of_modules() -> None:
    arrows = {
        name: {other for other, _ in imported(name)} for name in MODULES if name != FRONT_PAGE
    }
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.Module) -> set[str]:
    """The private names that a module itself gives to anything: functions, fields, slots."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in {"self", "cls", "made", "other", "new"}
        ):
            found.add(node.attr)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            found |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__":
            found |= {str(item.value) for item in node.args if isinstance(item, ast.Constant)}
    return found


NAMED_TUPLE = {"_asdict", "_fields", "_replace"}
"""Public by the documentation of `collections.namedtuple`."""

FOREIGN = {
    # Where a user's call stands.
    "cellspec.conformance.run.": {"_getframe", "_current_frames"},
    # An adapter has to reach into an engine that offers no seam.
    "cellspec.engines.datadesigner.": None,
    # Hypothesis has no public switch for constants of the source.
    "cellspec.conformance.campaign.campaign": {"_maybe_draw_constant"},
    # argparse has no public name for an option's own action, nor `os` for the end of a process.
    "cellspec.exit_codes": {"_StoreAction", "_exit"},
    # The event loop is asyncio's own, and its clock is all that is replaced.
    "cellspec.virtualtime.": None,
}
"""Private names of other people's packages, by the start of the module's name; None: all."""


OURS = {"checker", "counters", "graph", "machine", "probe", "tracker", "work"}
"""What the objects of other rooms are called."""


def may_read(module: str, node: ast.Attribute) -> bool:
    """Whether a private name belongs to somebody else's package."""
    name, owner = node.attr, ast.unparse(node.value).removeprefix("self.")
    if owner.lstrip("_") in OURS:
        return False
    for start, names in FOREIGN.items():
        if module.startswith(start):
            return names is None or name in names
    return name in NAMED_TUPLE


@pytest.mark.parametrize("name", MODULES)
def test_no_module_reads_the_private_state_of_another(name: str) -> None:
    tree = tree_of(MODULES[name])
    own = own_names(tree)
    read = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and private(node.attr)
        and node.attr not in own
        and not may_read(name, node)
        and not (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super")
    ]
    taken = [
        f"{name}:{node.lineno}: from {node.module} import {alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if private(alias.name)
    ]
    asked = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"getattr", "setattr", "hasattr"}
        and isinstance(node.args[1], ast.Constant)
        and private(str(node.args[1].value))
        and node.args[1].value not in own
        and not name.startswith(tuple(FOREIGN))
    ]
    assert not read + taken + asked


def test_states_are_told_apart_by_their_names() -> None:
    """`cellspec.state.codes` has the numbers; all others compare with its names."""
    bare = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Subscript)
        and ast.unparse(node.left.value).rpartition(".")[2].partition("[")[0]
        in {"barriers", "body", "cells", "states"}
        and any(
            isinstance(item, ast.Constant) and isinstance(item.value, int)
            for item in node.comparators
        )
    ]
    assert not bare


@pytest.mark.parametrize("name", MODULES)
def test_no_class_is_longer_than_a_person_reads_at_a_time(name: str) -> None:
    for node in ast.walk(tree_of(MODULES[name])):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= LARGEST_CLASS, f"{name}.{node.name}: {lines} lines"


def classes() -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for path in MODULES.values()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    }


def methods(node: ast.ClassDef) -> set[str]:
    return {
        item.name
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        and not item.name.startswith("__")
    }


def test_no_class_overrides_most_of_another() -> None:
    """Composition: what wants to know of a step, or to do it otherwise, is handed in."""
    known = classes()
    for name, node in known.items():
        for base in node.bases:
            other = known.get(ast.unparse(base).rpartition(".")[2])
            if other is None or _is_interface(other) or name in WRAPS:
                continue
            both = methods(node) & methods(other)
            assert len(both) <= MOST_OVERRIDES, (
                f"{name} overrides {len(both)} methods of {ast.unparse(base)}"
            )


def _is_interface(node: ast.ClassDef) -> bool:
    """A protocol, or a class whose methods do nothing until they are overridden."""
    if "Protocol" in {ast.unparse(base).partition("[")[0] for base in node.bases}:
        return True
    bodies = [item.body for item in node.body if isinstance(item, ast.FunctionDef)]
    return all(
        isinstance(step, ast.Expr | ast.Pass) and not isinstance(step, ast.Call)
        for body in bodies
        for step in body
    )


def room_of(name: str) -> str:
    """The room of a module, as the drawing calls it; "" for the ground floor and front pages."""
    parts = name.split(".")
    return parts[1] if parts[0] == "cellspec" and len(parts) > 2 else parts[0] * (parts[0] == "sim")


def drawing() -> list[str]:
    """Arrows between rooms, as Mermaid: each leads to a room that is imported from.

    An arrow is left out if others lead the same way.
    """
    arrows: dict[str, set[str]] = {}
    for name in MODULES:
        for other, _ in imported(name):
            here, there = room_of(name), room_of(other)
            if here and there and here != there:
                arrows.setdefault(here, set()).add(there)
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(arrows).static_order():
        direct = arrows.get(room, set())
        below[room] = direct | {far for near in direct for far in below[near]}
    return [
        f"    {room} --> {other}"
        for room in sorted(arrows)
        for other in sorted(arrows[room])
        if not any(other in below[near] for near in arrows[room])
    ]


def test_the_picture_of_the_house_has_the_arrows_of_the_code() -> None:
    page = (SRC.parent / "plans" / "house.md").read_text(encoding="utf-8")
    picture = page.partition("```mermaid\nflowchart TD\n")[2].partition("```")[0]
    assert picture.splitlines() == drawing()
