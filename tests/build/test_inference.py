"""Inference from classes without an instance: each class here states one case."""

from __future__ import annotations

import abc
import functools
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellspec.build.inference import Absent, Inference, Known, Unknown, infer


class Strategy(Enum):
    CELL_BY_CELL = "cell_by_cell"
    FULL_COLUMN = "full_column"
    WHOLE = "full_column"


class Constants:
    STREAMS = True
    NAME = "full_column"
    TABLE: ClassVar[dict[str, bool]] = {}

    @property
    def computed(self) -> bool:
        return True


MODULE = types.ModuleType("settings")
vars(MODULE).update(FLAG=True, Strategy=Strategy, broken=object())
FLAG = True


class Base:
    """A generator that cannot be made: a class must be read without an instance."""

    def __new__(cls) -> NoReturn:
        raise AssertionError("an instance was made")

    def coin(self) -> bool:
        raise AssertionError("an instance method was called")


def fact(cls: type, expected: type | tuple[type, ...] = (bool, Strategy)) -> Inference:
    return infer(cls, "fact", expected)


# Values that are certain


def constant(value: object) -> type:
    return type("Constant", (Base,), {"fact": value})


class ByProperty(Base):
    @property
    def fact(self) -> bool:
        return True


class ByCachedProperty(Base):
    @functools.cached_property
    def fact(self) -> bool:
        return True


class ByMethod(Base):
    def fact(self) -> bool:
        return True


class ByStaticMethod(Base):
    @staticmethod
    def fact() -> bool:
        return not Constants.TABLE


class ByClassMethod(Base):
    STREAMS = True

    @classmethod
    def fact(cls) -> bool:
        return cls.STREAMS


class InheritsIt(ByProperty):
    pass


class OverridesUnknown(Base):
    @property
    def fact(self) -> bool:
        return self.coin()


class AndIsCertain(OverridesUnknown):
    @property
    def fact(self) -> bool:
        return True


class AgreesOnEveryPath(Base):
    @property
    def fact(self) -> bool:
        if self.coin():
            return True
        while self.coin():
            if self.coin():
                return True
        return True


class AgreesInATernary(Base):
    @property
    def fact(self) -> bool:
        return True if self.coin() else True  # noqa: RUF034 - the point is that both agree


class LoopsUntilItReturns(Base):
    @property
    def fact(self) -> bool:
        while True:
            if self.coin():
                return True


class HasDeadCode(Base):
    @property
    def fact(self) -> bool:
        return True
        return False


class ReadsAClassConstant(Base):
    @property
    def fact(self) -> bool:
        return Constants.STREAMS


class ReadsAModuleConstant(Base):
    @property
    def fact(self) -> Any:
        return MODULE.FLAG


class ReadsAGlobal(Base):
    @property
    def fact(self) -> bool:
        return FLAG


@pytest.mark.parametrize(
    "cls",
    [
        constant(True),
        ByProperty,
        ByCachedProperty,
        ByMethod,
        ByStaticMethod,
        ByClassMethod,
        InheritsIt,
        AndIsCertain,
        AgreesOnEveryPath,
        AgreesInATernary,
        LoopsUntilItReturns,
        HasDeadCode,
        ReadsAClassConstant,
        ReadsAModuleConstant,
        ReadsAGlobal,
    ],
    ids=lambda cls: cls.__name__,
)
def test_a_certain_value_is_known(cls: type) -> None:
    assert fact(cls) == Known(True)


def make_closure(strategy: type[Strategy]) -> type:
    class ReadsAClosure(Base):
        def fact(self) -> Strategy:
            return strategy.FULL_COLUMN

    return ReadsAClosure


class ReadsAnEnum(Base):
    def fact(self) -> Strategy:
        return Strategy.FULL_COLUMN


class ReadsAnEnumAlias(Base):
    def fact(self) -> Strategy:
        return Strategy.WHOLE


class ReadsThroughAModule(Base):
    def fact(self) -> Any:
        return MODULE.Strategy.FULL_COLUMN


@pytest.mark.parametrize(
    "cls",
    [
        constant(Strategy.FULL_COLUMN),
        ReadsAnEnum,
        ReadsAnEnumAlias,
        ReadsThroughAModule,
        make_closure(Strategy),
    ],
    ids=lambda cls: cls.__name__,
)
def test_an_enum_member_is_a_constant_however_it_is_reached(cls: type) -> None:
    assert fact(cls) == Known(Strategy.FULL_COLUMN)


