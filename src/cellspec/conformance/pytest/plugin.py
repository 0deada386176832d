"""The pytest plugin: ``pytest --pyargs cellspec.conformance --engine-backend=module:Backend``.

Every pytest run loads it where cellspec is installed. So its imports are cheap, and it stays idle
unless ``--engine-backend`` or ``--replay`` is given. Its options have long names of their own; the
short ones (``--profile``, ``--seed``, …), which other plugins might want too, exist only in runs
that are about conformance.

Given a backend, the modules of the run are imported (`cellspec.conformance.pytest.session`),
options are checked before anything is collected, and a value that cannot be used ends the run with
one line.

Such a run ends with the exit codes of `cellspec.exit_codes`, and not with those of pytest:

====  ========================================================================================
code  of a conformance run
====  ========================================================================================
0     nothing is wrong
1     a clause is violated that is not accepted (`cellspec.conformance.pytest.accepted`); or a test
      failed that is not of the suite
2     an option, the adapter, the list of expected failures or a file cannot be used: nothing was
      collected, or, of an adapter or of a file to write, only the run shows it; or the user quit a
      debugger, or a limit of time cut the run short
3     no clause ends the run with 1, and a judged clause is inconclusive that is not accepted, in a
      run of the default number of workloads or more
70    a mistake of cellspec, or of pytest
130   interrupted (Ctrl-C); SIGTERM ends the process, which shells show as 143
4     pytest's own, for an option that it does not know
====  ========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_PACKAGE = "cellspec.conformance"
_TESTS = Path(__file__).with_name("test_conformance.py")
_NAME = "cellspec-conformance"

# Option, short name, argument, default and purpose. The rest are flags.
_OPTIONS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("profile", "--profile", "NAMES", "default", "profiles, with commas between; or all"),
    (
        "only",
        "",
        "CLAUSES",
        None,
        "judge by these clauses alone, with commas between, by all workloads but those about cost, "
        "which are for clauses about cost; whatever else breaks fails nothing",
    ),
    ("max-examples", "--max-examples", "N", None, "workloads of each profile"),
    ("seed", "--seed", "N", "0", "what workloads are drawn from"),
    ("seeds", "--seeds", "K", "1", "draw from so many seeds, the first of them --seed, in one run"),
    (
        "replay",
        "--replay",
        "CASE",
        None,
        "run the workload of a case file alone",
    ),
    (
        "slack",
        "--slack",
        "SECONDS",
        None,
        "in real time, how long work may wait that could start, as 50ms; else no engine is judged "
        "there for being idle",
    ),
    ("xfails", "", "FILE", None, "clauses expected to fail: lines CLAUSE REASON"),
    (
        "baseline",
        "",
        "FILE",
        None,
        "results of an earlier run: say what broke and what was mended since; what broke a clause "
        "there in the same way fails no run",
    ),
    (
        "clauses",
        "",
        "FILE",
        None,
        "the clauses by which the engine was judged when FILE was written, which this run does if "
        "there is none: clauses that are new or changed since fail no run",
    ),
    ("report", "", "DIR", None, "write results.json, HTML pages and case files there"),
    ("json", "", "FILE", None, "write the results as JSON"),
    ("html", "", "FILE", None, "write the results as an HTML matrix"),
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options; short names only if the run is about conformance."""
    about_us = _is_about_us(pluginmanager)
    group = parser.getgroup("cellspec", "conformance of engines (cellspec)")
    group.addoption(
        "--engine-backend",
        metavar="BACKEND",
        default="",
        help="the engine: a name that `cellspec backends` lists, or module:attribute; turns the "
        "conformance tests on",
    )
    for name, short, takes, default, text in _OPTIONS:
        names = [f"--conformance-{name}", *([short] if short and about_us else [])]
        short_too = f" (with a backend, {short} too)" if short and not about_us else ""
        group.addoption(
            *names,
            dest=_dest(name),
            metavar=takes,
            default=default,
            help=text + short_too,
        )
    group.addoption(
        "--conformance-slow",
        *(["--slow"] if about_us else []),
        dest=_dest("slow"),
        action="store_true",
        help="for an engine that needs seconds for a run: few workloads, each with much in it",
    )
    group.addoption(
        "--conformance-first",
        dest=_dest("first"),
        action="store_true",
        help="stop at the first failure; by default the suite goes on, and tells each root cause "
        "once",
    )
    group.addoption(
        "--conformance-keep-going",
        *(["--keep-going"] if about_us else []),
        dest=_dest("keep-going"),
        action="store_true",
        help="go on after a clause broke, as the suite does without it",
    )
    group.addoption(
        "--conformance-allow-inconclusive",
        dest=_dest("allow-inconclusive"),
        action="store_true",
        help="end with exit code 0, and not 3, if a judged clause is inconclusive",
    )
    group.addoption(
        "--conformance-strict",
        dest=_dest("strict"),
        action="store_true",
        help="fail also by what --conformance-baseline and --conformance-clauses accept",
    )


