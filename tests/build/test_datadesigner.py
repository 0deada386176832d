"""DataDesigner's own files, through its own code, against the graphs that it computed itself.

The real files lie beside the repository, in ``shared/data``. Where that whole folder is absent
these tests say so and are skipped; where the folder is there and a file is not, they fail.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cellspec.build.builder import GraphBuilder
from cellspec.build.datadesigner import Model, load_pipeline
from cellspec.errors import MissingExtraError, SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.columns import ExecutionTraits as T
from cellspec.graph.configuration import changed_columns
from cellspec.graph.nodes import BarrierNodeId, CellNodeId

SHARED = Path(__file__).parents[3] / "shared" / "data"

LOADABLE = [
    "basic_mcp",
    "multi_turn_chat",
    "pdf_qa_mcp",
    "product_info_qa",
    "search_agent_mcp",
    "text_to_python",
    "text_to_sql",
    "tutorial_1_the_basics",
    "tutorial_2_structured_outputs_jinja",
    "tutorial_3_seeding",
    "vlm_05_visual_qa_sdg",
    "zz_assembled_embedding_processors",
]
# A function of the pipeline's author is stored in these as a bare name, so they cannot be loaded.
HOLDS_A_FUNCTION = {
    "benchmark_engine_v2": "columns.4.validation.validator_params.local_callable",
    "review_gate_extraction": "columns.0.custom.generator_function",
}
# The seed comes from an earlier stage: the file has none, so its columns must be named.
SEED_FROM_OUTSIDE = {"search_agent_mcp": ["final_answer_entity", "readable_path", "seed_entity"]}


def needs_datadesigner() -> None:
    pytest.importorskip(
        "data_designer.engine", reason="needs the extra cellspec[datadesigner], which is absent"
    )


@pytest.fixture
def _datadesigner() -> None:
    needs_datadesigner()


def shared(name: str) -> Path:
    if not SHARED.is_dir():
        pytest.skip("shared/data absent: the whole folder is missing beside the repository")
    path = SHARED / "configs" / name
    if not path.is_file():
        pytest.fail(f"shared/data is there, but configs/{name} is not")
    return path


def facts_of(config: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(shared("graphs.json").read_text(encoding="utf-8"))
    return next(item for item in found if item["config"] == config)


def upstream_of(descriptors: list[ColumnDescriptor]) -> dict[str, set[str]]:
    producer = {name: item.name for item in descriptors for name in item.all_produced_columns}
    return {item.name: {producer[need] for need in item.dependencies} for item in descriptors}


def strategy_of(descriptor: ColumnDescriptor) -> str:
    return "cell_by_cell" if descriptor.is_cell_by_cell else "full_column"


# Real files


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("config", LOADABLE)
def test_the_graph_is_the_one_that_datadesigner_computes(config: str) -> None:
    facts = facts_of(config)
    pipeline = load_pipeline(shared(f"{config}.yaml"), seed_columns=SEED_FROM_OUTSIDE.get(config))
    found = pipeline.descriptors
    assert {item.name for item in found} == {column["name"] for column in facts["columns"]}
    assert upstream_of(found) == {c["name"]: set(c["upstream"]) for c in facts["columns"]}
    edges = {(up, name) for name, ups in upstream_of(found).items() for up in ups}
    assert edges == {tuple(edge) for edge in facts["edges"]}
    assert {item.name: strategy_of(item) for item in found} == {
        c["name"]: c["strategy"] for c in facts["columns"]
    }
    assert {d.name: list(d.side_effects) for d in found if d.side_effects} == facts["side_effects"]
    assert {c.name: c.column_type for c in pipeline.columns} == {
        c["name"]: c["type"] for c in facts["columns"]
    }
    assert sorted(pipeline.seed_columns) == sorted(facts["inferred_seed_columns"])


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("config", LOADABLE)
def test_models_skips_and_drops_are_those_of_the_file(config: str) -> None:
    facts = facts_of(config)
    pipeline = load_pipeline(shared(f"{config}.yaml"), seed_columns=SEED_FROM_OUTSIDE.get(config))
    columns = pipeline.columns
    assert {c.name: c.resource for c in columns} == {
        c["name"]: c["model_alias"] for c in facts["columns"]
    }
    used = {alias: pipeline.models[alias] for alias in pipeline.limits}
    assert {
        alias: [*model.endpoint, model.max_parallel_requests] for alias, model in used.items()
    } == facts["models_used"]
    assert {c.name: c.skip_when for c in columns if c.skip_when} == facts["skips"]
    assert [c.name for c in columns if not c.propagate_skip] == facts["propagate_skip_false"]
    assert [c.name for c in columns if c.drop] == facts["drops"]


# By name, what is changed in a file, and whether that changes a value.
CHANGES: dict[str, tuple[str, str, object, bool]] = {
    "prompt": ("columns", "prompt", "Say nothing.", True),
    "model": ("model_configs", "model", "another/model", True),
    "temperature": ("model_configs", "inference_parameters.temperature", 0.125, True),
    "limit": ("model_configs", "inference_parameters.max_parallel_requests", 99, False),
    "timeout": ("model_configs", "inference_parameters.timeout", 77, False),
    "provider": ("model_configs", "provider", "elsewhere", False),
    "drop": ("columns", "drop", True, False),
}


def changed(data: dict[str, Any], part: str, path: str, value: object) -> None:
    """Change a field of the LLM columns, or of the models."""
    for item in data["data_designer"][part]:
        if part == "columns" and not item["column_type"].startswith("llm"):
            continue
        *folders, last = path.split(".")
        for folder in folders:
            item = item[folder]
        if last in item:  # A model of embeddings has no temperature.
            item[last] = value


@pytest.mark.datadesigner
@pytest.mark.clause("CKPT-20")
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("config", ["text_to_python", "tutorial_1_the_basics"])
def test_a_version_changes_with_what_shapes_a_value_and_with_nothing_else(
    config: str, change: str, tmp_path: Path
) -> None:
    source = shared(f"{config}.yaml")
    data = yaml.safe_load(source.read_text(encoding="utf-8"))
    *where, shapes = CHANGES[change]
    changed(data, *where)  # type: ignore[arg-type]
    path = tmp_path / f"{config}.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    before = load_pipeline(source)
    after = load_pipeline(path, base_dir=source.parent)
    llm = {column.name for column in before.columns if column.column_type.startswith("llm")}
    found = changed_columns(before.graph(1).config, after.graph(1).config)
    assert llm
    assert set(found) == (llm if shapes else set())


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("config", LOADABLE)
def test_every_column_of_a_real_file_has_a_version(config: str) -> None:
    path, seeds = shared(f"{config}.yaml"), SEED_FROM_OUTSIDE.get(config)
    one, two = (load_pipeline(path, seed_columns=seeds) for _ in range(2))
    versions = [item.version for item in one.descriptors]
    assert None not in versions
    assert versions == [item.version for item in two.descriptors]


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("config", LOADABLE)
def test_traits_are_the_generators_own_and_what_they_leave_open_is_reported(config: str) -> None:
    pipeline = load_pipeline(shared(f"{config}.yaml"), seed_columns=SEED_FROM_OUTSIDE.get(config))
    expected = {
        "sampler": T.START | T.BARRIER,
        "seed-dataset": T.START | T.BARRIER | T.ORDERED,
        "validation": T.BARRIER,
        "expression": T.BARRIER,
    }
    for column in pipeline.columns:
        traits = expected.get(column.column_type, T.CELL_BY_CELL)
        assert column.descriptor.traits == traits
        open_facts = [entry.fact for entry in pipeline.report.for_column(column.name)]
        assert open_facts == ([] if traits == T.CELL_BY_CELL else ["is_row_streamable"])


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize(("config", "field"), HOLDS_A_FUNCTION.items())
def test_a_file_that_datadesigner_refuses_is_refused_with_its_field(
    config: str, field: str
) -> None:
    path = shared(f"{config}.yaml")
    with pytest.raises(SpecError) as caught:
        load_pipeline(path)
    assert str(caught.value).startswith(f"{path}: data_designer.{field}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize("config", HOLDS_A_FUNCTION)
def test_a_file_that_does_not_load_is_built_from_its_facts_and_the_real_generators(
    config: str,
) -> None:
    from data_designer.engine.column_generators.registry import (
        create_default_column_generator_registry,
    )

    facts = facts_of(config)
    real = create_default_column_generator_registry()
    registry: dict[type, type] = {}
    columns = []
    for column in facts["columns"]:
        config_type = type(column["type"], (SimpleNamespace,), {})
        registry[config_type] = real.get_task_type(column["type"])
        side_effects = facts["side_effects"].get(column["name"], [])
        columns.append(
            config_type(
                name=column["name"],
                required_columns=column["upstream"],
                side_effect_columns=side_effects,
            )
        )
    builder = GraphBuilder(registry)
    described = builder.describe(columns)
    assert {d.name: strategy_of(d) for d in described} == {
        c["name"]: c["strategy"] for c in facts["columns"]
    }
    custom = [column["name"] for column in facts["columns"] if column["type"] == "custom"]
    # A custom column's strategy stands in its config, which its class cannot know.
    unknown = [entry.column for entry in builder.report if entry.kind == "unknown"]
    assert unknown == custom


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_a_file_without_the_seed_that_it_needs_names_the_missing_columns() -> None:
    with pytest.raises(SpecError) as caught:
        load_pipeline(shared("search_agent_mcp.yaml"))
    for name in SEED_FROM_OUTSIDE["search_agent_mcp"]:
        assert f"{name!r} (needed by 'user_query_draft')" in str(caught.value)


SHOW = """
import sys
from cellspec.build.datadesigner import load_pipeline
for path in sys.argv[1:]:
    pipeline = load_pipeline(path)
    print(pipeline.graph(10).column_names, pipeline.limits, pipeline.report)
    print([(d.name, d.traits, d.dependencies, d.side_effects) for d in pipeline.descriptors])
