"""Ctrl-C and a debugger that is quit end a run, wherever they come out of the engine."""

from __future__ import annotations

import asyncio
import bdb
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import Backend, Probe, Table, Workload, run_workload
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.run.backend import fit_of
from cellspec.conformance.run.loading import load_backend
from cellspec.errors import SpecError
from cellspec.exit_codes import TERMINATED, run_command

ENDS = (pytest.exit.Exception, bdb.BdbQuit, KeyboardInterrupt, pytest.fail.Exception)
"""The last is one only if the handler of a signal raises it, as `raising` has it."""
WORK = Workload((ColumnDescriptor("a"),), rows=1)


class Engine:
    """It is right, but for the function that it calls where it is told to."""

    name, version, capabilities = "ends", "1", frozenset({"core"})

    def __init__(self, place: str, end: Callable[[], Any]) -> None:
        self._place, self._end = place, end

    def at(self, place: str) -> None:
        if place == self._place:
            self._end()

    async def run(self, probe: Probe) -> None:
        self.at("run")
        try:
            self.at("try")
        except BaseException as error:
            raise RuntimeError("the engine has an error of its own") from error
        async with asyncio.TaskGroup() as group:
            group.create_task(self._in_task())
        self.values: dict[str, str] = {"a": str(await probe.cell("a", 0, {}))}
        probe.end("success")

    async def _in_task(self) -> None:
        self.at("task")

    def table(self, _: Probe) -> Table:
        self.at("table")
        return Table({0: self.values})

    def fit(self, work: Workload) -> Workload:
        self.at("fit")
        return work


class Threaded(Engine):
    def run(self, probe: Probe) -> None:  # type: ignore[override]
        self.at("run")
        self.values = {"a": str(probe.cell_sync("a", 0, {}))}
        probe.end("success")


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handler of a signal for a time, as a plugin has one that limits the time of a test."""
    before = signal.signal(signal.SIGUSR1, limit)
    yield
    signal.signal(signal.SIGUSR1, before)


def limit(*_: object) -> NoReturn:
    raise pytest.fail.Exception("the user")


def raising(end: type[BaseException]) -> Callable[[], NoReturn]:
    def function() -> NoReturn:
        if end is pytest.fail.Exception:
            limit()
        raise end("the user")

    return function


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("place", ["run", "try", "task", "table"])
def test_the_end_of_a_user_leaves_the_judge_from_any_place_of_an_engine(
    end: type[BaseException], place: str
) -> None:
    with pytest.raises(end):
        run_workload(Engine(place, raising(end)), WORK)


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_user_leaves_the_judge_from_a_thread_too(end: type[BaseException]) -> None:
    with pytest.raises(end):
        run_workload(Threaded("run", raising(end)), WORK)


@pytest.mark.parametrize(
    ("kind", "place"),
    [(Engine, "run"), (Engine, "try"), (Engine, "task"), (Engine, "table"), (Threaded, "run")],
)
def test_sigterm_ends_a_command_from_any_place_of_an_engine(kind: type[Engine], place: str) -> None:
    def command() -> int:
        end = partial(os.kill, os.getpid(), signal.SIGTERM)
        return len(run_workload(kind(place, end), WORK).violations)

    assert run_command(command) == TERMINATED


def test_sigterm_ends_a_command_also_if_somebody_takes_it_for_ctrl_c() -> None:
    def command() -> int:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert run_command(command) == TERMINATED


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_user_is_no_mistake_of_the_adapter(end: type[BaseException]) -> None:
    with pytest.raises(end):
        fit_of(Engine("fit", raising(end)))(WORK)


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_user_is_no_mistake_of_a_module_or_of_the_suite(
    end: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Backend = Engine("run", raising(end))
    suite = Suite(Options("ends", tmp_path), backend, made_by_call=False, profiles=(), expected={})
    with pytest.raises(end):
        assert suite.smoke
    assert suite.errors == {}
    lines = f"import bdb, pytest\nraise {end.__module__}.{end.__qualname__}('the user')\n"
    lines = lines.replace("_pytest.outcomes.Exit", "pytest.exit.Exception")
    lines = lines.replace("builtins.Failed", "pytest.fail.Exception")
    (tmp_path / f"quits_{end.__name__}.py").write_text(lines.replace("builtins.", ""))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(end):
        load_backend(f"quits_{end.__name__}:backend", tmp_path)


def test_a_check_of_the_engine_that_fails_by_pytest_is_its_death() -> None:
    result = run_workload(Engine("run", partial(pytest.fail, "a check")), WORK)
    assert [found.detail for found in result.violations] == ["the engine died of Failed: a check"]


def test_another_exception_is_the_engines_death() -> None:
    result = run_workload(Engine("run", raising(LookupError)), WORK)
    assert [found.clause for found in result.violations] == ["SCHED-12"]
    with pytest.raises(SpecError):
        fit_of(Engine("fit", raising(LookupError)))(WORK)
