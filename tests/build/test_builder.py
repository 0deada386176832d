"""From configs and generator classes to a graph: by properties, the unknown on the safe side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, NoReturn, cast

import pytest

from cellspec.build.builder import BuildReport, GraphBuilder
from cellspec.errors import GraphError, SpecError
from cellspec.graph.columns import ExecutionTraits as T
from cellspec.graph.nodes import BarrierNodeId, CellNodeId


class Strategy(Enum):
    CELL_BY_CELL = 1
    FULL_COLUMN = 2
    SHUFFLED = 3


class Generator:
    def __init__(self) -> NoReturn:
        raise AssertionError("an instance was made")

    def decide(self) -> bool:
        raise AssertionError("an instance method was called")


# Generator classes, each a statement


class CellByCell(Generator):
    can_generate_from_scratch = False
    is_order_dependent = False

    @staticmethod
    def get_generation_strategy() -> str:
        return "cell_by_cell"


class WholeColumn(CellByCell):
    @staticmethod
    def get_generation_strategy() -> str:
        return "full_column"


class Validator(WholeColumn):
    is_row_streamable = False


class Expression(WholeColumn):
    is_row_streamable = True


class Sampler(Expression):
    can_generate_from_scratch = True


class SeedReader(Sampler):
    is_order_dependent = True


class CellByCellThatSaysNothingElse(Generator):
    get_generation_strategy = "cell_by_cell"


class CellByCellWhateverItStreams(CellByCell):
    @property
    def is_row_streamable(self) -> bool:
        return self.decide()


class BarrierSamplerFullColumnGenerator(CellByCell):
    """The name says everything that is wrong."""


@pytest.mark.parametrize(
    ("generator", "traits"),
    [
        (CellByCell, T.CELL_BY_CELL),
        (Validator, T.BARRIER),
        (Expression, T.ROW_STREAMABLE),
        (Sampler, T.START | T.ROW_STREAMABLE),
        (SeedReader, T.START | T.ROW_STREAMABLE | T.ORDERED),
        (CellByCellThatSaysNothingElse, T.CELL_BY_CELL),
        (CellByCellWhateverItStreams, T.CELL_BY_CELL),
        (BarrierSamplerFullColumnGenerator, T.CELL_BY_CELL),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_traits_follow_from_properties(generator: type, traits: T) -> None:
    assert traits_of(generator) == (traits, [])


class ByAttribute(Generator):
    can_generate_from_scratch = True
    get_generation_strategy = Strategy.FULL_COLUMN
    is_row_streamable = True
    is_order_dependent = True


class ByProperty(Generator):
    @property
    def can_generate_from_scratch(self) -> bool:
        return True

    @property
    def get_generation_strategy(self) -> Strategy:
        return Strategy.FULL_COLUMN

    @property
    def is_row_streamable(self) -> bool:
        return True

    @property
    def is_order_dependent(self) -> bool:
        return True


class ByStaticMethod(Generator):
    @staticmethod
    def can_generate_from_scratch() -> bool:
        return True

    @staticmethod
    def get_generation_strategy() -> Strategy:
        return Strategy.FULL_COLUMN

    @staticmethod
    def is_row_streamable() -> bool:
        return True

    @staticmethod
    def is_order_dependent() -> bool:
        return True


class ByClassMethod(Generator):
    FROM_SCRATCH = True

    @classmethod
    def can_generate_from_scratch(cls) -> bool:
        return cls.FROM_SCRATCH

    @classmethod
    def get_generation_strategy(cls) -> Strategy:
        return Strategy.FULL_COLUMN

    @classmethod
    def is_row_streamable(cls) -> bool:
        return True

    @classmethod
    def is_order_dependent(cls) -> bool:
        return True


class ByMethod(Generator):
    def can_generate_from_scratch(self) -> bool:
        return True

    def get_generation_strategy(self) -> Strategy:
        return Strategy.FULL_COLUMN

    def is_row_streamable(self) -> bool:
        return True

    def is_order_dependent(self) -> bool:
        return True


@pytest.mark.parametrize(
    "generator", [ByAttribute, ByProperty, ByStaticMethod, ByClassMethod, ByMethod]
)
def test_a_fact_may_be_stated_in_any_form(generator: type) -> None:
    assert traits_of(generator) == (T.START | T.ROW_STREAMABLE | T.ORDERED, [])


class TextEnum(StrEnum):
    CELL = "cell_by_cell"
    WHOLE = "full_column"


@pytest.mark.parametrize(
    "strategy",
    ["full_column", "FULL_COLUMN", "full-column", Strategy.FULL_COLUMN, TextEnum.WHOLE],
)
def test_a_strategy_may_be_an_enum_or_a_string(strategy: object) -> None:
    generator = type("G", (Validator,), {"get_generation_strategy": strategy})
    assert traits_of(generator) == (T.BARRIER, [])


# What is not settled


class DependsOnItsConfig(Generator):
    can_generate_from_scratch = False
    is_order_dependent = False
    is_row_streamable = True

    def get_generation_strategy(self) -> str:
        return "cell_by_cell" if self.decide() else "full_column"


class HasNoStrategy(Generator):
    is_row_streamable = True


class HasAnotherStrategy(Generator):
    get_generation_strategy = Strategy.SHUFFLED


class MayStream(WholeColumn):
    @property
    def is_row_streamable(self) -> bool:
        if self.decide():
            return True
        return self.decide() is None


class MayStartFromScratch(CellByCell):
    @property
    def can_generate_from_scratch(self) -> bool:  # type: ignore[override]
        return self.decide()


class MayNeedOrder(Expression):
    @property
    def is_order_dependent(self) -> bool:  # type: ignore[override]
        return self.decide()


class SaysItInAnotherType(Expression):
    can_generate_from_scratch = 1  # type: ignore[assignment]


class SettlesNothing(MayStartFromScratch, MayNeedOrder):
    def get_generation_strategy(self) -> str:  # type: ignore[override]
        return str(self.decide())


@pytest.mark.parametrize(
    ("generator", "traits", "taken"),
    [
        (
            DependsOnItsConfig,
            T.BARRIER,
            [("get_generation_strategy", "unknown", "BARRIER")],
        ),
        (HasNoStrategy, T.BARRIER, [("get_generation_strategy", "absent", "BARRIER")]),
        (HasAnotherStrategy, T.BARRIER, [("get_generation_strategy", "unknown", "BARRIER")]),
        (MayStream, T.BARRIER, [("is_row_streamable", "unknown", "BARRIER")]),
        (WholeColumn, T.BARRIER, [("is_row_streamable", "absent", "BARRIER")]),
        (
            MayStartFromScratch,
            T.CELL_BY_CELL,
            [("can_generate_from_scratch", "unknown", "not START")],
        ),
        (
            MayNeedOrder,
            T.ROW_STREAMABLE | T.ORDERED,
            [("is_order_dependent", "unknown", "ORDERED")],
        ),
        (
            SaysItInAnotherType,
            T.ROW_STREAMABLE,
            [("can_generate_from_scratch", "unknown", "not START")],
        ),
        (
            SettlesNothing,
            T.BARRIER | T.ORDERED,
            [
                ("can_generate_from_scratch", "unknown", "not START"),
                ("is_order_dependent", "unknown", "ORDERED"),
                ("get_generation_strategy", "unknown", "BARRIER"),
            ],
        ),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_an_unknown_fact_is_taken_on_the_safe_side_and_reported(
    generator: type, traits: T, taken: list[tuple[str, str, str]]
) -> None:
    assert traits_of(generator) == (traits, taken)


def test_the_report_names_column_class_property_reason_and_resolution() -> None:
    builder = GraphBuilder({Config: MayStream})
    builder.describe([Config("valid")])
    (entry,) = builder.report
    assert entry.generator is MayStream
    assert str(entry) == str(builder.report)
    assert str(entry).startswith("column 'valid': MayStream.is_row_streamable is unknown (")
    assert str(entry).endswith("; taken as BARRIER")


def test_the_report_is_of_the_last_config() -> None:
    builder = GraphBuilder({Config: WholeColumn, Other: CellByCell})
    assert builder.report == BuildReport()
    builder.build([Config("a"), Config("b"), Other("c")], 3)
    assert [item.column for item in builder.report] == ["a", "b"]
    assert len(builder.report.for_column("b")) == 1
    builder.describe([Other("c")])
    assert len(builder.report) == 0


# What is read of a config


@dataclass
class Config:
    name: Any
    required_columns: Any = ()
    side_effect_columns: Any = ()
    skip: Any = None


class Other(Config):
    pass


@dataclass
class Plain:
    name: str
    dependencies: Iterable[str] = ()
    side_effects: Iterable[str] = ()


@dataclass
class Skip:
    columns: Any


@dataclass
class Group:
    columns: list[Config]


@dataclass
class Pipeline:
    columns: list[Any] = field(default_factory=list)


def traits_of(generator: type) -> tuple[T, list[tuple[str, str, str]]]:
    builder = GraphBuilder({Config: generator})
    (descriptor,) = builder.describe([Config("a")])
    assert descriptor.generator_cls is generator
    return descriptor.traits, [(e.fact, e.kind, e.resolved_as) for e in builder.report]


def builder_of() -> GraphBuilder:
    return GraphBuilder({Config: CellByCell, Plain: CellByCell, Group: Sampler})


def test_a_config_is_an_object_with_columns_or_a_list() -> None:
    columns = [Config("a"), Config("b", ["a"])]
    assert builder_of().describe(Pipeline(columns)) == builder_of().describe(columns)


def test_both_ways_to_name_dependencies_are_read() -> None:
    columns = [Plain("a", (), ["a_trace"]), Plain("b", ["a"]), Config("c", ["b"], ["c_trace"])]
    described = builder_of().describe(columns)
    assert [item.dependencies for item in described] == [(), ("a",), ("b",)]
    assert [item.side_effects for item in described] == [("a_trace",), (), ("c_trace",)]
    assert [item.config for item in described] == columns


def test_a_skip_condition_adds_its_inputs() -> None:
    columns = [Config("a"), Config("b"), Config("c", ["b"], skip=Skip(["a", "b"]))]
    assert builder_of().describe(columns)[2].dependencies == ("a", "b")


@pytest.mark.parametrize(
    "names", [["c", "a", "b_trace"], {"b_trace", "a", "c"}, ("b_trace", "c", "a")]
)
def test_dependencies_stand_in_the_order_of_the_columns(names: Iterable[str]) -> None:
    columns = [Config("a"), Config("b", (), ["b_trace"]), Config("c"), Config("d", names)]
    assert builder_of().describe(columns)[3].dependencies == ("a", "b_trace", "c")


def test_a_dependency_on_a_side_effect_is_one_on_its_producer() -> None:
    columns = [Config("a", (), ["a_trace"]), Config("b", ["a_trace"])]
    graph = builder_of().build(columns, 2)
    assert list(graph.get_dependencies(CellNodeId(1, "b"))) == [CellNodeId(1, "a")]


def test_a_config_of_several_columns_gives_a_descriptor_for_each() -> None:
    group = Group([Config("a"), Config("b", (), ["b_trace"])])
    described = builder_of().describe(Pipeline([group, Config("c", ["b_trace"])]))
    assert [item.name for item in described] == ["a", "b", "c"]
    assert [item.side_effects for item in described] == [(), ("b_trace",), ()]
    assert described[0].config is described[1].config is group
    assert {item.generator_cls for item in described[:2]} == {Sampler}
    assert described[0].is_start_column


def test_columns_of_one_call_wait_for_the_inputs_of_all() -> None:
    group = Group([Config("a", ["x"]), Config("b", ["y", "a"])])
    described = builder_of().describe([Config("x"), Config("y"), group])
    assert described[2].dependencies == ("x", "y")
    assert described[3].dependencies == ("x", "y", "a")


# The registry


class Registry:
    def get_for_config_type(self, config_type: type) -> type:
        known: dict[type, type] = {Config: CellByCell}
        return known[config_type]


def test_a_registry_may_be_an_object_or_a_mapping() -> None:
    assert GraphBuilder(Registry()).describe([Config("a")]) == builder_of().describe([Config("a")])


class BadRegistry:
    def get_for_config_type(self, config_type: type) -> Any:
        return config_type.__name__


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        ({}, "column 'a': no generator class is registered for its config type Config (KeyError)"),
        ({Other: CellByCell}, "no generator class is registered for its config type Config"),
        (BadRegistry(), "column 'a': the registry gave 'Config' for Config, expected a class"),
    ],
)
def test_a_config_without_a_generator_class_is_refused(registry: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        GraphBuilder(registry).describe([Config("a")])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "config: expected an object with columns, or a list of column configs"),
        ("abc", "config: expected an object with columns, or a list of column configs"),
        ([Config("a"), Config("")], "columns[1].name: expected a non-empty string, got ''"),
        ([Config(None)], "columns[0].name: expected a non-empty string, got None"),
        ([object()], "columns[0].name: expected a non-empty string, got None"),
        ([Group([])], "columns[0].columns: expected at least one column, got none"),
        ([Group(cast(Any, 3))], "columns[0].columns: expected a list of column configs, got int"),
        (
            [Group(cast(Any, "ab"))],
            "columns[0].columns: expected a list of column configs, got str",
        ),
        ([Group([Config(1)])], "columns[0].columns[0].name: expected a non-empty string, got 1"),
        ([Config("a", "b")], "column 'a': required_columns: expected names, got 'b'"),
        ([Config("a", [1])], "column 'a': required_columns: expected names, got [1]"),
        ([Config("a", (), 3)], "column 'a': side_effect_columns: expected names, got 3"),
        ([Config("a", skip=Skip("b"))], "column 'a': skip.columns: expected names, got 'b'"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_in_one_line(config: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        builder_of().describe(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# The graph


def test_a_graph_is_built_in_topological_order() -> None:
    graph = builder_of().build([Config("c", ["b"]), Config("b", ["a"]), Config("a")], 4)
    assert graph.column_names == ["a", "b", "c"]
    assert graph.num_records == 4


def test_unknown_names_and_cycles_are_refused() -> None:
    with pytest.raises(GraphError, match="'ghost'"):
        builder_of().build([Config("a", ["ghost"])], 1)
    with pytest.raises(GraphError, match="cycle"):
        builder_of().build([Config("a", ["b"]), Config("b", ["a"])], 1)


def test_unknown_names_may_be_dropped() -> None:
    graph = builder_of().build([Config("a", ["ghost"])], 1, strict=False)
    assert list(graph.get_dependencies(CellNodeId(0, "a"))) == []


def test_a_barrier_waits_for_all_rows_unless_the_run_chooses_batches() -> None:
    builder = GraphBuilder({Config: CellByCell, Other: Validator})
    columns = [Config("a"), Other("b", ["a"])]
    whole = builder.build(columns, 4)
    assert set(whole.get_dependencies(BarrierNodeId("b"))) == {CellNodeId(r, "a") for r in range(4)}
    batched = builder.build(columns, 4, batch_size=2, barrier_scope="batch")
    assert set(batched.get_dependencies(BarrierNodeId("b", 1))) == {
        CellNodeId(2, "a"),
        CellNodeId(3, "a"),
    }


def test_an_unknown_order_waits_row_by_row() -> None:
    graph = GraphBuilder({Config: MayNeedOrder}).build([Config("a")], 3)
    assert list(graph.get_dependencies(CellNodeId(2, "a"))) == [CellNodeId(1, "a")]