"""


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_the_order_does_not_depend_on_the_hash_seed() -> None:
    paths = [str(shared(f"{name}.yaml")) for name in ("text_to_sql", "vlm_05_visual_qa_sdg")]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SHOW, *paths],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert "'sql_prompt'" in outputs.pop()


# Files of our own


MODELS = [
    {
        "alias": "writer",
        "model": "m-1",
        "provider": "p",
        "inference_parameters": {"max_parallel_requests": 7},
    },
    {"alias": "unused", "model": "m-2", "provider": "p"},
]


def sampler(name: str, **more: Any) -> dict[str, Any]:
    params = {"values": ["x", "y"]}
    return {
        "name": name,
        "column_type": "sampler",
        "sampler_type": "category",
        "params": params,
    } | more


def expression(name: str, expr: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "column_type": "expression", "expr": expr} | more


def llm(name: str, prompt: str, **more: Any) -> dict[str, Any]:
    column = {"name": name, "column_type": "llm-text", "prompt": prompt, "model_alias": "writer"}
    return column | more


def written(folder: Path, *columns: Mapping[str, Any], **more: Any) -> Path:
    path = folder / "pipeline.yaml"
    inner = {"columns": list(columns), "model_configs": MODELS} | more
    path.write_text(yaml.safe_dump({"data_designer": inner}), encoding="utf-8")
    return path


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_a_skip_condition_is_an_edge_here_as_in_datadesigner(tmp_path: Path) -> None:
    from data_designer.config.column_configs import GenerationStrategy
    from data_designer.config.config_builder import DataDesignerConfigBuilder
    from data_designer.engine.dataset_builders.utils.execution_graph import ExecutionGraph

    skip = {"when": "{{ b == 'x' }}"}
    path = written(tmp_path, sampler("a"), sampler("b"), expression("c", "{{ a }}", skip=skip))
    pipeline = load_pipeline(path)
    configs = DataDesignerConfigBuilder.from_config(path).build().columns
    theirs = ExecutionGraph.create(configs, dict.fromkeys("abc", GenerationStrategy.FULL_COLUMN))
    assert upstream_of(pipeline.descriptors)["c"] == theirs.get_upstream_columns("c") == {"a", "b"}
    assert pipeline.column("c").skip_when == skip["when"]


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_order_is_the_files_own_made_topological(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        llm("last", "{{ text__trace }} {{ b }}"),
        sampler("b"),
        llm("text", "{{ a }}", with_trace="all_messages"),
        sampler("a", drop=True),
    )
    pipeline = load_pipeline(path)
    assert [column.name for column in pipeline.columns] == ["b", "a", "text", "last"]
    assert pipeline.column("text").descriptor.side_effects == ("text__trace",)
    assert pipeline.column("last").descriptor.dependencies == ("b", "text__trace")
    assert pipeline.column("a").drop
    assert pipeline.models["writer"] == Model("writer", "p", "m-1", 7)
    assert pipeline.limits == {"writer": 7}
    assert (pipeline.name, pipeline.source) == ("pipeline", path)


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_the_run_chooses_the_scope_of_barriers(tmp_path: Path) -> None:
    path = written(tmp_path, sampler("a"), llm("b", "{{ a }}"), expression("c", "{{ b }}"))
    pipeline = load_pipeline(path)
    whole = pipeline.graph(4).get_dependencies(BarrierNodeId("c"))
    batch = pipeline.graph(4, batch_size=2, barrier_scope="batch").get_dependencies(
        BarrierNodeId("c", 0)
    )
    assert set(whole) == {CellNodeId(row, "b") for row in range(4)}
    assert set(batch) == {CellNodeId(row, "b") for row in range(2)}


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_a_seed_is_found_from_the_files_own_folder_or_from_the_one_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.csv").write_text("topic,unused\nx,y\n", encoding="utf-8")
    seed = {"source": {"seed_type": "local", "path": "rows.csv"}}
    column = expression("c", "{{ topic }}")
    beside = load_pipeline(written(folder, column, seed_config=seed))
    assert [item.name for item in beside.columns] == ["topic", "c"]
    assert beside.seed_columns == ("topic",)
    apart = written(tmp_path, column, seed_config=seed)
    with pytest.raises(SpecError, match=r"rows\.csv is not a file"):
        load_pipeline(apart)
    assert load_pipeline(apart, base_dir=folder).descriptors == beside.descriptors
    named = load_pipeline(apart, base_dir=folder, seed_columns=["unused", "topic"])
    assert named.seed_columns == ("unused", "topic")


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_pipeline(written(tmp_path, sampler("a"), llm("b", "a prompt that names no column")))
    assert capsys.readouterr().out == ""


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([sampler("a", colour=1)], "columns.0.sampler.colour: Extra inputs are not permitted"),
        ([{"name": "a", "column_type": "nope"}], "columns.0: Input tag 'nope'"),
        ([{"column_type": "sampler"}], "columns.0.sampler.name: Field required (and 2 more)"),
        ([sampler("a"), sampler("a")], "columns.1.name: 'a' is there already"),
        ([sampler("a"), expression("c", "{{ ghost }}")], "nothing makes 'ghost' (needed by 'c')"),
        (
            [expression("c", "{{ d }}"), expression("d", "{{ c }}")],
            "columns: the columns form a cycle: 'c' needs 'd' needs 'c'",
        ),
        (
            [sampler("a"), llm("t", "{{ a }}", model_alias="zz")],
            "column 't': model_alias: expected one of the configured models (unused, writer), "
            "got 'zz'",
        ),
        (
            [llm("t", "x", with_trace="all_messages"), expression("t__trace", "{{ t }}")],
            "columns: name 't__trace' is produced twice",
        ),
        ([sampler("a", drop=True)], "All generated columns are configured to be dropped"),
        ([], "columns: expected at least one column, got none"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(
    tmp_path: Path, columns: list[dict[str, Any]], message: str
) -> None:
    path = written(tmp_path, *columns)
    with pytest.raises(SpecError) as caught:
        load_pipeline(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.datadesigner
@pytest.mark.usefixtures("_datadesigner")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_columns": "a"}, "seed_columns: expected a list of names, got 'a'"),
        ({"seed_columns": ["a"]}, "seed_columns: the columns make 'a' already"),
        ({"base_dir": "nowhere"}, "base_dir: expected a folder, got nowhere"),
    ],
)
def test_a_bad_option_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_pipeline(written(tmp_path, sampler("a")), **options)
    assert message in str(caught.value)


# Without the extra


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "expected YAML: line 1, column 5: expected the node content"),
        (b"- 1", "expected a mapping with columns, got list"),
        (b"", "expected a mapping with columns, got NoneType"),
        (b"\xff\xfe", "expected text in UTF-8, got byte 0"),
        (None, "expected a readable file: No such file or directory"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_before_anything_else(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "pipeline.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_pipeline(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_absent_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "data_designer", None)
    monkeypatch.setitem(sys.modules, "data_designer.config.config_builder", None)
    with pytest.raises(MissingExtraError, match=r"\.\[datadesigner\]") as caught:
        load_pipeline(written(tmp_path, sampler("a")))
    assert caught.value.extra == "datadesigner"


def test_importing_the_module_does_not_import_datadesigner() -> None:
    code = "import sys, cellspec.build.datadesigner; print('data_designer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_marker_says_whether_the_extra_is_there() -> None:
    if importlib.util.find_spec("data_designer") is None:
        with pytest.raises(pytest.skip.Exception, match="absent"):
            needs_datadesigner()
    else:
        needs_datadesigner()
