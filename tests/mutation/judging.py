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
from itertools import zip_longest
from pathlib import Path
from typing import Any

# Once, before each mutant's process is made.
import hypothesis.stateful  # noqa: F401
import pytest

from tests.mutation.faults import PACKAGE, ROOMS, ROOT, Fault, path_of

__all__ = [
    "NEAR",
    "ROUNDS",
    "Learned",
    "Round",
    "Tests",
    "codes_in",
    "file_of",
    "files_of",
    "forked",
]

_OUT_OF_TIME = "out of time"

WALL_S = 120
"""How long one mutant may wait; what it may compute goes by what its tests take without a fault."""

ANEW_S = 900
"""The same for one that meets all tests in modules that are imported anew."""

NEAR = ("graph", "state", "machine", "check", "test_oracles.py")
"""The tests of the rooms that are mutated, which all are asked."""

_TOOL = 4
"""A number that nothing else watches lines by."""

_WATCHED = tuple(str(PACKAGE / room) for room in ROOMS)

_NOT_ASKED = "measured"
"""The marker of what measures memory and time: it says nothing about a run, and time now and then
what is not so."""

_OPTIONS = [
    *("-x", "-q", "-s", "--tb=no", "-m", f"not {_NOT_ASKED}"),
    *("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:warnings", "-p", "no:xdist"),
]

Found = Callable[[Fault, str, "str | None"], None]
"""Told of each mutant, by name of a round, the test that found it, or None."""


def file_of(test: str) -> str:
    """The file that a test is in."""
    return test.split("::")[0]


def files_of(tests: Sequence[str]) -> list[Path]:
    """The test files under these names."""
    paths = [ROOT / "tests" / name for name in tests]
    found = [sorted(path.rglob("test_*.py")) if path.is_dir() else [path] for path in paths]
    return [file for files in found for file in files]


@dataclass(frozen=True)
class Round:
    """How the tests look at mutants."""

    name: str
    profile: str
    """Hypothesis's."""

    budget_s: float
    """The tests of one mutant end after so many seconds, by what they take without a fault."""

    together: int
    """So many mutants of a module, each in another function, meet the tests at once.

    If none fails, all survive; else the halves meet them. Most that come to the later rounds
    survive, so this costs a fraction.
    """

    only_drawn: bool = False
    """Ask only tests that draw examples."""

    times: int = 1
    """How much longer such a test takes than in the first round."""


ROUNDS = (
    Round("first", "mutation-quick", 0.15, 1),
    Round("second", "mutation-quick", 1.5, 1),
    Round("third", "mutation-quick", 12.0, 2),
    Round("quick", "mutation-quick", float("inf"), 8),
    Round("full", "mutation", float("inf"), 16, only_drawn=True, times=10),
)
"""In their order; what one leaves alive meets the next."""


