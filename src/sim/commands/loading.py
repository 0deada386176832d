"""Loading the scenario of a command: a file or an example, with what the command line changes.

`add_scenario` declares the arguments, `scenario_file` finds the file, and `load` reads it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sim.arguments import crash, override
from sim.terminal import note

if TYPE_CHECKING:
    from sim.experiments.replication import Replication
    from sim.scenario.scenario import Scenario

__all__ = [
    "SCENARIO_HELP",
    "SET_HELP",
    "add_crash_at",
    "add_scenario",
    "add_set",
    "load",
    "memory",
    "refuse_seed",
    "say_missed",
    "say_remarks",
    "scenario_file",
]

_T = TypeVar("_T")

SCENARIO_HELP = "the scenario file; or a name that `cellspec examples` lists, such as text_to_sql"

SET_HELP = (
    "replace a field of the scenario, as in columns.sql.latency.median_s=2; the value is "
    "YAML, an item of a list is named by its name or position; repeatable, "
    "and of one field's values the last counts"
)


def add_scenario(parser: Any) -> None:
    """Add the scenario, as ``scenario``, and ``--set``."""
    parser.add_argument("scenario", metavar="SCENARIO.yaml", help=SCENARIO_HELP)
    add_set(parser)


def add_set(
    parser: Any, option: str = "--set", dest: str = "overrides", text: str = SET_HELP
) -> None:
    """Add ``--set``, or an option like it, whose texts `load` reads.

    They are read late, because argparse stops at its first fault.
    """
    parser.add_argument(option, metavar="A.B=V", dest=dest, action="append", default=[], help=text)


def add_crash_at(parser: Any, text: str) -> None:
    """Add ``--crash-at``, as ``crashes``, whose texts `load` reads.

    Args:
        parser: of the command.
        text: what gets the crash.
    """
    parser.add_argument(
        "--crash-at",
        metavar="WHEN",
        dest="crashes",
        action="append",
        default=[],
        help=f"{text}: 5000 = just after event number 5000, 300s = at 300 s of virtual time, "
        "random:600s = again and again at random times, each 600 s after the start or the last "
        "resume on average; repeatable",
    )


def refuse_seed(
    sets: Mapping[str, Sequence[str]], first: str = "; --seed N says which the first one is"
) -> None:
    """Refuse a seed among the changes of a scenario that is run with many.

    Args:
        sets: by option its texts, as `load` takes them.
        first: what else the error says: how the first seed is chosen.

    Raises:
        SpecError: one of them is a seed.
    """
    from cellspec.errors import SpecError

    for option, texts in sets.items():
        if any(text.partition("=")[0].strip() == "seed" for text in texts):
            raise SpecError(
                f"{option} seed: it would change nothing, for the runs have the seeds 0, 1, 2, …"
                f"{first}"
            )


def scenario_file(given: str) -> str:
    """The file that the command line names: a path, or the name of an example.

    Raises:
        SpecError: no example has this name.
    """
    from pathlib import Path

    from sim.examples import example_path, is_path

    if is_path(given):
        return given
    found = str(example_path(given))
    if Path(given).is_file():
        note(f"runs the example; ./{given} is a file here: give ./{given} to run that")
    return found


def load(
    file: str,
    sets: Mapping[str, Sequence[str]],
    *,
    prog: str,
    seed: int | None = None,
    crashes: Sequence[str] = (),
) -> Scenario:
    """The scenario with all changes of the command line.

    Args:
        file: of the scenario.
        sets: by option, such as ``--set``, its texts; of one field's values the last counts.
        prog: the program, whose help says more.
        seed: in place of the scenario's.
        crashes: texts of ``--crash-at``.

    Raises:
        SpecError: it cannot be used.
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    from cellspec.errors import FaultsError, SpecError
    from sim.hints import hint_for_run
    from sim.scenario.loader import load_scenario
    from sim.scenario.records import Crash

    unread: list[str] = []
    overrides: dict[str, str] = {}
    options: dict[str, str] = {}
    for option, texts in sets.items():
        found = _read_all(option, override, texts, prog, unread)
        overrides.update(found)
        options.update((field, option) for field, _ in found)
    more = _read_all("--crash-at", crash, crashes, prog, unread)
    if seed is not None:
        overrides["seed"] = str(seed)
    try:
        scenario = load_scenario(file, overrides, memory=memory())
    except SpecError as error:
        if hint := hint_for_run(file):
            raise SpecError(f"{file}: {hint}") from None
        # A file that cannot be read at all may be another one than was meant.
        if not isinstance(error, FaultsError) and not unread:
            raise
        lines = error.lines if isinstance(error, FaultsError) else ()
        raise FaultsError([*(_by_option(line, options) for line in lines), *unread]) from None
    if unread:
        raise FaultsError(unread)
    if more:
        added = [Crash.model_validate(fields) for fields in more]
        scenario = scenario.model_copy(update={"crashes": (*scenario.crashes, *added)})
    return scenario


def say_remarks(file: str, runs: Sequence[Scenario], said: Iterable[Sequence[str]]) -> None:
    """Remarks on each pipeline, as notes; what is said of several is said once."""
    seen: set[str] = set()
    for place, remarks in enumerate(said):
        for remark in remarks:
            if remark not in seen:
                where = f"beside {runs[place].name!r}: " if place else ""
                note(f"note: {file}: {where}{remark}")
            seen.add(remark)


def say_missed(file: str, runs: Sequence[Replication], more: str) -> None:
    """Note how many runs were over before a crash that was planned for them.

    Args:
        file: of the scenario, with what is changed in it.
        runs: all of them.
        more: how the seed of one of them says why, after ``--seed N``.
    """
    missed = [run for run in runs if _misses_crashes(run)]
    if missed:
        note(
            f"note: {file}: crashes: not all of them came in {len(missed):,} of {len(runs):,} "
            f"runs; --seed {missed[0].seed} {more}"
        )


def _misses_crashes(run: Replication) -> bool:
    for name in run.figures:
        if name.rpartition(".")[2] == "crashes_planned":
            planned, came = run.value(name), run.value(name.removesuffix("_planned"))
            if planned is not None and came is not None and came < planned:
                return True
    return False


def _by_option(line: str, options: Mapping[str, str]) -> str:
    """A fault with the option that brought it, where that is another one than ``--set``."""
    for field, option in options.items():
        for end in ":,)":
            line = line.replace(f"--set {field}{end}", f"{option} {field}{end}")
    return line


def _read_all(
    option: str, read: Callable[[str], _T], texts: Sequence[str], prog: str, unread: list[str]
) -> list[_T]:
    """The values of an option that may be repeated.

    Args:
        option: its name.
        read: one value from its text, as argparse takes it.
        texts: as they were given.
        prog: the program, whose help says more.
        unread: receives a message for each text that is no value.
    """
    found = []
    for text in texts:
        try:
            found.append(read(text))
        except argparse.ArgumentTypeError as error:
            unread.append(f"argument {option}: {error} (see {prog} --help)")
    return found


def memory() -> int | None:
    """Bytes of memory that this machine has; None where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
