"""What all tests share: Hypothesis profiles, and the clauses that each test checks.

A test names the clauses it checks with ``@pytest.mark.clause("GRAPH-05")``. A number that the
registry does not have stops the collection, and a test that fails prints the text of its clauses.

``HYPOTHESIS_PROFILE`` chooses how hard properties look: ``quick`` (the default: a few examples, the
same ones each time), ``ci`` (three times as many, also the same; `.ci/run` takes it), ``dev`` (new
ones each time), ``soak`` (very many) or ``mutation`` (those of ``ci``; what fails is not made
smaller, for `tests.mutation` only asks whether), before which ``mutation-quick`` tries a few. What
``quick`` and ``ci`` draw depends on the source of the property, the pinned version of Hypothesis,
and nothing else.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from cellspec.clauses import clauses


def keep_bytecode() -> None:
    """Let the processes that tests start share compiled modules, in a folder of this run's own.

    Where Python is told to write no bytecode, each of them would compile every module that it
    imports: more than half of the time of a short command.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = tempfile.mkdtemp(prefix="cellspec-bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


# Workers of pytest-xdist inherit the folder.
keep_bytecode()

_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=20)
settings.register_profile(
    "dev",
    max_examples=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "soak",
    max_examples=5_000,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    phases=(Phase.explicit, Phase.generate),
    database=None,
)
settings.register_profile(
    "mutation-quick", settings.get_profile("mutation"), max_examples=12, stateful_step_count=20
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(PROFILE)


def draw_no_constants_of_modules() -> None:
    """Keep Hypothesis from drawing numbers and strings that stand in the source of our modules.

    `derandomize` fixes the seed of each property. But now and then Hypothesis draws a constant of
    some local module that happens to be imported, so what a property draws would depend on which
    tests its process ran before, and change with a number in an unrelated module.
    """
    empty = Constants()
    assert hasattr(providers, "_get_local_constants"), "Hypothesis finds constants in another way"
    providers._get_local_constants = lambda: empty


if PROFILE in ("quick", "ci", "mutation", "mutation-quick"):
    draw_no_constants_of_modules()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "clause(number, ...): the clauses of the specification that the test checks"
    )


# What takes long, and is run by a command of its own.
OWN_COMMANDS = {
    "chromium": "make test-browser",
    "long": "make test-long",
    "pages": "make test-pages",
    "rumur": "make test-model",
    "theory": "make theory",
    "wheel": "make test-wheel",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, command in OWN_COMMANDS.items():
        if marker not in (config.option.markexpr or ""):
            skip = pytest.mark.skip(reason=f"run by `{command}`")
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(skip)
    # A worker of pytest-xdist that fails here takes the run down without a word of why; there the
    # set-up of the test says it.
    unknown = [line for item in items for line in unknown_clauses(item)]
    if unknown and not hasattr(config, "workerinput"):
        raise pytest.UsageError("\n".join(unknown))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import and collect without the collector of cyclic garbage.

    Nearly all that is made here stays, so what it finds is little for more than a quarter of the
    time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Take what was imported and collected out of the sight of the collector of cyclic garbage.

    It stays until the end, and there is so much of it that a test which empties the collector,
    to measure time or memory, would mostly wait for it.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    unknown = unknown_clauses(item)
    if unknown:
        pytest.fail("\n".join(unknown), pytrace=False)


def unknown_clauses(item: pytest.Item) -> list[str]:
    """A line for each clause that a test names and the registry does not have."""
    return [
        f"{item.nodeid}: clause {number!r} is not in clauses.toml"
        for number in clauses_of(item)
        if number not in clauses()
    ]


def clauses_of(item: pytest.Item) -> list[str]:
    """The clause numbers that a test names, each once."""
    numbers = [number for mark in item.iter_markers("clause") for number in mark.args]
    return list(dict.fromkeys(numbers))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        known = clauses()
        lines = [
            f"{number}: {known[number].text}" for number in clauses_of(item) if number in known
        ]
        lines.append(f"again: HYPOTHESIS_PROFILE={PROFILE} python -m pytest '{item.nodeid}'")
        report.sections.append(("clauses", "\n".join(lines)))
    return report