@pytest.mark.parametrize("value", [0, 1, 255, 256, 100_000, -1, "", "full_column", None])
def test_constants_of_every_kind_and_size_are_read(value: object) -> None:
    namespace: dict[str, Any] = {"Base": Base}
    exec(f"class C(Base):\n    def fact(self): return {value!r}", namespace)
    answer = fact(namespace["C"], object)
    assert answer == Known(value)
    assert type(answer.value) is type(value)


# A constant on one branch


def two_paths(body: str) -> type:
    namespace: dict[str, Any] = {"Base": Base, "Strategy": Strategy}
    source = "class C(Base):\n    @property\n    def fact(self):\n"
    exec(source + textwrap.indent(textwrap.dedent(body), " " * 8), namespace)
    found: type = namespace["C"]
    return found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("if self.coin():\n    return True\nreturn False", "on one path and"),
        ("if self.coin():\n    return False\nelse:\n    return True", "on one path and"),
        ("if self.coin():\n    return True", "None on"),
        ("return True if self.coin() else False", "on one path and"),
        ("for _ in range(3):\n    return True", "on one path and"),
        ("while self.coin():\n    return True\nreturn 1", "on one path and"),
        ("return self.coin() and True", "not a constant"),
        ("return self.coin() or True", "not a constant"),
        ("if self.coin():\n    return True\nreturn self.flag", "not a constant"),
        ("if self.coin():\n    return True\nraise ValueError", "one path raises"),
        ("assert self.coin()\nreturn True", "one path raises"),
        ("try:\n    return True\nexcept ValueError:\n    return False", "handles exceptions"),
        ("try:\n    return True\nfinally:\n    self.coin()", "handles exceptions"),
        ("with self.lock:\n    return True", "handles exceptions"),
        (
            "match self.coin():\n  case 1:\n    return True\n  case _:\n    return False",
            "on one path and",
        ),
        (
            "if self.coin():\n    return Strategy.FULL_COLUMN\nreturn Strategy.CELL_BY_CELL",
            "on one path and",
        ),
    ],
)
def test_a_constant_on_one_branch_is_not_the_truth(body: str, reason: str) -> None:
    answer = fact(two_paths(body))
    assert isinstance(answer, Unknown)
    assert reason in answer.reason


# What depends on more than the class


class ReadsSelf(Base):
    STREAMS = True

    @property
    def fact(self) -> bool:
        return self.STREAMS


class AsksItsBase(ByProperty):
    @property
    def fact(self) -> bool:
        return super().fact


class Negates(Base):
    @property
    def fact(self) -> bool:
        return not self.coin()


class ReturnsALocal(Base):
    @property
    def fact(self) -> bool:
        answer = True
        return answer  # noqa: RET504 - the point is the detour


class ReadsAMemberOfAnInstance(Base):
    @property
    def fact(self) -> Any:
        return MODULE.broken.fact


class ReadsAPropertyOfAClass(Base):
    @property
    def fact(self) -> Any:
        return Constants.computed


class ReadsAContainer(Base):
    @property
    def fact(self) -> Any:
        return Constants.TABLE


class ReadsAnUnboundName(Base):
    @property
    def fact(self) -> Any:
        return NOWHERE  # type: ignore[name-defined]  # noqa: F821


class NeverReturns(Base):
    @property
    def fact(self) -> NoReturn:
        while True:
            self.coin()


class OnlyRaises(Base):
    @property
    def fact(self) -> bool:
        raise NotImplementedError


class IsAGenerator(Base):
    def fact(self) -> Iterator[bool]:
        yield True


class IsACoroutine(Base):
    async def fact(self) -> bool:
        return True


class IsAStaticCoroutine(Base):
    @staticmethod
    async def fact() -> bool:
        return True


class NeedsAnArgument(Base):
    def fact(self, row: int) -> bool:  # noqa: ARG002
        return True


class NeedsAKeyword(Base):
    def fact(self, *, row: int) -> bool:  # noqa: ARG002
        return True


def forgets_self() -> bool:
    return True


def passes_through(function: Callable[[Any], bool]) -> Callable[[Any], bool]:
    @functools.wraps(function)
    def wrapper(self: Any) -> bool:
        return not function(self)

    return wrapper


class IsDecorated(Base):
    @property
    @passes_through
    def fact(self) -> bool:
        return True


class IsCached(Base):
    @functools.lru_cache  # noqa: B019 - never instantiated
    def fact(self) -> bool:
        return True


class MyProperty(property):
    pass


class HasItsOwnDescriptor(Base):
    @MyProperty
    def fact(self) -> bool:
        return True


