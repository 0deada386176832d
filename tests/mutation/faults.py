"""The mutants of a module: where each is, what it was, what it becomes, and its code.

A mutant is named by its function, the change and, if the function holds the same change several
times, which of them it is: ``CellStates.start: row < 0 -> row <= 0 (no. 2)``. So the name stays as
long as these words stand in the function.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import hashlib
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["PACKAGE", "ROOMS", "ROOT", "Fault", "faults", "functions", "modules", "path_of"]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "cellspec"

ROOMS = ("machine", "state", "check", "graph")
"""The packages of `cellspec` that are mutated: the rules first."""

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
    """One mutant of a module. The unit is the function that it is in, or else the whole module."""

    module: str
    key: str
    unit: str
    digest: str
    in_body: bool
    """Whether it changes no more than what a function does: no default, no field, no constant."""
    lines: tuple[int, ...]
    """The lines that a test must reach to meet it, counted from the first of the unit."""

    place: int

    def code(self) -> types.CodeType:
        """The module with this fault, compiled."""
        source = _source(self.module)
        parent, name, place, child, instead = source.slots[self.place]
        fault = ast.fix_missing_locations(ast.copy_location(copy.deepcopy(instead), child))
        _put(parent, name, place, fault)
        try:
            return compile(source.tree, str(path_of(self.module)), "exec")
        finally:
            _put(parent, name, place, child)


def modules(rooms: Sequence[str] = ROOMS) -> list[str]:
    """The modules of these rooms, or the modules themselves, without `cellspec.` before them."""
    found = []
    for room in rooms:
        path = PACKAGE / room.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        names = (file.relative_to(PACKAGE).with_suffix("") for file in files)
        found += [".".join(name.parts) for name in names if name.name != "__init__"]
    return list(dict.fromkeys(found))


def path_of(module: str) -> Path:
    """The source of a module."""
    return PACKAGE / f"{module.replace('.', '/')}.py"


def faults(module: str) -> list[Fault]:
    """Every mutant of a module, in the order of its lines."""
    return _source(module).faults


def functions(module: str) -> int:
    """How many functions and methods a module has that hold a mutant."""
    return len({fault.unit for fault in faults(module) if fault.unit})


@dataclass
class _Source:
    """A parsed module; by mutant, the slot in its tree and what comes there."""

    tree: ast.Module
    faults: list[Fault]
    slots: list[tuple[ast.AST, str, int | None, ast.AST, ast.AST]]


@dataclass(frozen=True)
class _Within:
    """What a node stands in."""

    where: str = ""
    unit: str = ""
    first: int = 0
    digest: str = ""
    in_body: bool = False


@cache
def _source(module: str) -> _Source:
    text = path_of(module).read_text(encoding="utf-8")
    source = _Source(ast.parse(text), [], [])
    seen: Counter[str] = Counter()
    _walk(module, source, source.tree, _Within(digest=_digest(text)), seen)
    return source


def _walk(module: str, source: _Source, node: ast.AST, within: _Within, seen: Counter[str]) -> None:
    for name, place, child in _children(node):
        inside = within
        if isinstance(node, ast.FunctionDef) and name == "body":
            inside = dataclasses.replace(within, in_body=True)
        for other in _changes(child):
            becomes = "nothing" if other is None else _short(other)
            if isinstance(child, ast.For | ast.comprehension):
                becomes = "the first alone"
            key = f"{inside.where}: {_short(child)} -> {becomes}".removeprefix(": ")
            seen[key] += 1
            again = f" (no. {seen[key]})" if seen[key] > 1 else ""
            number = len(source.slots)
            lines = tuple(line - inside.first for line in _lines(child))
            source.faults.append(
                Fault(
                    *(module, key + again, inside.unit, inside.digest, inside.in_body),
                    lines,
                    number,
                )
            )
            source.slots.append((node, name, place, child, other or _nothing(child)))
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = dataclasses.replace(inside, where=f"{inside.where}.{child.name}".lstrip("."))
            if isinstance(child, ast.FunctionDef) and not within.unit:
                first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
                inside = dataclasses.replace(
                    inside, unit=inside.where, first=first, digest=_digest(ast.unparse(child))
                )
        _walk(module, source, child, inside, seen)


def _nothing(forgotten: ast.AST) -> ast.stmt:
    """What stands for a statement that was forgotten; a function that asked `super` still may.

    The code of a function cannot be replaced by one that knows another number of outer names, and
    `super` brings the name of the class.
    """
    if any(isinstance(node, ast.Name) and node.id == "super" for node in ast.walk(forgotten)):
        return ast.Expr(ast.Name("super", ast.Load()))
    return ast.Pass()


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
        first = ast.parse("[*all][:1]", mode="eval").body
        assert isinstance(first, ast.Subscript)
        assert isinstance(first.value, ast.List)
        assert isinstance(first.value.elts[0], ast.Starred)
        first.value.elts[0].value = node.iter
        yield _with(node, iter=first)
    elif isinstance(node, ast.Name) and node.id in _OTHER_NAMES:
        yield ast.Name(_OTHER_NAMES[node.id], node.ctx)
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Compare | ast.UnaryOp | ast.BoolOp
    ):
        # Those are changed themselves.
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.With):
        # A lock that nobody takes.
        yield ast.If(ast.Constant(value=True), node.body, [])
    if isinstance(node, ast.AugAssign | ast.Delete | ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield)
    ):
        yield None


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The nodes that matter below one, each with where it hangs; types and names of things do not.

    An assertion says what is so, and so does a strict `zip`: without it the program is the same.
    """
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
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
            yield name, place, child


def _names(targets: Sequence[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _lines(node: Any) -> range:
    """The lines of a node; of a block those of its head."""
    if isinstance(node, ast.comprehension):
        return range(node.target.lineno, (node.iter.end_lineno or 0) + 1)
    head = node
    if isinstance(node, ast.If | ast.While):
        head = node.test
    elif isinstance(node, ast.For):
        head = node.iter
    elif isinstance(node, ast.With):
        head = node.items[-1].context_expr
    return range(node.lineno, head.end_lineno + 1)


def _short(node: ast.AST) -> str:
    """A node in one line; of a block its head."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.With):
        return f"with {', '.join(ast.unparse(item) for item in node.items)}"
    if isinstance(node, ast.For | ast.comprehension):
        return f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
    return " ".join(ast.unparse(node).split())


def _with(node: Any, **fields: Any) -> Any:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _put(parent: ast.AST, name: str, place: int | None, child: ast.AST) -> None:
    if place is None:
        setattr(parent, name, child)
    else:
        getattr(parent, name)[place] = child


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
