"""The strict record: the base class of everything that a scenario file holds.

A strict record is frozen, refuses fields that it does not have, and converts no value silently:
``"3"`` is a string, and a field of a number refuses it. `field_error` names a field below the
record that raises it, so that the message points at the place in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["MAX_SECONDS", "PositiveSeconds", "Seconds", "StrictModel", "field_error"]

MAX_SECONDS = 1e9
"""The largest time that a parameter or a trace may hold: with it no draw can overflow."""

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


def field_error(path: str, message: str) -> PydanticCustomError:
    """An error about a field below the model that raises it, in the words that the user reads.

    Args:
        path: the field, from the model that is validated, such as ``columns[2].resource``.
        message: what was expected and what was given, in one line.
    """
    return PydanticCustomError("field", "{message}", {"message": message, "path": path})


class StrictModel(BaseModel):
    """A frozen record of a scenario file: unknown fields refused, no value silently converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        """Refuse an unknown field by name: a typo must not be read as a default."""
        if isinstance(data, Mapping):
            known = [item.alias or name for name, item in cls.model_fields.items()]
            for name in data:
                if name not in known:
                    text = f"unknown field; expected one of: {', '.join(known)}"
                    raise field_error(str(name), text)
        return data
