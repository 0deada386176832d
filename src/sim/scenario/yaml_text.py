"""YAML text of scenario files: plain data, with plain words read as YAML 1.2 reads them.

``no``, ``12:30`` and ``1e-3`` mean a string, a string and a number. A key given twice is refused,
because one of the two would be lost. `dump_yaml` writes text that `parse_yaml` reads back.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from cellspec.errors import SpecError
from cellspec.plain_yaml import PlainLoader

__all__ = ["dump_yaml", "parse_yaml"]

MAX_VALUES = 200_000
"""How many values a scenario file may hold, aliases written out."""


class _Loader(PlainLoader):
    """Plain data only, no key twice, and plain words as YAML 1.2 reads them."""

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
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return node


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


def parse_yaml(text: str) -> Any:
    """Plain data from YAML text.

    Raises:
        SpecError: in one line, where it is not YAML, or a key is given twice.
    """
    try:
        # An alias is one object in several places; an override must change one place.
        return _unshared(yaml.load(text, Loader=_Loader), [MAX_VALUES])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise SpecError(f"{where}{what}") from None
    except yaml.YAMLError as error:
        raise SpecError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise SpecError("it is nested too deeply") from None


def dump_yaml(data: Any) -> str:
    """Plain data as YAML text, keys in the order in which they are given."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _unshared(value: Any, budget: list[int]) -> Any:
    """A copy without shared parts.

    Raises:
        SpecError: it has more than `budget` values (a few aliases of aliases can mean billions).
    """
    budget[0] -= 1
    if budget[0] < 0:
        raise SpecError(f"it holds more than {MAX_VALUES} values")
    if isinstance(value, dict):
        return {key: _unshared(item, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item, budget) for item in value]
    return value