def _dest(name: str) -> str:
    return f"cellspec_{name.replace('-', '_')}"


def _is_about_us(pluginmanager: pytest.PytestPluginManager) -> bool:
    """Whether the command line, wherever it is written, names a backend or our tests."""
    config: Any = pluginmanager.getplugin("pytestconfig")
    words = [str(word) for word in config.invocation_params.args]
    words += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    with contextlib.suppress(KeyError, ValueError):
        words += [str(word) for word in config.getini("addopts")]
    return any(_names_us(word) or word.startswith("--engine-backend") for word in words)


def _names_us(word: str) -> bool:
    path = word.partition("::")[0]
    return path in (_PACKAGE, f"{_PACKAGE}.test_conformance") or Path(path) == _TESTS


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(
    config: pytest.Config,
) -> Generator[None, pytest.ExitCode | int | None, pytest.ExitCode | int | None]:
    """Report bad usage as pytest does, and end with the exit code of every other command.

    The process ends then, if it is pytest's own, also with threads of an engine that hangs in it.
    """
    try:
        status = yield
        if config.pluginmanager.hasplugin(_NAME) and status is not None and _is_process(config):
            from cellspec.exit_codes import bound_exit

            bound_exit(int(status))
        return status
    except pytest.UsageError as error:
        if not _is_about_us(config.pluginmanager):
            raise
        for line in error.args:
            print(f"ERROR: {line}\n", file=sys.stderr)
        from cellspec.exit_codes import BAD_INPUT

        return BAD_INPUT


def _is_process(config: pytest.Config) -> bool:
    """Whether pytest is what this process was started for, and no program that goes on after it."""
    program = Path(sys.argv[0])
    is_pytest = program.stem in ("pytest", "py.test") or program.parent.name == "pytest"
    return is_pytest and list(config.invocation_params.args) == sys.argv[1:]


def pytest_configure(config: pytest.Config) -> None:
    """Set up a conformance run, or name the missing package."""
    if not config.getoption("--engine-backend") and not config.getoption(_dest("replay")):
        asked = any(_names_us(str(word)) for word in config.invocation_params.args)
        if asked and not config.getoption("help") and not config.getoption("version"):
            raise pytest.UsageError(
                "cellspec.conformance tests an engine: pass --engine-backend=module:Backend"
            )
        return
    from cellspec.conformance.pytest.session import Session
    from cellspec.errors import SpecError

    try:
        session = Session(config)
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(session, _NAME)
    # pytest writes the properties in each format of JUnit, and warns of every test in the newer.
    config.addinivalue_line("filterwarnings", "ignore:record_property is incompatible")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the conformance tests of a run without a backend."""
    if collection_path == _TESTS and not config.pluginmanager.hasplugin(_NAME):
        return True
    return None
