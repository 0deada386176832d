"""What do the tests let through? One small fault at a time is put into a module, and they are run.

``python -m tests.mutation checkpoint`` mutates `cellspec.state.checkpoint`: each comparison,
condition, number, sum and statement in turn, as one who errs by one might have written it. Each
mutant runs in a process of its own against the quick tests of its module, until the first that
fails. A mutant that none fails for has *survived*: a test is missing, or nothing can tell the two
apart. Which of these it is stands, with the reason, in `tests/mutation_survivors.toml`. Exit code 1
if one survives that is not listed there, or one is listed that does not survive.

Tests run in the order of what they have found so far for their time. In the first round they are
collected once, try few examples, and meet each mutant in a fork in which only the code of functions
was swapped. What that leaves alive meets them again, imported anew, with the examples of ``ci``.
With ``--keep FILE`` a run that was stopped goes on where it was: what a test has found is not run
again while the function that it is in stays the same. ``--quick`` leaves out the second round: what
it prints is a list of suspects.

No part of CI: a module takes minutes. It needs `fork`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
import tomllib
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Once, before each mutant's process is made.
import hypothesis.stateful  # noqa: F401
import pytest

ROOT = Path(__file__).parents[1]
SURVIVORS = Path(__file__).parent / "mutation_survivors.toml"

TIMEOUT_S = 240
"""How long one mutant may wait; what it may compute goes by what its tests take without a fault."""

ROUNDS = {"mutation-quick": ("-k", "not memory and not holds and not hold_nothing"), "mutation": ()}
"""By Hypothesis profile, which tests run; what the first round leaves alive goes to the second."""

SWAPPED = "mutation-quick"
"""The round in which the code of functions is swapped, and nothing is imported anew."""

_OWN = ("state/test_drops", "state/test_checkpoint", "state/test_restore")
HOME = {
    "checkpoint": "cellspec.state.checkpoint",
    "moving": "cellspec.state.moving",
    "node_states": "cellspec.state.node_states",
    "policy": "cellspec.machine.policy",
    "prefixes": "cellspec.state.prefixes",
    "restoring": "cellspec.state.restoring",
    "rowset": "cellspec.graph.rowset",
    "rules": "cellspec.graph.rules",
    "slots": "cellspec.state.slots",
    "tracker": "cellspec.state.tracker",
    "without_value": "cellspec.state.without_value",
    "wanting": "cellspec.state.wanting",
}
"""Where the modules that can be mutated are."""

TESTS = {
    "checkpoint": _OWN,
    "tracker": (*_OWN, "state/test_tracker", "state/test_tracker_stateful"),
    "rules": (*_OWN, "graph/test_graph", "state/test_tracker_stateful"),
    "rowset": ("graph/test_rowset", "state/test_drops", "state/test_tracker_stateful"),
    **dict.fromkeys(
        ("moving", "node_states", "prefixes", "restoring", "slots", "without_value", "wanting"),
        (
            *_OWN,
            "state/test_tracker_stateful",
            "machine/test_stateful",
            "state/test_tracker",
        ),
    ),
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
    """One mutant: where it is, as a reader finds it after lines have moved, and its source.

    The unit is the function that it is in, as it was.
    """

    where: str
    was: str
    becomes: str
    number: int
    unit: str
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
    elif isinstance(node, ast.With):
        # A lock that nobody takes.
        yield ast.If(ast.Constant(value=True), node.body, [])
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
            yield node, name, place, child


def _names(targets: Sequence[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def faults(source: str, only: Sequence[str] = ()) -> Iterator[Fault]:
    """Every mutant of a module whose name holds one of these, in the order of its lines."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()

    def walk(node: ast.AST, where: str, unit: str) -> Iterator[Fault]:
        for parent, name, place, child in _children(node):
            inside, within = where, unit
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}".lstrip(".")
            if isinstance(child, ast.FunctionDef):
                within = ast.unparse(child)
            for other in _changes(child):
                instead = ast.Pass() if other is None else other
                was, becomes = _short(child), "nothing" if other is None else _short(instead)
                key = f"{inside}: {was} -> {becomes}"
                seen[key] += 1
                if only and not any(words in key for words in only):
                    continue
                slot = getattr(parent, name)
                if place is None:
                    setattr(parent, name, instead)
                else:
                    slot[place] = instead
                mutated = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
                if place is None:
                    setattr(parent, name, child)
                else:
                    slot[place] = child
                yield Fault(inside, was, becomes, seen[key], within, mutated)
            yield from walk(child, inside, within)

    yield from walk(tree, "", "")


