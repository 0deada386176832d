"""Tests on mutants: collected once, and run on each mutant in a fork of its own.

The fork gives the functions of the imported module the code of the mutant: far cheaper than to
import everything anew. What tests made while they were collected was made by the module as it is,
so a survivor may be no more than a suspect; `Tests` is told by `anew` to import everything anew,
which mutants outside of functions need.

A test is asked only about functions that it enters, which is learned by a run without a fault. The
test goes first that found most in this function, then in this module, for its time.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import selectors
import signal
import sys
import threading
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Once, before each mutant's process is made.
import hypothesis.stateful  # noqa: F401
import pytest

from tests.mutation.faults import PACKAGE, ROOT, Fault, path_of

__all__ = ["PROFILES", "Learned", "Tests", "files_of", "forked"]

WALL_S = 120
"""How long one mutant may wait; what it may compute goes by what its tests take without a fault."""

PROFILES = ("mutation-quick", "mutation")
"""Hypothesis profiles, the quick one first; what it leaves alive is tried with the other."""

NEAR = ("graph", "state", "machine", "check", "test_oracles.py")
"""The tests of the rooms that are mutated, which all are asked."""

_NOT_ASKED = "not memory and not holds and not hold_nothing"
"""What measures memory; it takes long, and says nothing about a run."""

_OPTIONS = [
    *("-x", "-q", "-s", "--tb=no", "-k", _NOT_ASKED),
    *("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:warnings", "-p", "no:xdist"),
]

Found = Callable[[Fault, "str | None"], None]
"""Told of each mutant the test that found it, or None."""


def files_of(tests: Sequence[str]) -> list[Path]:
    """The test files under these names."""
    paths = [ROOT / "tests" / name for name in tests]
    found = [sorted(path.rglob("test_*.py")) if path.is_dir() else [path] for path in paths]
    return [file for files in found for file in files]


@dataclass
class Learned:
    """What a run without a fault told: how long each test takes, and which functions it enters."""

    seconds: dict[str, float] = field(default_factory=dict)
    enters: dict[str, set[str]] = field(default_factory=dict)
    fails: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Tests that draw examples, so that they find more with another profile."""

    def to_json(self) -> object:
        """As plain values."""
        enters = {test: sorted(units) for test, units in self.enters.items()}
        return [self.seconds, enters, self.fails, self.again]

    @classmethod
    def from_json(cls, said: Any) -> Learned:
        """The opposite of `to_json`."""
        seconds, enters, fails, again = said
        return cls(seconds, {test: set(units) for test, units in enters.items()}, fails, again)


