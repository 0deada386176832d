"""The choice of a model by its field ``model``, with a message that lists the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler

from cellspec.text import closest, did_you_mean
from sim.scenario.strict import Fault, faults_error
from sim.scenario.words import given_words

__all__ = ["NamedModel"]

_SURELY = 0.8
"""How alike a misspelt word must be to a known one for the rest to be judged by the known one."""


class NamedModel:
    """Chooses a model by its name; a misspelt name is reported beside all other faults."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, data: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(data, Mapping) or data.get("model") in self._names:
            return handler(data)
        fields, faults = dict(data), []
        if "model" not in fields:
            key = closest("model", (name for name in fields if isinstance(name, str)))
            if key is None:
                raise faults_error([Fault(("model",), f"{self._expected()}, got nothing")])
            faults.append(Fault((key,), "no such field; did you mean 'model'?"))
            fields["model"] = fields.pop(key)
        else:
            key = "model"
        name = fields["model"]
        if name not in self._names:
            near = did_you_mean(name, self._names)
            faults.append(Fault((key,), f"{self._expected()}, got {given_words(name)}{near}"))
            name = fields["model"] = closest(name, self._names, _SURELY)
        if name is not None:
            try:
                handler(fields)
            except ValidationError as error:
                raise faults_error(faults, error) from None
        raise faults_error(faults)

    def _expected(self) -> str:
        return f"expected one of: {', '.join(self._names)}"
