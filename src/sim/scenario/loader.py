"""Reading a scenario file: YAML text, overrides of the command line, and every fault at once.

`load_scenario` reads a file, applies overrides (``columns.answer.latency.median_s=3``), and
returns a frozen `Scenario`. Loading checks everything that could stop a run later: it builds the
graph, reads the traces, and looks for the limit of each resource. Relative paths start
from the file's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cellspec.errors import FaultsError, SpecError
from cellspec.text import did_you_mean, listed_names
from sim.scenario.messages import Place, explain, faults_of, place_words
from sim.scenario.scenario import Scenario
from sim.scenario.strict import Fault
from sim.scenario.words import given_words
from sim.scenario.yaml_text import Document, YamlError, parse_yaml

__all__ = ["ScenarioFile", "load_scenario", "read_document"]


class ScenarioFile:
    """A scenario file that was read, and gives a scenario for each set of overrides.

    Attributes:
        path: of the file.
        document: its text as plain data.

    Args:
        path: the YAML file.

    Raises:
        FaultsError: it is not YAML.
        SpecError: it cannot be read, or holds something else than a mapping.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.document = read_document(self.path)

    def load(
        self,
        overrides: Mapping[str, str] | None = None,
        *,
        memory: int | None = None,
        option: str = "--set ",
        called: str | None = None,
    ) -> Scenario:
        """The scenario of the file.

        Args:
            overrides, memory: as of `load_scenario`.
            option: what stands before the path of an override in a message, such as
                ``changes: ``; "" if its field says enough.
            called: what a message calls the file; None for its path.

        Raises:
            FaultsError, SpecError, MissingExtraError: as of `load_scenario`.
        """
        data, words = deepcopy(self.document.data), called or self.path
        changed: dict[str, Place] = {}
        refused = []
        for dotted, text in (overrides or {}).items():
            try:
                changed[dotted] = _override(data, dotted, text)
            except SpecError as error:
                refused.append(f"{words}: {option}{dotted}: {error}")
        scenario, faults = None, []
        try:
            scenario = Scenario.model_validate(data, context={"folder": self.path.parent})
        except ValidationError as error:
            faults = faults_of(error, data)
        if memory is not None:
            faults += _too_large(data, scenario, memory)
        if faults or refused or scenario is None:
            found = explain(faults, words, self.document, changed, data=data, option=option)
            raise FaultsError([*found, *refused])
        return scenario


def load_scenario(
    path: str | Path, overrides: Mapping[str, str] | None = None, *, memory: int | None = None
) -> Scenario:
    """Read and check a scenario file.

    Args:
        path: the YAML file.
        overrides: dotted paths and YAML values that replace those of the file, such as
            ``{"columns.sql.latency.median_s": "2"}``. An item of a list is named by its position
            or, where items have names, by its name. A mapping that the file leaves out is made; an
            unknown field is refused. A key that holds a dot cannot be named: replace
            the mapping that it is in.
        memory: bytes that the machine has; a scenario whose run needs more is refused.

    Raises:
        FaultsError: a line for each fault, sorted by line; each names the file, the line, the
            field, the expected value and the given one.
        SpecError: the file cannot be read, or holds something else than a mapping.
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    return ScenarioFile(path).load(overrides, memory=memory)


def _too_large(data: Mapping[Any, Any], scenario: Scenario | None, memory: int) -> list[Fault]:
    """The fault of a typo in ``rows``: a run holds a byte a cell at its start.

    Args:
        data: the scenario as plain data.
        scenario: the same, where it is valid.
        memory: bytes.
    """
    if scenario is not None:
        sizes: list[tuple[Any, int]] = [
            (each.rows, each.graph().num_columns) for each in scenario.pipelines()
        ]
    else:
        listed = data.get("columns")
        sizes = [(data.get("rows"), len(listed) if isinstance(listed, list) else 1)]
    return [
        Fault(
            ("beside", place - 1, "rows") if place else ("rows",),
            f"{rows:,} rows × {columns:,} columns need at least {rows * columns // 2**30:,} GiB; "
            f"this machine has {memory // 2**30:,} GiB",
        )
        for place, (rows, columns) in enumerate(sizes)
        if type(rows) is int and rows * columns > memory > 0
    ]


def read_document(path: Path) -> Document:
    """A YAML file that holds a mapping.

    Raises:
        FaultsError: it is not YAML.
        SpecError: it cannot be read, or holds something else.
    """
    try:
        document = Document(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}:{line}: cannot be read: not UTF-8 text, {error.reason}") from None
    except YamlError as error:
        found = sorted(error.faults, key=lambda fault: fault[0] or 0)
        raise FaultsError(
            [f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in found]
        ) from None
    if not isinstance(document.data, dict):
        raise SpecError(f"{path}: expected a mapping of fields, got {given_words(document.data)}")
    return document


def _word_of_file(failures: dict[Any, Any], part: str) -> str:
    """The field's name as the file has it: ``backoff``, or the older ``cool_down``."""
    other = {"backoff": "cool_down", "cool_down": "backoff"}.get(part, part)
    return other if other in failures and part not in failures else part


def _override(data: dict[Any, Any], dotted: str, text: str) -> tuple[Any, ...]:
    """Put one value into plain scenario data, and return where it went.

    Raises:
        SpecError: the file lacks the place, or the text is not YAML.
    """
    value = parse_yaml(text)
    where: list[Any] = []
    parts = dotted.split(".")
    if not all(parts):
        raise SpecError("expected names with single dots between them")
    here: Any = data
    part: Any
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, list):
            part = _item(here, part, place_words(tuple(where)))
        elif not isinstance(here, dict):
            raise SpecError(
                f"{place_words(tuple(where))} is {given_words(here)}, and has no fields"
            )
        elif where == ["failures"]:
            part = _word_of_file(here, part)
        elif part not in here and part.isascii() and part.isdigit() and int(part) in here:
            # A point of a table.
            part = int(part)
        where.append(part)
        if last:
            here[part] = value
        else:
            if isinstance(here, dict) and here.get(part) is None:
                here[part] = {}
            here = here[part]
    return tuple(where)


def _item(items: list[Any], part: str, path: str) -> Any:
    names = [item.get("name") for item in items if isinstance(item, dict)]
    if part in names:
        return next(
            i for i, item in enumerate(items) if isinstance(item, dict) and item.get("name") == part
        )
    if part.isascii() and part.isdigit() and int(part) < len(items):
        return int(part)
    known = [name for name in names if isinstance(name, str)]
    listed = f" named {listed_names(known)}" if known else ""
    near = did_you_mean(part, known) or f"; it has {len(items)}{listed}"
    raise SpecError(f"{path} has no item {part!r}{near}")
