"""The strict record: the base class of everything that a scenario file holds.

A strict record is frozen, refuses unknown fields, and takes each value as it is: ``"3"`` is a
string, and a field of a number refuses it. A record reports all its faults at once,
each with its place in the file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cellspec.text import closest, did_you_mean
from sim.scenario.words import key_words

__all__ = [
    "DIVISOR",
    "LEAST",
    "MAX_SECONDS",
    "Fault",
    "PositiveSeconds",
    "Seconds",
    "StrictModel",
    "faults_error",
    "field_error",
    "one_of_faults",
]

MAX_SECONDS = 1e9
"""The largest time that a parameter or a trace may hold: with it no draw can overflow."""

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


LEAST = 1e-9
"""The smallest number above 0 that a run divides by, or goes on by: with it no quotient can
overflow, and no clock stand still."""


class Fault(NamedTuple):
    """One thing that is wrong in a scenario.

    Attributes:
        where: the keys and positions that lead to the field, from the record that reports it.
        text: the expected value and the given one, in one line.
        about: further places of the file that the fault depends on, from the file's root.
    """

    where: tuple[int | str, ...]
    text: str
    about: tuple[tuple[int | str, ...], ...] = ()


def faults_error(
    faults: Iterable[Fault], error: ValidationError | None = None, misspelt: Iterable[str] = ()
) -> ValidationError:
    """The error with which a validator reports several faults; pydantic adds where it stands.

    Args:
        faults: at least one, unless there is an `error`.
        error: further faults, as pydantic found them.
        misspelt: fields whose absence `faults` explain by a misspelt key; their absence is left
            out.
    """
    explained = {(name,) for name in misspelt}
    found = (
        []
        if error is None
        else [
            _again(item)
            for item in error.errors(include_url=False)
            if item["type"] != "missing" or item["loc"] not in explained
        ]
    )
    for fault in faults:
        context = {"message": fault.text, "depth": len(fault.where), "about": fault.about}
        custom = PydanticCustomError("field", "{message}", context)
        found.append(InitErrorDetails(type=custom, loc=fault.where, input=None))
    return ValidationError.from_exception_data("scenario", found)


def _again(item: Any) -> InitErrorDetails:
    """A fault that pydantic reported, to be reported once more."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "field":
        kind = PydanticCustomError("field", "{message}", context)
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"], ctx=context)


def field_error(field: str, message: str) -> ValidationError:
    """The error of one field of the record that is validated; "" is the record itself."""
    return faults_error([Fault((field,) if field else (), message)])


class StrictModel(BaseModel):
    """A frozen record of a scenario file, which refuses unknown fields and converts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    one_of: ClassVar[tuple[str, ...]] = ()
    """Fields of which exactly one must be given."""

    @model_validator(mode="wrap")
    @classmethod
    def _known_fields(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        """Refuse unknown fields by name, beside all other faults, so that a typo is noticed."""
        if not isinstance(data, Mapping):
            return handler(data)
        known, spellings = _names(cls)
        faults = [
            Fault((name if type(name) is int else key_words(name),), _unknown_field(name, known))
            for name in data
            if name not in spellings
        ]
        faults += [
            Fault((name,), f"is the older name of {spellings[name]}, which is given too")
            for name in data
            if spellings.get(name, name) != name and spellings[name] in data
        ]
        wrong = {fault.where[0] for fault in faults}
        faults += one_of_faults(cls.one_of, data, spellings)
        if not faults:
            return handler(data)
        # One typo is one fault: a required field whose key is misspelt is not missing as well.
        misspelt = [
            near for name in data if name not in spellings and (near := closest(name, known))
        ]
        try:
            handler({name: data[name] for name in data if name in spellings and name not in wrong})
        except ValidationError as error:
            raise faults_error(faults, error, misspelt) from None
        raise faults_error(faults)


def one_of_faults(
    names: Sequence[str], data: Mapping[str, Any], known: Container[str]
) -> list[Fault]:
    """The fault of a record that gives several of some fields, or none of them.

    Args:
        names: the fields; without any there is no fault.
        data: the record as plain data.
        known: all fields; a key that is none of them, but like one of `names`, may stand for it.
    """
    given = [name for name in names if data.get(name) is not None]
    if not names or len(given) == 1:
        return []
    if not given and any(closest(key, names) for key in data if key not in known):
        return []
    got = " and ".join(given) or "none"
    return [Fault((), f"expected exactly one of {', '.join(names)}, got {got}")]


def _divides(number: float) -> float:
    """A number above 0, if a run can divide by it."""
    if number < LEAST:
        raise field_error("", f"expected at least {LEAST:g}, got {number:g}")
    return number


DIVISOR = AfterValidator(_divides)
"""Of a number that is not only above 0, but by so much that a run can divide by it."""


def _names(cls: type[BaseModel]) -> tuple[list[str], dict[Any, str]]:
    """The fields of a record as a file spells them.

    Returns:
        The name of each field; and by each name that is read, also an older one, the field's name.
    """
    known: list[str] = []
    spellings: dict[Any, str] = {}
    for name, item in cls.model_fields.items():
        choices = item.validation_alias
        if isinstance(choices, AliasChoices):
            names = [str(choice) for choice in choices.choices]
        else:
            names = [item.alias or name]
        known.append(names[0])
        spellings |= dict.fromkeys(names, names[0])
    return known, spellings


def _unknown_field(name: object, known: list[str]) -> str:
    return "no such field" + (did_you_mean(name, known) or f"; its fields are: {', '.join(known)}")
