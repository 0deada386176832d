"""Inference from a class: the values of its attributes, read without an instance.

A generator's class states facts about how it may be run: plain attributes, class methods,
properties. An instance would answer at once, but making one needs models, files and credentials
that are missing while a graph is built. So the class itself is read, and the answer is one of
three: the value is *known*, the class lacks that name (*absent*), or it is *unknown*, with the
reason. Unknown is an honest answer, and not a failure; a known value that is wrong would be one.
Whenever the value is not certain, the answer is unknown.

The answer depends on the attribute's kind, looked up along the method resolution order:

- a plain value is itself, unless some method of the class assigns that name on instances;
- a static or class method works without an instance, so it is called;
- a property, a cached property or an instance method is read, and not called. Its *bytecode* is
  always there and is the code that runs, while source text may be missing or stale.

Bytecode is read by control flow and not by pattern. Every way out that some path reaches is found,
with the top of the stack there; each return must give the same constant, and one reachable `raise`,
or any exception handler, makes the answer unknown. Two paths that return different constants, one
of them perhaps the implicit ``None`` at the end, are never resolved in favour of one. A constant is
a bool, int, str, None or Enum member, written out or reached by name through modules and classes
(``Strategy.FULL_COLUMN``). Two assumptions remain: a name that holds such a constant in a module or
class is not rebound later, and an operation that fails by itself ends the path without a value.
Compilers differ between Python versions; the set of unknown answers may differ with them, and known
answers stay the same.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, EnumMeta
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

__all__ = ["Absent", "Inference", "Known", "Unknown", "infer"]


@dataclass(frozen=True, slots=True)
class Known:
    """The value that every instance has."""

    value: Any


@dataclass(frozen=True, slots=True)
class Absent:
    """Neither the class nor any of its bases has the attribute."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The value depends on more than the class; `reason` names it in a few words."""

    reason: str


Inference: TypeAlias = Known | Absent | Unknown

_MISSING = object()


def infer(cls: type, name: str, expected: type | tuple[type, ...]) -> Inference:
    """The value of `name` in every instance of `cls`, if the class alone makes it certain.

    A method counts as its return value, so a fact may be stated as attribute, property or method.
    Static and class methods are called; instances are not made, and their methods not called.

    Args:
        cls: the class to read.
        name: the attribute's name.
        expected: the type, or types, that a known value has; any other value is unknown.

    Returns:
        `Known`, `Absent`, or `Unknown` with its reason. It never raises.
    """
    answer = _read(cls, name)
    if isinstance(answer, Known) and not isinstance(answer.value, expected):
        types = expected if isinstance(expected, tuple) else (expected,)
        wanted = " or ".join(item.__name__ for item in types)
        return Unknown(f"is {type(answer.value).__name__}, expected {wanted}")
    return answer


def _read(cls: type, name: str) -> Inference:
    if _find(cls, "__getattribute__") is not object.__getattribute__:
        return Unknown("the class overrides __getattribute__")
    attribute = _find(cls, name)
    # A property is the one descriptor here that an instance cannot shadow.
    if type(attribute) is not property and (reason := _set_on_instances(cls, name)):
        return Unknown(reason)
    answers_any_name = _find(cls, "__getattr__") is not _MISSING
    if attribute is _MISSING:
        return Unknown("the class has a __getattr__") if answers_any_name else Absent()
    if getattr(attribute, "__isabstractmethod__", False) is True:
        return Unknown("abstract: the class gives it no body of its own")
    if isinstance(attribute, staticmethod | classmethod):
        return _call(cls, attribute)
    # Exact types: a subclass may define another __get__.
    if type(attribute) is property or type(attribute) is functools.cached_property:
        if answers_any_name:
            return Unknown("a property, in a class whose __getattr__ may answer instead")
        getter = attribute.fget if isinstance(attribute, property) else attribute.func
        return _returned_constant(getter)
    if isinstance(attribute, FunctionType):
        return _returned_constant(attribute)
    if hasattr(type(attribute), "__get__"):
        return Unknown(f"a {type(attribute).__name__} descriptor decides at run time")
    return Known(attribute)


def _find(cls: type, name: str) -> Any:
    """The raw attribute, as instances find it: without metaclass and descriptors."""
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return _MISSING


def _call(cls: type, attribute: staticmethod[..., Any] | classmethod[Any, ..., Any]) -> Inference:
    if _is_deferred(getattr(attribute.__func__, "__code__", None)):
        return Unknown("a generator or coroutine: calling it gives no value")
    try:
        return Known(attribute.__get__(None, cls)())
    except Exception as error:
        return Unknown(f"calling it raised {type(error).__name__}: {error}")


# Who else may set the name


def _set_on_instances(cls: type, name: str) -> str | None:
    """Why an instance may hold a value of its own under `name`, or None if it cannot."""
    if dataclasses.is_dataclass(cls) and any(f.name == name for f in dataclasses.fields(cls)):
        return "a dataclass field: each instance has its own"
    for base in cls.__mro__:
        if base is object:
            continue
        for member_name, member in vars(base).items():
            if any(_assigns(code, name) for code in _codes(member)):
                return f"{base.__name__}.{member_name} assigns it on instances"
    if _find(cls, name) is _MISSING and _is_annotated(cls, name):
        return "annotated, but without a value on the class"
    return None


def _is_annotated(cls: type, name: str) -> bool:
    for base in cls.__mro__:
        try:
            if name in inspect.get_annotations(base):
                return True
        except Exception:
            # From Python 3.14 annotations are evaluated here, and may name missing things.
            return True
    return False