class HasASlot:
    __slots__ = ("fact",)


class CallRaises(Base):
    @staticmethod
    def fact() -> bool:
        raise RuntimeError("no model")


class CallNeedsAnArgument(Base):
    @classmethod
    def fact(cls, row: int) -> bool:  # noqa: ARG003
        return True


class IsAbstract(abc.ABC):
    @property
    @abc.abstractmethod
    def fact(self) -> bool:
        return True


class IsAbstractAndStatic(abc.ABC):
    @staticmethod
    @abc.abstractmethod
    def fact() -> bool:
        return True


class HasNoGetter(Base):
    fact = property(None, lambda _self, _value: None)


class GetterIsNoFunction(Base):
    fact = property(functools.partial(bool, True))


class AnswersAnyNameItself(Base):
    fact = True

    def __getattribute__(self, name: str) -> Any:
        return name == "fact"


class FallsBackOnGetattr(Base):
    @property
    def fact(self) -> bool:
        return True

    def __getattr__(self, name: str) -> bool:
        return False


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (ReadsSelf, "not a constant"),
        (AsksItsBase, "not a constant"),
        (Negates, "not a constant"),
        (ReturnsALocal, "not a constant"),
        (ReadsAMemberOfAnInstance, "not a constant"),
        (ReadsAPropertyOfAClass, "not a constant"),
        (ReadsAContainer, "not a constant"),
        (ReadsAnUnboundName, "not a constant"),
        (NeverReturns, "no path returns"),
        (OnlyRaises, "one path raises"),
        (IsAGenerator, "generator or coroutine"),
        (IsACoroutine, "generator or coroutine"),
        (IsAStaticCoroutine, "generator or coroutine"),
        (NeedsAnArgument, "arguments beside self"),
        (NeedsAKeyword, "arguments beside self"),
        (constant(forgets_self), "arguments beside self"),
        (IsDecorated, "not a constant"),
        (IsCached, "descriptor decides at run time"),
        (HasItsOwnDescriptor, "descriptor decides at run time"),
        (HasASlot, "descriptor decides at run time"),
        (CallRaises, "RuntimeError: no model"),
        (CallNeedsAnArgument, "TypeError"),
        (IsAbstract, "abstract"),
        (IsAbstractAndStatic, "abstract"),
        (HasNoGetter, "not a function"),
        (GetterIsNoFunction, "not a function"),
        (AnswersAnyNameItself, "__getattribute__"),
        (FallsBackOnGetattr, "__getattr__"),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_a_value_that_depends_on_more_than_the_class_is_unknown(cls: type, reason: str) -> None:
    answer = fact(cls)
    assert isinstance(answer, Unknown)
    assert reason in answer.reason


# Values that instances hold themselves


class SetInInit(Base):
    fact = True

    def __init__(self, value: bool) -> None:
        self.fact = value


class SetInABase(SetInInit):
    fact = False


class SetByName(Base):
    fact = True

    def configure(self, value: bool) -> None:
        setattr(self, "fact", value)  # noqa: B010 - the point is the string


class SetInAClosure(Base):
    def fact(self) -> bool:
        return True

    def later(self) -> Callable[[], None]:
        def assign() -> None:
            self.fact = lambda: False  # type: ignore[method-assign]

        return assign


class SetByASetter(Base):
    fact = True

    @property
    def other(self) -> bool:
        return True

    @other.setter
    def other(self, value: bool) -> None:
        self.fact = value


class OnlyEverSetInInit(Base):
    def __init__(self) -> None:
        self.fact = True


@dataclass
class IsAField:
    fact: bool = True


class IsOnlyAnnotated(Base):
    fact: bool


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (SetInInit, "SetInInit.__init__ assigns it"),
        (SetInABase, "SetInInit.__init__ assigns it"),
        (SetByName, "SetByName.configure assigns it"),
        (SetInAClosure, "SetInAClosure.later assigns it"),
        (SetByASetter, "SetByASetter.other assigns it"),
        (OnlyEverSetInInit, "OnlyEverSetInInit.__init__ assigns it"),
        (IsAField, "dataclass field"),
        (IsOnlyAnnotated, "annotated"),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_a_value_that_instances_may_replace_is_unknown(cls: type, reason: str) -> None:
    answer = fact(cls)
    assert isinstance(answer, Unknown)
    assert reason in answer.reason


class PropertyThatInitCannotShadow(Base):
    @property
    def fact(self) -> bool:
        return True

    def __init__(self, other: Any) -> None:
        other.fact = False