@dataclass
class Tests:
    """Test files in one profile, with what is known of each test: what it found and takes."""

    names: Sequence[str]
    profile: str
    jobs: int = 1
    budget_s: float = 60.0
    """The tests of one mutant end after so many seconds, by what they take without a fault."""

    learned: Learned = field(default_factory=Learned)
    skip: Callable[[Fault, str], bool] = lambda _fault, _test: False
    """Whether a mutant need not meet a test, of the file that this names."""

    only_again: bool = False
    """Ask only tests that draw examples."""

    until: float = float("inf")
    finds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def note(self, fault: Fault, test: str) -> None:
        """Remember what a test found."""
        self.finds[fault.module][test] += 1
        self.finds[f"{fault.module}.{fault.unit}"][test] += 1

    def learn(self) -> Learned:
        """Run all without a fault, in a process of its own."""
        plugin = _Learning()

        def work() -> object:
            self._pytest(plugin, [str(file) for file in files_of(self.names)])
            return plugin.learned.to_json()

        code, said = forked(work)
        if code:
            raise SystemExit(f"the tests without a fault ended with {code}")
        return Learned.from_json(said)

    def judge(self, faults: Sequence[Fault], found: Found) -> None:
        """Have tests run on these mutants; `found` is told of each, until time is up.

        Tests that are collected here stay imported, so that is done in a process of its own.
        """
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            with os.fdopen(write, "w", encoding="utf-8", buffering=1) as pipe:
                # pytest's own output is no result.
                _hush()
                files = sorted({test.split("::")[0] for test in self.learned.seconds})
                self._pytest(_Swapping(self, faults, pipe), files)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            for line in pipe:
                number, test = json.loads(line)
                if test is not None:
                    self.note(faults[number], test)
                found(faults[number], test)
        os.waitpid(child, 0)

    def judge_anew(self, faults: Iterable[Fault], found: Found) -> None:
        """The same for mutants outside of functions: everything is imported anew for each."""
        for fault in faults:
            if time.monotonic() > self.until:
                return

            def work(fault: Fault = fault) -> object:
                _limit(WALL_S, WALL_S)
                _hush()
                sys.meta_path.insert(0, _Loader(fault))
                # Before pytest looks for its plugins: it has a loader of its own for these.
                importlib.import_module(f"cellspec.{fault.module}")
                plugin = _Plugin()
                room = fault.module.split(".")[0]
                wanted = [file for file in files_of(self.names) if room in file.parts]
                code = self._pytest(plugin, [str(file) for file in wanted])
                return plugin.failed or (f"exit code {code}" if code else None)

            code, said = forked(work)
            found(fault, f"signal {-code}" if code else said)

    def tests_for(self, fault: Fault, at_collection: Iterable[str]) -> list[str]:
        """The tests that a mutant meets, the most promising for its time first."""
        unit = f"{fault.module}.{fault.unit}"
        here, around = self.finds[unit], self.finds[fault.module]
        room = f"tests/{fault.module.split('.')[0]}/"

        def worth(test: str) -> float:
            likely = here[test] + 0.1 * around[test] + (0.1 if test.startswith(room) else 0.05)
            return -likely / (self.learned.seconds[test] + 0.02)

        asked = [
            test
            for test in at_collection
            if unit in self.learned.enters.get(test, ())
            and test not in self.learned.fails
            and not (self.only_again and test not in self.learned.again)
            and not self.skip(fault, test)
        ]
        asked.sort(key=worth)
        spent, end = 0.0, len(asked)
        for place, test in enumerate(asked):
            spent += self.learned.seconds[test]
            if spent > self.budget_s:
                end = place + 1
                break
        return asked[:end]

    def _pytest(self, plugin: object, files: Sequence[str]) -> int:
        os.environ["HYPOTHESIS_PROFILE"] = self.profile
        return int(pytest.main([*_OPTIONS, *files], plugins=[plugin]))


class _Plugin:
    """Notes the first test that fails."""

    def __init__(self) -> None:
        self.failed: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