@dataclass
class Learned:
    """What a run without a fault told: how long each test takes, and which lines it reaches."""

    files: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    enters: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By test and function the lines that it reaches, counted from the first of the function."""

    fails: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    """Tests that draw examples, so that they find more with another profile."""

    def add(self, file: str, other: Learned) -> None:
        """Know of another file too."""
        self.files.add(file)
        self.seconds |= other.seconds
        self.enters |= other.enters
        self.fails += other.fails
        self.drawn += other.drawn

    def of(self, file: str) -> Learned:
        """What is known of the tests of one file."""
        return Learned(
            {file},
            {test: took for test, took in self.seconds.items() if file_of(test) == file},
            {test: units for test, units in self.enters.items() if file_of(test) == file},
            [test for test in self.fails if file_of(test) == file],
            [test for test in self.drawn if file_of(test) == file],
        )

    def to_json(self) -> object:
        """As plain values."""
        return [sorted(self.files), self.seconds, self.enters, self.fails, self.drawn]

    @classmethod
    def from_json(cls, said: Any) -> Learned:
        """The opposite of `to_json`."""
        files, *others = said
        return cls(set(files), *others)


@dataclass
class Tests:
    """Test files, with what is known of each test: what it found and takes."""

    names: Sequence[str]
    rounds: Sequence[Round]
    """Those that a module goes through before the next one comes, of one profile."""

    jobs: int = 1
    learned: Learned = field(default_factory=Learned)
    has_met: Callable[[Fault, str, Round], bool] = lambda _fault, _file, _round: False
    """Whether a mutant has met the tests of a file in a round."""

    until: float = float("inf")
    finds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def note(self, fault: Fault, test: str) -> None:
        """Remember what a test found."""
        self.finds[fault.module][test] += 1
        self.finds[f"{fault.module}:{fault.unit}"][test] += 1

    def learn(self, files: Sequence[str]) -> Learned:
        """Run the tests of files without a fault, in a process of its own."""
        plugin = _Learning()
        plugin.learned.files.update(files)

        def work() -> object:
            self._pytest(plugin, ROUNDS[0].profile, files)
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
                files = sorted(set(map(file_of, self.learned.seconds)))
                self._pytest(_Swapping(self, faults, pipe), self.rounds[0].profile, files)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            for line in pipe:
                number, name, test = json.loads(line)
                if test is not None:
                    self.note(faults[number], test)
                found(faults[number], name, test)
        os.waitpid(child, 0)

    def judge_anew(self, faults: Iterable[Fault], found: Found) -> None:
        """The same for mutants outside of functions: everything is imported anew for each."""
        for fault in faults:
            if time.monotonic() > self.until:
                return

            def work(fault: Fault = fault) -> object:
                _limit(ANEW_S, ANEW_S)
                _hush()
                sys.meta_path.insert(0, _Loader(fault))
                # Before pytest looks for its plugins: it has a loader of its own for these.
                importlib.import_module(f"cellspec.{fault.module}")
                plugin = _Plugin()
                room = fault.module.split(".")[0]
                every = files_of(self.names)
                for here in (True, False):
                    files = [str(file) for file in every if (room in file.parts) is here]
                    code = self._pytest(plugin, self.rounds[0].profile, files) if files else 0
                    if code:
                        return plugin.failed or f"exit code {code}"
                return None

            code, said = forked(work)
            found(fault, self.rounds[0].name, f"signal {-code}" if code else said)

    def tests_for(self, fault: Fault, at_collection: Iterable[str], one: Round) -> list[str]:
        """The tests that a mutant meets, the most promising for its time first."""
        unit = f"{fault.module}:{fault.unit}"
        here, around = self.finds[unit], self.finds[fault.module]
        room = f"tests/{fault.module.split('.')[0]}/"

        def worth(test: str) -> float:
            likely = here[test] + 0.1 * around[test] + (0.1 if test.startswith(room) else 0.05)
            return -likely / (self.learned.seconds[test] + 0.02)

        reach = self._reach
        asked_at_most = set[str]().union(*(reach[unit, line] for line in fault.lines))
        # What was learned may be older than the function.
        asked_at_most |= set() if asked_at_most else reach[unit, -1] or reach[fault.module, -1]
        asked = [
            test
            for test in at_collection
            if test in asked_at_most
            and test not in self.learned.fails
            and not (one.only_drawn and test not in self.learned.drawn)
            and not self.has_met(fault, file_of(test), one)
        ]
        asked.sort(key=worth)
        spent, end = 0.0, len(asked)
        for place, test in enumerate(asked):
            spent += self.learned.seconds[test]
            if spent > one.budget_s:
                end = place + 1
                break
        return asked[:end]

    @functools.cached_property
    def _reach(self) -> dict[tuple[str, int], set[str]]:
        """By function and line, the tests that reach it; by function or module and -1, any line."""
        found: dict[tuple[str, int], set[str]] = defaultdict(set)
        for test, units in self.learned.enters.items():
            for unit, lines in units.items():
                found[unit.partition(":")[0], -1].add(test)
                for line in (-1, *lines):
                    found[unit, line].add(test)
        return found

    def _pytest(self, plugin: object, profile: str, files: Sequence[str]) -> int:
        os.environ["HYPOTHESIS_PROFILE"] = profile
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
    """Notes how long each test takes, and which lines of the package it reaches.

    Python 3.12 and later tell of a line once a test, which costs next to nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.learned = Learned()
        self._units: dict[int, tuple[str, int]] = {}
        self._reached: set[tuple[int, int]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        session.config.option.maxfail = 0
        if sys.version_info >= (3, 12):
            sys.monitoring.use_tool_id(_TOOL, "mutation")
            sys.monitoring.register_callback(_TOOL, sys.monitoring.events.LINE, self._line)
        for (path, name, first), live in Live().functions.items():
            if "<locals>" in name or not path.startswith(_WATCHED):
                continue
            for code in (code for one in live for code in codes_in(one.__code__)):
                self._units[id(code)] = f"{_module_of(path)}:{name}", first
                if sys.version_info >= (3, 12):
                    sys.monitoring.set_local_events(_TOOL, code, sys.monitoring.events.LINE)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            self.learned.drawn.append(item.nodeid)
        self._reached = set()
        if sys.version_info >= (3, 12):
            sys.monitoring.restart_events()
        else:
            threading.settrace(self._enter)
            sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            if sys.version_info < (3, 12):
                sys.settrace(None)
                threading.settrace(None)
            units: dict[str, list[int]] = {}
            for code, line in sorted(self._reached):
                unit, first = self._units[code]
                units.setdefault(unit, []).append(line - first)
            self.learned.enters[item.nodeid] = units

    def _line(self, code: types.CodeType, line: int) -> object:
        self._reached.add((id(code), line))
        if sys.version_info >= (3, 12):
            return sys.monitoring.DISABLE
        return None

    def _enter(self, frame: types.FrameType, _event: str, _argument: object) -> Any:
        if id(frame.f_code) not in self._units:
            return None

        def line(frame: types.FrameType, event: str, _argument: object) -> object:
            if event == "line":
                self._reached.add((id(frame.f_code), frame.f_lineno))
            return line

        return line

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
        self._running: dict[int, tuple[list[int], int]] = {}
        self._ready = selectors.DefaultSelector()
        self._waiting: list[list[int]] = []
        self._killed: set[int] = set()
        self._round = tests.rounds[0]
        self._write = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        live = Live()
        for module in dict.fromkeys(fault.module for fault in self._faults):
            for one in self._tests.rounds:
                here = [
                    number
                    for number, fault in enumerate(self._faults)
                    if fault.module == module and number not in self._killed
                ]
                self._go_through(one, here, items, live)
        return True

    def _go_through(
        self, one: Round, here: Sequence[int], items: dict[str, pytest.Item], live: Live
    ) -> None:
        """One round of one module."""
        self._round = one
        waiting = groups([self._faults[number] for number in here], one.together)
        self._waiting = [[here[place] for place in group] for group in reversed(waiting)]
        while self._waiting or self._running:
            late = time.monotonic() > self._tests.until
            if self._waiting and not late and len(self._running) < self._tests.jobs:
                self._start(self._waiting.pop(), items, live)
            elif self._running:
                self._collect()
            else:
                break

    def _collect(self) -> None:
        """Wait for one of the processes, and hand on what it found."""
        for key, _ in self._ready.select():
            self._ready.unregister(key.fd)
            group, child = self._running.pop(key.fd)
            with os.fdopen(key.fd, encoding="utf-8") as pipe:
                said = pipe.read()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            # The last line is the test that failed, or that ran when time was up: what computes
            # for too long is in a loop that it should not be in. An empty one ends well.
            found = said.splitlines()[-1] or None
            if found and code:
                found = f"{found} ({_OUT_OF_TIME})"
            if found and len(group) > 1:
                half = len(group) // 2
                self._waiting += [group[half:], group[:half]]
                continue
            for number in group:
                if found:
                    self._tests.note(self._faults[number], found)
                    self._killed.add(number)
                print(json.dumps([number, self._round.name, found]), file=self._pipe, flush=True)

    def _start(self, group: list[int], items: dict[str, pytest.Item], live: Live) -> None:
        faults = [self._faults[number] for number in group]
        tests = [self._tests.tests_for(fault, items, self._round) for fault in faults]
        names = [name for each in zip_longest(*tests) for name in each if name]
        if not names:
            # There is no need of a process.
            for number in group:
                print(json.dumps([number, self._round.name, None]), file=self._pipe, flush=True)
            return
        asked = [items[name] for name in dict.fromkeys(names)]
        read, self._write = os.pipe()
        child = os.fork()
        if child:
            os.close(self._write)
            self._running[read] = group, child
            self._ready.register(read, selectors.EVENT_READ)
            return
        try:
            _limit(WALL_S, WALL_S)
            self._say("its code is no Python")
            for fault in faults:
                live.swap(fault)
            for item, after in zip(asked, [*asked[1:], None], strict=True):
                self._say(item.nodeid)
                seconds = self._round.times * self._tests.learned.seconds[item.nodeid]
                # The first test of a process may import what others had imported before.
                _limit(4 * seconds + 5, 10 * seconds + 60)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if self.failed:
                    break
            else:
                self._say("")
        finally:
            os._exit(0)

    def _say(self, line: str) -> None:
        os.write(self._write, f"{line}\n".encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport | None:
        """End at a failure, before time is spent on its words."""
        failed = call.excinfo is not None and not call.excinfo.errisinstance(
            (pytest.skip.Exception, pytest.xfail.Exception)
        )
        if failed and item.get_closest_marker("xfail") is None:
            os._exit(0)
        return None


def groups(faults: Sequence[Fault], most: int) -> list[list[int]]:
    """The places of mutants in groups of a module, each of another function, and never too many."""
    made: list[list[int]] = []
    room: dict[str, list[list[int]]] = defaultdict(list)
    for number, fault in enumerate(faults):
        for group in room[fault.module]:
            if len(group) < most and all(faults[one].unit != fault.unit for one in group):
                group.append(number)
                break
        else:
            made.append([number])
            room[fault.module].append(made[-1])
    return made


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
        path, unit = str(path_of(fault.module)), fault.unit
        for code in codes_in(fault.code()):
            if code.co_qualname != unit and not code.co_qualname.startswith(f"{unit}.<locals>"):
                continue
            for function in self.functions.get((path, code.co_qualname, code.co_firstlineno), ()):
                if len(function.__code__.co_freevars) == len(code.co_freevars):
                    function.__code__ = code
        for cached in self._caches:
            cached.cache_clear()


def _is_ours(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and str(code.co_filename).startswith(str(PACKAGE))


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


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
