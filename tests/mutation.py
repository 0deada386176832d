"""What do the tests let through? One small fault at a time is put into a module, and they are run.

``python -m tests.mutation checkpoint`` mutates `cellspec.checkpoint`: each comparison, condition,
number, sum and statement in turn, as one who errs by one might have written it. Each mutant runs in
a process of its own against the quick tests of its module, until the first that fails. A mutant
that none fails for has *survived*: a test is missing, or nothing can tell the two apart. Which of
these it is stands, with the reason, in `tests/mutation_survivors.toml`. Exit code 1 if one survives
that is not listed there, or one is listed that does not survive.

No part of CI: a module takes minutes. It needs `fork`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 - once, before each mutant's process is made
import pytest

ROOT = Path(__file__).parents[1]
SURVIVORS = Path(__file__).parent / "mutation_survivors.toml"
TIMEOUT_S = 240

_OWN = ("test_drops", "test_checkpoint", "test_restore")
TESTS = {
    "checkpoint": _OWN,
    "tracker": (*_OWN, "test_tracker", "test_tracker_stateful"),
    "rules": ("test_drops", "test_graph", "test_restore", "test_tracker_stateful"),
    "rowset": ("test_drops", "test_tracker_stateful"),
    "counters": (*_OWN, "test_tracker_stateful", "test_machine_stateful", "test_tracker"),
}
"""By module of `cellspec`, the tests that are to find what is wrong in it, the quickest first."""

_SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
_OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SILENT = ("__slots__", "__all__")


@dataclass(frozen=True)
class Fault:
    """One mutant: where it is, as a reader finds it after lines have moved, and its source."""

    where: str
    was: str
    becomes: str
    number: int
    source: str

    @property
    def key(self) -> str:
        """A name that stays as long as the function says the same."""
        again = f" (no. {self.number})" if self.number > 1 else ""
        return f"{self.where}: {self.was} -> {self.becomes}{again}"


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """What a node might have been by mistake; None for a statement that was forgotten."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            if type(op) in _SWAPPED:
                swapped = [*node.ops[:place], _SWAPPED[type(op)](), *node.ops[place + 1 :]]
                yield _with(node, ops=swapped)
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=_SWAPPED[type(node.op)]())
        for place in range(len(node.values)):
            rest = node.values[:place] + node.values[place + 1 :]
            yield rest[0] if len(rest) == 1 else _with(node, values=rest)
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _SWAPPED:
        yield _with(node, op=_SWAPPED[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int):
        other = not node.value if isinstance(node.value, bool) else node.value + 1
        yield ast.Constant(other)
    elif isinstance(node, ast.For | ast.comprehension):
        # The first of several, and not all of them.
        first = ast.parse("[one for one in here][:1]", mode="eval").body
        assert isinstance(first, ast.Subscript)
        assert isinstance(first.value, ast.ListComp)
        first.value.generators[0].iter = node.iter
        yield _with(node, iter=first)
    elif isinstance(node, ast.Name) and node.id in _OTHER_NAMES:
        yield ast.Name(_OTHER_NAMES[node.id], node.ctx)
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Compare | ast.UnaryOp
    ):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.AugAssign | ast.Delete | ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield)
    ):
        yield None


def _with(node: Any, **fields: Any) -> Any:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """The nodes that matter below one, each with where it hangs; types and names of things do not.

    An assertion says what is so, and so does a strict `zip`: without it the program is the same.
    """
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or isinstance(child, ast.Assert | ast.JoinedStr):
                continue
            if isinstance(child, ast.Assign) and any(n in _SILENT for n in _names(child.targets)):
                continue
            if isinstance(child, ast.AnnAssign) and child.value is None:
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            yield node, field, place, child


def _names(targets: Sequence[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def faults(source: str) -> Iterator[Fault]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()

    def walk(node: ast.AST, where: str) -> Iterator[Fault]:
        for parent, field, place, child in _children(node):
            inside = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}".lstrip(".")
            for other in _changes(child):
                instead = ast.Pass() if other is None else other
                slot = getattr(parent, field)
                if place is None:
                    setattr(parent, field, instead)
                else:
                    slot[place] = instead
                mutated = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
                if place is None:
                    setattr(parent, field, child)
                else:
                    slot[place] = child
                was, becomes = _short(child), "nothing" if other is None else _short(instead)
                key = f"{inside}: {was} -> {becomes}"
                seen[key] += 1
                yield Fault(inside, was, becomes, seen[key], mutated)
            yield from walk(child, inside)

    yield from walk(tree, "")


def _short(node: ast.AST) -> str:
    """A node in one line; of a block its head."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.For | ast.comprehension):
        return f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
    return " ".join(ast.unparse(node).split())


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a mutated module to whoever imports it."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self._path))

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(self._path)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def survives(module: str, source: str) -> bool:
    """True if all tests of a module pass with this source in its place.

    What runs for too long is in a loop that it should not be in: it is found.
    """
    child = os.fork()
    if child == 0:
        _judge(module, source)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _judge(module: str, source: str) -> None:
    """In a process of its own: run the tests, and leave with what they say."""
    signal.alarm(TIMEOUT_S)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    path = ROOT / "src" / "cellspec" / f"{module}.py"
    sys.meta_path.insert(0, _Loader(f"cellspec.{module}", path, source))
    try:
        # Before pytest looks for its plugins: it has a loader of its own for what they import.
        importlib.import_module(f"cellspec.{module}")
    except Exception:
        os._exit(1)
    tests = [str(ROOT / "tests" / f"{name}.py") for name in TESTS[module]]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    os._exit(int(pytest.main([*options, *tests])) != 0)


def known(module: str) -> dict[str, str]:
    """The survivors of a module that cannot be told from it, each with the reason."""
    listed: dict[str, dict[str, str]] = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))
    return listed.get(module, {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate modules, and tell what survives."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="What do the tests let through?"
    )
    parser.add_argument("module", nargs="*", choices=sorted(TESTS), default=["checkpoint"])
    parser.add_argument("--list", action="store_true", help="list the mutants, and run nothing")
    parser.add_argument("--only", metavar="WORDS", default="", help="those whose name holds this")
    options = parser.parse_args(arguments)
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    os.chdir(ROOT)
    odd = 0
    for module in options.module:
        source = (ROOT / "src" / "cellspec" / f"{module}.py").read_text(encoding="utf-8")
        chosen = [fault for fault in faults(source) if options.only in fault.key]
        if options.list:
            print(*(fault.key for fault in chosen), sep="\n")
            continue
        odd += _run(module, source, chosen, whole=not options.only)
    return 1 if odd else 0


def _run(module: str, source: str, chosen: Sequence[Fault], *, whole: bool) -> int:
    """Judge the mutants of a module; how many are not as the list says."""
    if not survives(module, source):
        print(f"{module}: its tests fail as it is")
        return 1
    reasons, alive, began = known(module), [], time.monotonic()
    for fault in chosen:
        if survives(module, fault.source):
            alive.append(fault.key)
            print(f"{'as listed' if fault.key in reasons else 'SURVIVES'}: {fault.key}", flush=True)
    gone = sorted(set(reasons) - set(alive)) if whole else []
    for key in gone:
        print(f"listed, and does not survive: {key}")
    fresh = [key for key in alive if key not in reasons]
    print(
        f"{module}: {len(chosen)} mutants, {len(chosen) - len(alive)} found, "
        f"{len(alive) - len(fresh)} survive as listed, {len(fresh)} are news "
        f"({time.monotonic() - began:.0f} s)"
    )
    return len(fresh) + len(gone)


if __name__ == "__main__":
    sys.exit(main())