def _short(node: ast.AST) -> str:
    """A node in one line; of a block its head."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.With):
        return f"with {', '.join(ast.unparse(item) for item in node.items)}"
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


@dataclass(frozen=True)
class Verdict:
    """What the tests said of one source: which found it out, if any, and how long each took."""

    found_by: str | None
    seconds: dict[str, float]


@dataclass
class Tests:
    """The tests of a module in one round, with what is known of each: what it found and takes."""

    module: str
    profile: str
    finds: Counter[str]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the module stands."""
        return path_of(self.module)

    def worth(self, test: str) -> float:
        """What a test is likely to find in a second."""
        return (self.finds[test] + 0.2) / (self.seconds.get(test, 0.0) + 0.01)

    def limit_s(self, test: str) -> float:
        """How long a test may compute, by what it takes without a fault."""
        return 4 * self.seconds[test] + 2 if test in self.seconds else TIMEOUT_S

    def run(self, plugin: object) -> int:
        """Hand the tests to pytest; its exit code."""
        os.environ["HYPOTHESIS_PROFILE"] = self.profile
        files = [str(ROOT / "tests" / f"{name}.py") for name in TESTS[self.module]]
        options = [
            "-x",
            "-q",
            "-s",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-p",
            "no:warnings",
        ]
        return int(pytest.main([*options, *ROUNDS[self.profile], *files], plugins=[plugin]))

    def learn(self, judge: Callable[[str], Verdict]) -> bool:
        """Run all without a fault; False if one fails."""
        verdict = judge(self.path.read_text(encoding="utf-8"))
        self.seconds = verdict.seconds
        return verdict.found_by is None

    def judge(self, source: str) -> Verdict:
        """Import everything anew with this source in the module's place, until a test fails."""
        return self.apart(lambda: self._judge(source))

    def _judge(self, source: str) -> str | None:
        sys.meta_path.insert(0, _Loader(HOME[self.module], self.path, source))
        # Before pytest looks for its plugins: it has a loader of its own for what they import.
        importlib.import_module(HOME[self.module])
        plugin = _Plugin(self)
        code = self.run(plugin)
        self.seconds = plugin.seconds
        return plugin.failed or (f"exit code {code}" if code else None)

    def apart(self, work: Callable[[], str | None]) -> Verdict:
        """Do it in a process of its own; what it raises is a find.

        What computes for too long is in a loop that it should not be in: it is found.
        """

        def judge() -> list[Any]:
            signal.alarm(TIMEOUT_S)
            signal.setitimer(signal.ITIMER_PROF, TIMEOUT_S)
            _hush()
            try:
                found_by = work()
            except BaseException as error:
                found_by = type(error).__name__
            return [found_by, self.seconds]

        code, said = _forked(judge)
        found_by, seconds = (f"signal {-code}", {}) if code else said
        return Verdict(found_by, seconds)


def _forked(work: Callable[[], object]) -> tuple[int, Any]:
    """Do it in a process of its own; its exit code, negative for a signal, and what it returned."""
    read, write = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        said = json.dumps(work())
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, json.loads(said) if said else None


def _hush() -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


