"""The line counter: how many lines of its own code an engine executes, event by event.

Seconds depend on the machine and its load; a count does not. So where cost is judged
(`cellspec.conformance.campaign.scaling`), work is counted: one for each line of Python that is
executed, and one for each turn of a loop, a comprehension or a generator that stands on one line.

The file of a line decides whose code it is:

=========  =========================================================================================
the judge  this suite, its adapters of engines, the loop of virtual time, test tools. Left out, with
           the code that it calls
shared     the standard library, the rest of this package, code without a file (as `dataclasses`
           writes it). Counted if the engine called it: ``asyncio.wait`` in a scheduler counts, and
           the event loop by itself does not
engine     everything else: the engine, and the packages that it rests on
=========  =========================================================================================

Work of C within one line is hidden: ``x in a_list``, ``sorted(queue)``, ``queue.pop(0)``,
``set(a) - set(b)`` count as the line that they stand on, for any length. (If they compare elements
whose ``__eq__`` or key is Python, those lines do count.) CPU time shows that work, and is reported
beside the count.

A counter that is on replaces the trace function of a debugger or a coverage tool, and puts it back
afterwards.
"""

from __future__ import annotations

import gc
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self, TypeAlias

import cellspec
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.values import Table

__all__ = ["LineCounter", "Metered"]

_Trace: TypeAlias = Callable[[FrameType, str, Any], Any]

_JUDGE, _SHARED, _ENGINE = "judge", "shared", "engine"

_HERE = Path(cellspec.__file__).parent
_STDLIB = sysconfig.get_path("stdlib")
_SITE = sysconfig.get_path("purelib"), sysconfig.get_path("platlib")
_TOOLS = ("_hypothesis_", "_pytest", "coverage", "hypothesis", "pluggy", "pytest")
_OWN = {
    "conformance": _JUDGE,
    "engines": _JUDGE,
    "virtualtime": _JUDGE,
    "engine": _ENGINE,
}


def _whose(filename: str) -> str:
    """The owner of the code in a file: the judge, the engine, or both."""
    path = Path(filename)
    if not path.is_absolute():
        return _SHARED
    if path.is_relative_to(_HERE):
        return _OWN.get(path.relative_to(_HERE).parts[0], _SHARED)
    for site in _SITE:
        if path.is_relative_to(site):
            return _JUDGE if path.relative_to(site).parts[0].startswith(_TOOLS) else _ENGINE
    return _SHARED if path.is_relative_to(_STDLIB) else _ENGINE


class _Count:
    """A count of lines; the trace functions of an engine's code share one."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines = 0


class LineCounter:
    """Counts while it is entered, in the thread that entered it.

    Args:
        at: numbers of events, from 1; `by_function` is noted when each of them is recorded.

    Attributes:
        marks: the count when each event of the probe was recorded, in their order.
        lines: the count now.
        noted: for each event of `at`, the count by function.
    """

    def __init__(self, at: tuple[int, ...] = ()) -> None:
        self.marks: list[int] = []
        self.noted: dict[int, dict[str, int]] = {}
        self._at = frozenset(at)
        self._total = _Count()
        # By the identity of the code, which `_codes` keeps alive: code is slow to hash.
        self._local: dict[int, tuple[str, _Trace, _Count]] = {}
        self._codes: list[CodeType] = []
        self._record = Recorder.record.__code__
        self._before: Any = None
        self._collects = True

    @property
    def lines(self) -> int:
        return self._total.lines

    def by_function(self) -> dict[str, int]:
        """The count so far by function: ``name (file:line)``; functions without a count are
        left out."""
        found: dict[str, int] = {}
        for code in self._codes:
            count = self._local[id(code)][2].lines
            if count:
                file = "/".join(Path(code.co_filename).parts[-2:])
                label = f"{code.co_qualname} ({file}:{code.co_firstlineno})"
                found[label] = found.get(label, 0) + count
        return found

    def __enter__(self) -> Self:
        # The collector of cyclic garbage calls code in the middle of any line.
        self._collects = gc.isenabled()
        gc.disable()
        self._before = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)
        if self._collects:
            gc.enable()

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> _Trace | None:  # noqa: ARG002
        """A function is called, or goes on after a yield: the trace function of its lines."""
        code = frame.f_code
        known = self._local.get(id(code))
        if known is None:
            known = self._meet(code)
        whose, local, _ = known
        if whose is _ENGINE:
            return local
        if whose is _SHARED:
            caller = frame.f_back
            return local if caller is not None and caller.f_trace is not None else None
        if code is self._record:
            self.marks.append(self._total.lines)
            if len(self.marks) in self._at:
                self.noted[len(self.marks)] = self.by_function()
        return None

    def _meet(self, code: CodeType) -> tuple[str, _Trace, _Count]:
        total, mine = self._total, _Count()

        def local(frame: FrameType, event: str, argument: Any) -> _Trace:  # noqa: ARG001
            if event == "line":
                mine.lines += 1
                total.lines += 1
            return local

        self._codes.append(code)
        known = self._local[id(code)] = (_whose(code.co_filename), local, mine)
        return known


class Metered:
    """A backend whose run is counted.

    Args:
        backend: a backend whose `run` is a coroutine function.
        line_counter: the counter.
    """

    def __init__(self, backend: Backend, line_counter: LineCounter) -> None:
        self.name = backend.name
        self.version = backend.version
        self.capabilities = backend.capabilities
        self._backend = backend
        self._line_counter = line_counter

    async def run(self, probe: Probe) -> None:
        """Run the backend, and count."""
        running = self._backend.run(probe)
        assert running is not None
        with self._line_counter:
            await running

    def table(self, probe: Probe) -> Table:
        """The backend's."""
        return self._backend.table(probe)

    def __getattr__(self, name: str) -> Any:
        """What else the backend has: an optional method, or a number that it promises."""
        return getattr(self._backend, name)
