"""YAML as plain data: what PyYAML's safe loader reads, and one kind of error for what it does not.

PyYAML turns text into numbers, dates and such with whatever Python raises if it is none: a number
of 5,000 digits is a `ValueError`, ``!!bool maybe`` a `KeyError`. `PlainLoader` tells them all as
the mistakes of YAML that they are, with their place.
"""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["PlainLoader"]

_TEXT_MAX = 40


class PlainLoader(yaml.SafeLoader):
    """Raises nothing but `yaml.YAMLError`, and `RecursionError` for what is nested too deeply."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node.

        Raises:
            yaml.MarkedYAMLError: its text is no value of its tag.
        """
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            kind = node.tag.rpartition(":")[2]
            text = node.value if isinstance(node, yaml.ScalarNode) else "a collection"
            short = text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"
            raise yaml.constructor.ConstructorError(
                problem=f"expected a value of type {kind}, got {short!r}",
                problem_mark=node.start_mark,
            ) from None