class _Plugin:
    """Puts tests into order, and notes what fails and how long each takes."""

    def __init__(self, tests: Tests) -> None:
        self.tests = tests
        self.failed: str | None = None
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: -self.tests.worth(item.nodeid))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, self.tests.limit_s(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = report.nodeid


class _Swapping(_Plugin):
    """Collects the tests once, and runs them in a process for each mutant, its code swapped in.

    Far cheaper than to import everything anew. What tests made while they were
    collected was made by the module as it is, so a survivor is only a suspect.
    """

    def __init__(self, tests: Tests, go_on: Callable[[Callable[[str], Verdict]], None]) -> None:
        super().__init__(tests)
        self._go_on = go_on

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        def work(source: str) -> str | None:
            if not swap(HOME[self.tests.module], self.tests.path, source):
                return None
            items = sorted(session.items, key=lambda item: -self.tests.worth(item.nodeid))
            for item, after in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if self.failed:
                    break
            self.tests.seconds = self.seconds
            return self.failed

        self._go_on(lambda source: self.tests.apart(lambda: work(source)))
        return True


def path_of(module: str) -> Path:
    """The source of a module that `HOME` names."""
    return ROOT / "src" / f"{HOME[module].replace('.', '/')}.py"


def swap(module: str, path: Path, source: str) -> bool:
    """Give the functions of an imported module the code of another source; False if it cannot."""
    other = types.ModuleType(module)
    exec(compile(source, str(path), "exec"), other.__dict__)
    pairs = [(vars(sys.modules[module]), vars(other))]
    done = True
    while pairs:
        mine, its = pairs.pop()
        for name, thing in mine.items():
            if isinstance(thing, type) and thing.__module__ == module:
                pairs.append((dict(vars(thing)), dict(vars(its[name]))))
            olds, news = _functions(thing), _functions(its.get(name))
            for old, new in zip(olds, news, strict=False):
                if old.__module__ != module or old.__code__.co_filename != str(path):
                    continue
                if len(old.__code__.co_freevars) != len(new.__code__.co_freevars):
                    done = False
                    continue
                old.__code__, old.__defaults__ = new.__code__, new.__defaults__
                old.__kwdefaults__ = new.__kwdefaults__
    return done


def _functions(thing: object) -> list[types.FunctionType]:
    if isinstance(thing, property):
        return [part for part in (thing.fget, thing.fset) if isinstance(part, types.FunctionType)]
    if isinstance(thing, classmethod | staticmethod):
        return _functions(thing.__func__)
    return [thing] if isinstance(thing, types.FunctionType) else []


@dataclass
class Kept:
    """What earlier runs found, a line a mutant, so that a run that was stopped goes on."""

    path: Path | None
    found: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            for line in self.path.read_text("utf-8").splitlines():
                module, key, digest, found_by = json.loads(line)
                if found_by is not None:
                    self.found[f"{module} {key}", digest] = found_by

    def by(self, module: str, fault: Fault) -> str | None:
        """The test that found a mutant, if one did."""
        return self.found.get((f"{module} {fault.key}", _digest(fault)))

    def add(self, module: str, fault: Fault, found_by: str | None) -> None:
        """Keep what became of a mutant."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                print(json.dumps([module, fault.key, _digest(fault), found_by]), file=file)


def _digest(fault: Fault) -> str:
    return hashlib.blake2b(fault.unit.encode(), digest_size=8).hexdigest()


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
    parser.add_argument(
        "--only", metavar="WORDS", nargs="+", default=(), help="those whose name holds one of these"
    )
    parser.add_argument("--quick", action="store_true", help="the first round only")
    parser.add_argument("--keep", metavar="FILE", type=Path, help="go on from this file")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    kept = Kept(options.keep and options.keep.absolute())
    odd = 0
    for module in options.module:
        source = path_of(module).read_text(encoding="utf-8")
        chosen = list(faults(source, options.only))
        if options.list:
            print(*(fault.key for fault in chosen), sep="\n")
            continue
        profiles = list(ROUNDS)[: 1 if options.quick else None]
        odd += _run(module, chosen, kept, profiles, whole=not options.only)
    return 1 if odd else 0


@dataclass
class _Round:
    """One round over the mutants that are left; which of them no test found, by place."""

    tests: Tests
    kept: Kept
    reasons: Mapping[str, str]
    left: Sequence[Fault]
    alive: list[int] | None = None

    def run(self) -> list[int] | None:
        """None if a test fails without a fault.

        Tests that are collected here stay imported, so that is done in a process of its own.
        """
        if self.tests.profile != SWAPPED:
            self.go_through(self.tests.judge)
            return self.alive

        def collected() -> list[int] | None:
            self.tests.run(_Swapping(self.tests, self.go_through))
            return self.alive

        alive: list[int] | None = _forked(collected)[1]
        return alive

    def go_through(self, judge: Callable[[str], Verdict]) -> None:
        """Have each mutant judged, and tell and keep what became of it."""
        if not self.tests.learn(judge):
            return
        self.alive = []
        for place, fault in enumerate(self.left):
            if self.tests.profile == SWAPPED and not fault.unit:
                # What stands outside of functions was read by others when they were imported.
                self.alive.append(place)
                continue
            found_by = judge(fault.source).found_by
            self.kept.add(self.tests.module, fault, found_by)
            if found_by is not None:
                self.tests.finds[found_by] += 1
                continue
            self.alive.append(place)
            said = "as listed" if fault.key in self.reasons else "SURVIVES"
            print(f"{said} ({self.tests.profile}): {fault.key}", flush=True)


def _run(
    module: str, chosen: Sequence[Fault], kept: Kept, profiles: Sequence[str], *, whole: bool
) -> int:
    """Judge the mutants of a module; how many are not as the list says."""
    reasons, began = known(module), time.monotonic()
    left = [fault for fault in chosen if kept.by(module, fault) is None]
    finds = Counter(by for fault in chosen if (by := kept.by(module, fault)) is not None)
    for profile in profiles:
        alive = _Round(Tests(module, profile, finds), kept, reasons, left).run()
        if alive is None:
            print(f"{module}: its tests fail as it is")
            return 1
        left = [left[place] for place in alive]
    names = {fault.key for fault in left}
    gone = sorted(reasons.keys() - names) if whole else []
    for key in gone:
        print(f"listed, and does not survive: {key}")
    fresh = names - reasons.keys()
    print(
        f"{module}: {len(chosen)} mutants, {len(chosen) - len(left)} found, "
        f"{len(names) - len(fresh)} survive as listed, {len(fresh)} are news "
        f"({time.monotonic() - began:.0f} s)"
    )
    return len(fresh) + len(gone)


if __name__ == "__main__":
    sys.exit(main())