class _Learning(_Plugin):
    """Notes how long each test takes, and which functions of the package it enters."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = Learned()
        self._units: dict[int, str] = {}
        self._entered: set[int] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        session.config.option.maxfail = 0
        for (path, name, _), live in Live().functions.items():
            for one in live:
                for code in _codes(one.__code__):
                    self._units[id(code)] = f"{_module_of(path)}.{name.split('.<locals>')[0]}"
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            self.learned.again.append(item.nodeid)
        self._entered = entered = set()

        def enter(frame: types.FrameType, _event: str, _argument: object) -> None:
            entered.add(id(frame.f_code))

        threading.settrace(enter)
        sys.settrace(enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            units = {self._units[code] for code in entered if code in self._units}
            self.learned.enters[item.nodeid] = units

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        so_far = self.learned.seconds.get(report.nodeid, 0.0)
        self.learned.seconds[report.nodeid] = so_far + report.duration
        if report.failed:
            self.learned.fails.append(report.nodeid)
            print("fails without a fault, so it is not asked:", report.nodeid, flush=True)


class _Swapping(_Plugin):
    """Collects the tests once, and runs them in a fork for each mutant, its code swapped in."""

    def __init__(self, tests: Tests, faults: Sequence[Fault], pipe: Any) -> None:
        super().__init__()
        self._tests, self._faults, self._pipe = tests, faults, pipe
        self._waiting: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        live = Live()
        running: dict[int, tuple[int, int]] = {}
        with selectors.DefaultSelector() as ready:
            for number, fault in enumerate(self._faults):
                while len(running) >= self._tests.jobs:
                    self._collect(ready, running)
                if time.monotonic() > self._tests.until:
                    break
                names = self._tests.tests_for(fault, items)
                read, child = self._start(fault, [items[name] for name in names], live)
                running[read] = number, child
                ready.register(read, selectors.EVENT_READ)
            while running:
                self._collect(ready, running)
        return True

    def _collect(self, ready: selectors.BaseSelector, running: dict[int, tuple[int, int]]) -> None:
        """Wait for one of the processes, and hand on what it found."""
        for key, _ in ready.select():
            read = key.fd
            ready.unregister(read)
            number, child = running.pop(read)
            with os.fdopen(read, encoding="utf-8") as pipe:
                said = pipe.read()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            # What computes for too long is in a loop that it should not be in: it is found.
            found = f"signal {-code}" if code else None
            if said:
                # The last line is the test that runs, or that failed; an empty one ends well.
                found = said.splitlines()[-1] or None
            if found and not found.startswith("signal"):
                self._tests.note(self._faults[number], found)
            print(json.dumps([number, found]), file=self._pipe, flush=True)

    def _start(self, fault: Fault, items: Sequence[pytest.Item], live: Live) -> tuple[int, int]:
        read, write = os.pipe()
        child = os.fork()
        if child:
            os.close(write)
            return read, child
        try:
            os.close(read)
            _limit(WALL_S, WALL_S)
            os.write(write, b"its code is no Python\n")
            live.swap(fault)
            for item, after in zip(items, [*items[1:], None], strict=True):
                name = item.nodeid
                os.write(write, f"{name}\n".encode())
                seconds = self._tests.learned.seconds.get(name, 1.0)
                _limit(4 * seconds + 2, 10 * seconds + 20)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if self.failed:
                    break
            else:
                os.write(write, b"\n")
        finally:
            os._exit(0)


class Live:
    """What exists of the package in this process: its functions, and what is cached."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str, int], list[types.FunctionType]] = defaultdict(list)
        self._caches: list[Any] = []
        # Frozen objects are hidden from the question.
        gc.unfreeze()
        for thing in gc.get_objects():
            if type(thing) is types.FunctionType and _is_ours(thing):
                code = thing.__code__
                name = code.co_filename, code.co_qualname, code.co_firstlineno
                self.functions[name].append(thing)
            elif type(thing) is functools._lru_cache_wrapper and _is_ours(thing.__wrapped__):
                self._caches.append(thing)
        gc.freeze()

    def swap(self, fault: Fault) -> None:
        """Give the functions of an imported module the code of a mutant; nothing stays cached."""
        path = str(path_of(fault.module))
        for code in _codes(fault.code()):
            for function in self.functions.get((path, code.co_qualname, code.co_firstlineno), ()):
                if len(function.__code__.co_freevars) == len(code.co_freevars):
                    function.__code__ = code
        for cached in self._caches:
            cached.cache_clear()


def _is_ours(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and str(code.co_filename).startswith(str(PACKAGE))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _module_of(path: str) -> str:
    return ".".join(Path(path).relative_to(PACKAGE).with_suffix("").parts)


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a mutated module to whoever imports it."""

    def __init__(self, fault: Fault) -> None:
        self._name, self._path = f"cellspec.{fault.module}", path_of(fault.module)
        self._code = fault.code()

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self._path))

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(self._path)
        exec(self._code, module.__dict__)


def forked(work: Callable[[], object]) -> tuple[int, Any]:
    """Do it in a process of its own; its exit code, negative for a signal, and what it returned."""
    read, write = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except BaseException as error:
            said = type(error).__name__
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(said))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, json.loads(said) if said else None


def _limit(compute_s: float, wait_s: float) -> None:
    """End this process by a signal after so many seconds."""
    signal.setitimer(signal.ITIMER_PROF, compute_s)
    signal.setitimer(signal.ITIMER_REAL, wait_s)


def _hush() -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