def _codes(member: object) -> Iterator[CodeType]:
    """The code of a class member, with that of the functions defined inside it."""
    functions: Sequence[object] = (member,)
    if isinstance(member, property):
        functions = (member.fget, member.fset, member.fdel)
    elif isinstance(member, staticmethod | classmethod):
        functions = (member.__func__,)
    elif isinstance(member, functools.cached_property):
        functions = (member.func,)
    pending = [item.__code__ for item in functions if isinstance(item, FunctionType)]
    while pending:
        code = pending.pop()
        yield code
        pending.extend(item for item in code.co_consts if isinstance(item, CodeType))


def _assigns(code: CodeType, name: str) -> bool:
    if name in code.co_consts and {"setattr", "__setattr__", "__dict__"} & set(code.co_names):
        return True
    return name in code.co_names and any(
        step.opname in ("STORE_ATTR", "DELETE_ATTR") and step.argval == name
        for step in dis.get_instructions(code)
    )


# Control flow

_RETURNS = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_RAISES = frozenset({"RAISE_VARARGS", "RERAISE"})
_ALWAYS_JUMPS = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_ABSOLUTE"}
)
_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_LEAVES_THE_STACK = _ALWAYS_JUMPS | {"NOP", "EXTENDED_ARG", "CACHE", "RESUME"}
_DEFERRED = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)


def _is_deferred(code: CodeType | None) -> bool:
    return code is not None and bool(code.co_flags & _DEFERRED)


def _returned_constant(function: object) -> Known | Unknown:
    """The one constant that every path through an instance method returns, if there is one."""
    if not isinstance(function, FunctionType):
        return Unknown(f"its getter is a {type(function).__name__}, not a function")
    code = function.__code__
    if _is_deferred(code):
        return Unknown("a generator or coroutine: calling it gives no value")
    if not _takes_self_alone(function):
        return Unknown("it needs arguments beside self")
    if code.co_exceptiontable:
        return Unknown("it handles exceptions: the value depends on what fails")
    values: list[Any] = []
    for step, value in _exits(function):
        if step.opname in _RAISES:
            return Unknown("one path raises")
        if step.opname not in _RETURNS:
            return Unknown(f"{step.opname} is not an instruction that this package can read")
        if not _is_constant(value):
            return Unknown("one path returns what is not a constant")
        values.append(value)
    if not values:
        return Unknown("no path returns")
    first = values[0]
    for other in values[1:]:
        if type(other) is not type(first) or other != first:
            return Unknown(f"returns {first!r} on one path and {other!r} on another")
    return Known(first)


def _takes_self_alone(function: FunctionType) -> bool:
    code = function.__code__
    required = code.co_argcount - len(function.__defaults__ or ())
    accepts_self = code.co_argcount > 0 or bool(code.co_flags & inspect.CO_VARARGS)
    keywords = code.co_kwonlyargcount - len(function.__kwdefaults__ or {})
    return accepts_self and required <= 1 and keywords == 0


def _exits(function: FunctionType) -> list[tuple[dis.Instruction, Any]]:
    """Every way out that some path reaches, with the value on top of the stack there.

    A path carries one value: the top of the stack after the last load. Every instruction outside a
    known list forgets it, so the value is always one that was loaded.
    """
    steps = list(dis.get_instructions(function.__code__))
    position_of = {step.offset: position for position, step in enumerate(steps)}
    exits: list[tuple[dis.Instruction, Any]] = []
    seen: set[tuple[int, int]] = set()
    pending: list[tuple[int, Any]] = [(0, _MISSING)]
    while pending:
        position, top = pending.pop()
        # By identity, because True and 1 are equal; whatever a path carries is kept alive.
        if position >= len(steps) or (position, id(top)) in seen:
            continue
        seen.add((position, id(top)))
        step = steps[position]
        top = _top_after(function, step, top)
        if step.opname.startswith(("RETURN", "RAISE", "RERAISE")):
            exits.append((step, top))
            continue
        if step.opcode in _JUMPS:
            pending.append((position_of[step.argval], top))
        if step.opname not in _ALWAYS_JUMPS:
            pending.append((position + 1, top))
    return exits


def _top_after(function: FunctionType, step: dis.Instruction, top: Any) -> Any:
    """The top of the stack after `step`, or `_MISSING` if that is uncertain."""
    match step.opname:
        case "LOAD_CONST" | "LOAD_SMALL_INT" | "RETURN_CONST":
            return step.argval
        case "LOAD_GLOBAL":
            return function.__globals__.get(step.argval, _MISSING)
        case "LOAD_DEREF":
            return _closed_over(function, step.argval)
        case "LOAD_ATTR":
            return _member(top, step.argval)
        case "RETURN_VALUE":
            return top
        case opname:
            return top if opname in _LEAVES_THE_STACK else _MISSING


# Names


def _closed_over(function: FunctionType, name: str) -> Any:
    free = function.__code__.co_freevars
    if name not in free or function.__closure__ is None:
        return _MISSING
    try:
        return function.__closure__[free.index(name)].cell_contents
    except ValueError:
        return _MISSING


def _member(owner: object, name: str) -> Any:
    """`owner.name` for a module or a class, without running any code; else `_MISSING`."""
    if isinstance(owner, EnumMeta):
        return owner.__members__.get(name, _MISSING)
    if isinstance(owner, ModuleType):
        return vars(owner).get(name, _MISSING)
    if isinstance(owner, type):
        return _find(owner, name)
    return _MISSING


def _is_constant(value: object) -> bool:
    return value is None or type(value) in (bool, int, str) or isinstance(value, Enum)