def test_an_instance_cannot_shadow_a_property() -> None:
    assert fact(PropertyThatInitCannotShadow) == Known(True)


# Nothing there


class Meta(type):
    @property
    def fact(cls) -> bool:
        return True


class OnlyTheMetaclassHasIt(metaclass=Meta):
    pass


class AnswersAnything:
    def __getattr__(self, name: str) -> bool:
        return True


def test_a_name_that_no_class_has_is_absent() -> None:
    assert fact(Base) == Absent()


def test_the_metaclass_does_not_speak_for_instances() -> None:
    assert fact(OnlyTheMetaclassHasIt) == Absent()


def test_a_class_with_getattr_may_have_any_name() -> None:
    answer = fact(AnswersAnything)
    assert isinstance(answer, Unknown)
    assert "__getattr__" in answer.reason


@pytest.mark.parametrize("value", [1, "yes", None, 1.5, []])
def test_a_value_of_another_type_is_unknown(value: object) -> None:
    answer = fact(constant(value), bool)
    assert answer == Unknown(f"is {type(value).__name__}, expected bool")


def test_the_expected_types_are_all_named() -> None:
    assert fact(constant(1), (str, Enum)) == Unknown("is int, expected str or Enum")


# Random functions against what they do when run

CONSTANTS = st.sampled_from(["True", "False", "None", "1", "'x'", "S.FULL_COLUMN"])


def lines(block: list[str]) -> list[str]:
    return ["    " + line for line in block]


def statements(depth: int) -> st.SearchStrategy[list[str]]:
    returns = CONSTANTS.map(lambda value: [f"return {value}"])
    ternary = st.tuples(CONSTANTS, CONSTANTS).map(
        lambda pair: [f"return {pair[0]} if self.coin() else {pair[1]}"]
    )
    raises = st.just(["raise ValueError"])
    noise = st.sampled_from([["x = self.coin()"], ["pass"], ["x = not 1"]])
    simple = st.one_of(returns, ternary, noise, noise, raises)
    if depth == 0:
        return simple
    block = st.lists(statements(depth - 1), min_size=1, max_size=2).map(
        lambda parts: [line for part in parts for line in part]
    )
    branch = block.map(lambda body: ["if self.coin():", *lines(body)])
    both = st.tuples(block, block).map(
        lambda pair: ["if self.coin():", *lines(pair[0]), "else:", *lines(pair[1])]
    )
    loop = block.map(lambda body: ["while self.coin():", *lines(body)])
    attempt = st.tuples(block, block).map(
        lambda pair: ["try:", *lines(pair[0]), "except ValueError:", *lines(pair[1])]
    )
    return st.one_of(simple, branch, both, loop, attempt)


BODIES = st.lists(statements(2), min_size=1, max_size=3).map(
    lambda parts: [line for part in parts for line in part]
)
LONGEST_RUN = 8


class Endless(Exception):  # noqa: N818 - not an error: the run is cut short
    pass


def outcomes(function: Callable[[Any], Any]) -> tuple[list[Any], bool]:
    """Values from running every sequence of coin flips, and whether a run may raise."""
    values: list[Any] = []
    raised = False
    pending: list[tuple[bool, ...]] = [()]
    while pending:
        script = pending.pop()
        flips = iter(script)

        class Coin:
            def coin(self, flips: Iterator[bool] = flips) -> bool:
                try:
                    return next(flips)
                except StopIteration:
                    raise Endless from None

        try:
            values.append(function(Coin()))
        except Endless:
            if len(script) < LONGEST_RUN:
                pending += [(*script, True), (*script, False)]
        except ValueError:
            raised = True
    return values, raised


@given(body=BODIES)
@example(body=["if self.coin():", "    return True", "return False"])
@example(body=["if self.coin():", "    return True"])
@example(body=["try:", "    raise ValueError", "except ValueError:", "    return True"])
@example(body=["while self.coin():", "    return 1", "return True"])
def test_a_known_value_is_returned_by_every_run(body: list[str]) -> None:
    namespace: dict[str, Any] = {"S": Strategy}
    exec("\n".join(["def fact(self):", *lines(body)]), namespace)
    answer = fact(constant(namespace["fact"]), object)
    values, raised = outcomes(namespace["fact"])
    kinds = {(type(value), value) for value in values}
    if isinstance(answer, Known):
        assert kinds <= {(type(answer.value), answer.value)}
        assert not raised
    elif not any("while" in line or "try" in line for line in body):
        assert len(kinds) != 1 or raised, "each run agrees, and yet it is not known"
