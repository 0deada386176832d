"""YAML text of scenario files: plain data, with plain words read as YAML 1.2 reads them.

``no``, ``12:30`` and ``1e-3`` mean a string, a string and a number. A key given twice is refused,
because one of the two would be lost. `dump_yaml` writes text that `parse_yaml` reads back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import yaml

from cellspec.errors import SpecError
from cellspec.plain_yaml import PlainLoader
from sim.scenario.words import key_words

__all__ = ["MOST", "Document", "YamlError", "dump_yaml", "parse_yaml"]

MAX_VALUES = 200_000
"""How many values a scenario file may hold, aliases written out."""

MOST = 1 << 63
"""Whole numbers with an exponent are integers below this."""


class _Loader(PlainLoader):
    """Reads plain data, each key once, and plain words as YAML 1.2 reads them.

    Args:
        text: the YAML.
        faults: receives each key that is given twice, with its line.
    """

    def __init__(self, text: str, faults: list[tuple[int | None, str]]) -> None:
        super().__init__(text)
        self._faults = faults

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Looked for here, before merge keys (<<) are spread: overriding a merged key is no mistake.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be a plain word or number", problem_mark=key_node.start_mark
                )
            key = self.construct_object(key_node)
            if key in seen:
                line = key_node.start_mark.line + 1
                self._faults.append((line, f"key {key!r} is given twice"))
            seen.add(key)
        return node

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """A number; one that is written with an exponent and is whole is an integer, as in 1e3."""
        text = str(node.value).replace("_", "")
        if "e" in text.casefold() and not text.casefold().endswith("."):
            exact = Decimal(text)
            if -MOST < exact < MOST and exact == exact.to_integral_value():
                return int(exact)
        return super().construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


class _Dumper(yaml.SafeDumper):
    """Quotes every word that `_Loader`, or a reader of YAML 1.1, would not read as a string."""


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9_]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
        )


class YamlError(SpecError):
    """Text that is not YAML, or that gives a key twice.

    Attributes:
        faults: each with its line, from 1; None for a fault of the text as a whole.
    """

    def __init__(self, faults: Sequence[tuple[int | None, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"line {n}: {text}" if n else text for n, text in faults))


class Document:
    """Plain data from YAML text, and where in the text each value stands.

    Attributes:
        data: the data; aliases are copies, so that a change changes one place.

    Args:
        text: the YAML.

    Raises:
        YamlError: it is not YAML, or a key is given twice.
    """

    def __init__(self, text: str) -> None:
        faults: list[tuple[int | None, str]] = []
        try:
            loader = _Loader(text, faults)
            try:
                self._root = loader.get_single_node()
                data = None if self._root is None else loader.construct_document(self._root)
            finally:
                loader.dispose()
            # An alias is one object in several places; an override must change one place.
            self.data = _unshared(data, iter(range(MAX_VALUES)), set())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            faults.append((mark.line + 1 if mark else None, what))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            faults.append((line, str(error).splitlines()[0]))
        except yaml.YAMLError as error:
            faults.append((None, str(error).splitlines()[0]))
        except RecursionError:
            faults.append((None, "it is nested too deeply"))
        if faults:
            raise YamlError(faults) from None

    def position(self, where: Sequence[object]) -> tuple[int, int]:
        """Line and column, from 1, of a place, or of the innermost part around it that is here."""
        mark = self._find(where)[0]
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def has(self, where: Sequence[object]) -> bool:
        """True if the text has the place."""
        return self._find(where)[1] == len(where)

    def _find(self, where: Sequence[object]) -> tuple[Any, int]:
        """The start of the innermost part of a place, and how many of its parts the text has."""
        node = self._root
        mark = None if node is None else node.start_mark
        for depth, part in enumerate(where):
            if isinstance(node, yaml.MappingNode):
                # Merged keys (<<) come first by now; a key of the mapping itself overrides them.
                pair = next((pair for pair in reversed(node.value) if _is_key(pair[0], part)), None)
                if pair is None:
                    return mark, depth
                mark, node = pair[0].start_mark, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    return mark, depth
                node = node.value[part]
                mark = node.start_mark
            else:
                return mark, depth
        return mark, len(where)


def _is_key(node: yaml.Node, key: object) -> bool:
    if not isinstance(node, yaml.ScalarNode):
        return False
    if str(node.value) == str(key):
        return True
    if key in ("null", "true", "false") or isinstance(key, int | float):
        return not node.style and key_words(Document(str(node.value)).data) == key_words(key)
    return False


def parse_yaml(text: str) -> Any:
    """Plain data from YAML text.

    Raises:
        YamlError: it is not YAML, or a key is given twice.
    """
    return Document(text).data


def dump_yaml(data: Any) -> str:
    """Plain data as YAML text, keys in the order in which they are given."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _unshared(value: Any, budget: Iterator[int], around: set[int]) -> Any:
    """A copy without shared parts.

    Args:
        value: plain data.
        budget: as many items as it may hold values.
        around: the identities of the parts that it is in.

    Raises:
        YAMLError: its values are more than the `budget` (aliases of aliases can mean billions), or
            a part holds itself.
    """
    if next(budget, None) is None:
        raise yaml.YAMLError(f"it holds more than {MAX_VALUES} values")
    if not isinstance(value, dict | list):
        return value
    if id(value) in around:
        raise yaml.YAMLError("an alias (*) stands inside of the part that it repeats")
    around.add(id(value))
    found: Any
    if isinstance(value, dict):
        found = {key: _unshared(item, budget, around) for key, item in value.items()}
    else:
        found = [_unshared(item, budget, around) for item in value]
    around.discard(id(value))
    return found
