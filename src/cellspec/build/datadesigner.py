"""A pipeline straight from a DataDesigner configuration file.

DataDesigner (the extra ``cellspec[datadesigner]``) describes a pipeline in YAML: columns with
prompts, samplers, validators and model aliases. `load_pipeline` lets DataDesigner itself read,
check and compile that file, asks its own registry for the generator classes, and leaves the rest to
`cellspec.build.builder`. The result holds the things that a scheduler needs (columns with traits,
dependencies and side effects, the model that each one calls, the number of requests that each model
takes at a time). It leaves prompts out, and gives each column a version instead: a digest of what
shapes its values.

Differences between DataDesigner's view and ours, and how each is resolved:

- *Order.* Its compiled order follows the hash seed of the process. Ours is canonical: the seed's
  columns, then the file's order, made topological with the least change.
- *Grouped columns.* All samplers are one generator there, and so are all seed columns. Each is
  still a node of its own in its graph, and a column of its own here.
- *Whole-column generators.* Its validators and expressions take a table at once. Nothing in their
  classes says that they could stream, so the builder makes them barriers; samplers and seeds too,
  which are start columns besides. DataDesigner runs each once for every group of rows: that is this
  graph with ``barrier_scope="batch"``, and the caller chooses.
- *Skips.* A column waits for the inputs of its skip condition, as it does there.
- *Versions.* A column's version digests its own settings, with its prompt, and the model, the
  sampling and the tools that it uses; and its generator's class with DataDesigner's version.
  Aliases, endpoints, limits, time-outs and secrets are no part of it. Of a seed column it holds how
  rows are taken, and not the data. Settings that JSON does not have leave a column without one.
- *Seed columns.* Their names stand in the seed's data, not in the file. The data is not opened, for
  it may be large or far away: the seed brings every name that columns need and do not make. In a
  file without a seed such a name is an error, unless the caller names it (`seed_columns`).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import yaml

from cellspec.build.builder import BuildReport, GraphBuilder, RegistryLike
from cellspec.errors import MissingExtraError, SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.configuration import config_digest
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.plain_yaml import PlainLoader

__all__ = ["Model", "Pipeline", "PipelineColumn", "load_pipeline"]

SEED_TYPE = "seed-dataset"
# Settings that change a run and no value: of a column, a model, its sampling, tools, a validator.
_OF_COLUMN = {"name", "drop", "model_alias", "model_aliases", "tool_alias", "propagate_skip"}
_OF_MODEL = {"alias", "provider", "skip_health_check"}
_OF_SAMPLING = {"max_parallel_requests", "timeout"}
_OF_TOOLS = {"tool_alias", "providers", "timeout_sec"}
_OF_VALIDATOR = {"endpoint_url", "headers", "timeout", "max_retries", "retry_backoff"}
_OF_VALIDATOR |= {"max_parallel_requests"}
_OF_SEED = {"source"}


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the file configures it; its alias is the name of the resource.

    DataDesigner admits requests by endpoint: aliases with one `endpoint` share the smallest of
    their limits there.
    """

    alias: str
    provider: str
    model: str
    max_parallel_requests: int

    @property
    def endpoint(self) -> tuple[str, str]:
        """The endpoint of the requests: (provider, model)."""
        return self.provider, self.model


@dataclass(frozen=True, slots=True)
class PipelineColumn:
    """One column: its descriptor, and the file's settings beside its generator.

    Attributes:
        descriptor: name, traits, dependencies, side effects, generator class and config.
        column_type: DataDesigner's own word, such as ``"llm-text"``.
        resources: aliases of the models that it calls; empty for a column that runs locally.
        drop: made, but left out of the finished table.
        skip_when: the expression under which a cell is skipped, or None.
        propagate_skip: whether it is skipped where a column that it needs was.
    """

    descriptor: ColumnDescriptor
    column_type: str
    resources: tuple[str, ...] = ()
    drop: bool = False
    skip_when: str | None = None
    propagate_skip: bool = True

    @property
    def name(self) -> str:
        """The column's name."""
        return self.descriptor.name

    @property
    def resource(self) -> str | None:
        """The alias of the model that it calls (the first, if several), or None."""
        return self.resources[0] if self.resources else None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A DataDesigner configuration, ready for a graph.

    Attributes:
        name: the file's name without its suffix.
        source: the file, as it was given.
        columns: in canonical, topological order.
        models: every model that the file configures, by alias.
        seed_columns: names of the columns that the seed brings.
        report: the builder's assumptions about the generators.
    """

    name: str
    source: Path
    columns: tuple[PipelineColumn, ...]
    models: Mapping[str, Model]
    seed_columns: tuple[str, ...]
    report: BuildReport

    @property
    def descriptors(self) -> list[ColumnDescriptor]:
        """The columns' descriptors, in order."""
        return [column.descriptor for column in self.columns]

    @property
    def limits(self) -> dict[str, int]:
        """How many requests each model that is used takes at a time, by alias."""
        used = {alias for column in self.columns for alias in column.resources}
        return {
            alias: model.max_parallel_requests
            for alias, model in self.models.items()
            if alias in used
        }

    def column(self, name: str) -> PipelineColumn:
        """The column of that name.

        Raises:
            SpecError: an unknown column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise SpecError(f"{self.source}: no column {name!r}")

    def graph(
        self,
        num_records: int,
        *,
        batch_size: int | None = None,
        barrier_scope: BarrierScope = "declared",
    ) -> ExecutionGraph:
        """The graph for `num_records` rows.

        ``barrier_scope="batch"``, with DataDesigner's buffer size as `batch_size`, is how
        DataDesigner itself runs.
        """
        return ExecutionGraph(
            num_records, self.descriptors, batch_size=batch_size, barrier_scope=barrier_scope
        )


def load_pipeline(
    path: str | Path,
    *,
    seed_columns: Iterable[str] | None = None,
    base_dir: str | Path | None = None,
) -> Pipeline:
    """Read a DataDesigner configuration file.

    Args:
        path: a YAML or JSON file, in DataDesigner's own format.
        seed_columns: the names that the seed brings. By default, if the file has a seed, the names
            that columns need and do not make.
        base_dir: the folder from which a relative seed path in the file counts; None is the file's
            own folder. The process's working directory is changed to it while the file is read.

    Returns:
        The pipeline; the same for every hash seed.

    Raises:
        MissingExtraError: DataDesigner is not installed.
        SpecError: the file is missing or is not YAML, DataDesigner refuses it, or its columns do
            not form a graph. The message names the file and the field.
    """
    source = Path(path)
    data = _read(source)
    api = _import_datadesigner()
    base = Path(base_dir) if base_dir is not None else source.parent
    config = _load_config(api, data, source, base)
    seeds = _attach_seed(api, config, seed_columns, source)
    _check_names(config, seeds, source)
    entries = _compile(api, config, seeds, source)
    order = _canonical_order(config.columns)
    builder = GraphBuilder(api.registry())
    try:
        descriptors = builder.describe(sorted(entries, key=lambda entry: _place(entry, order)))
        graph = ExecutionGraph(1, _canonical(descriptors, order))
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from error
    models = _models(config)
    by_name = {item.name: item for item in config.columns}
    columns = tuple(
        _pipeline_column(_with_version(descriptor, item, config), item, models, source)
        for descriptor in map(graph.get_column_descriptor, graph.column_names)
        for item in (by_name[descriptor.name],)
    )
    place = {name: number for number, name in enumerate(graph.column_names)}
    report = BuildReport(tuple(sorted(builder.report, key=lambda item: place[item.column])))
    return Pipeline(
        source.stem,
        source,
        columns,
        MappingProxyType(models),
        tuple(column.name for column in columns if column.column_type == SEED_TYPE),
        report,
    )


# DataDesigner


class _Api(NamedTuple):
    """The parts of DataDesigner in use; its types are not published, hence Any."""

    from_config: Any
    seed_config: Any
    data_frame_source: Any
    compile_config: Any
    find_violations: Any
    group_columns: Any
    registry: Any


def _import_datadesigner() -> _Api:
    try:
        from data_designer.config.config_builder import DataDesignerConfigBuilder
        from data_designer.config.seed import SeedConfig
        from data_designer.config.seed_source_dataframe import DataFrameSeedSource
        from data_designer.engine.column_generators.registry import (
            create_default_column_generator_registry,
        )
        from data_designer.engine.compiler import compile_data_designer_config
        from data_designer.engine.dataset_builders.utils.config_compiler import (
            compile_dataset_builder_column_configs,
        )
        from data_designer.engine.validation import validate_data_designer_config
    except ImportError as error:
        raise MissingExtraError("a DataDesigner configuration", "datadesigner") from error

    def registry() -> RegistryLike:
        found: RegistryLike = create_default_column_generator_registry()
        return found

    return _Api(
        DataDesignerConfigBuilder.from_config,
        SeedConfig,
        DataFrameSeedSource,
        compile_data_designer_config,
        validate_data_designer_config,
        compile_dataset_builder_column_configs,
        registry,
    )


def _read(source: Path) -> dict[str, Any]:
    try:
        data = yaml.load(source.read_text(encoding="utf-8"), Loader=PlainLoader)
    except OSError as error:
        raise SpecError(f"{source}: expected a readable file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{source}: expected text in UTF-8, got byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = _one_line(getattr(error, "problem", None) or error)
        raise SpecError(f"{source}: expected YAML: {where}{what}") from error
    except RecursionError:
        raise SpecError(f"{source}: expected YAML: it is nested too deeply") from None
    if not isinstance(data, dict):
        raise SpecError(f"{source}: expected a mapping with columns, got {type(data).__name__}")
    inner = data.get("data_designer", data)
    columns = inner.get("columns") if isinstance(inner, dict) else None
    # DataDesigner silently lets the last column of a name win.
    seen: set[object] = set()
    for place, item in enumerate(columns if isinstance(columns, list) else ()):
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and name in seen:
            raise SpecError(f"{source}: columns.{place}.name: {name!r} is there already")
        seen.add(name)
    return data


def _load_config(api: _Api, data: dict[str, Any], source: Path, base: Path) -> Any:
    if not base.is_dir():
        raise SpecError(f"{source}: base_dir: expected a folder, got {base}")
    with _errors_named(source), contextlib.chdir(base):
        return api.from_config(data).build()


def _attach_seed(
    api: _Api, config: Any, given: Iterable[str] | None, source: Path
) -> tuple[str, ...]:
    """Settle which columns the seed brings, and see that the config has a seed if any."""
    made = {name for item in config.columns for name in _makes(item)}
    wanting: dict[str, list[str]] = {}
    for item in config.columns:
        for name in _needs(item):
            if name not in made:
                wanting.setdefault(name, []).append(item.name)
    if given is None and config.seed_config is not None:
        return tuple(sorted(wanting))
    if isinstance(given, str):
        raise SpecError(f"{source}: seed_columns: expected a list of names, got {given!r}")
    seeds = tuple(dict.fromkeys(given or ()))
    if clashes := sorted(made & set(seeds)):
        raise SpecError(f"{source}: seed_columns: the columns make {clashes[0]!r} already")
    missing = sorted(set(wanting) - set(seeds))
    if missing:
        what = ", ".join(f"{name!r} (needed by {wanting[name][0]!r})" for name in missing)
        raise SpecError(
            f"{source}: columns: nothing makes {what}; expected a column, a side effect or a seed "
            "dataset that does (seed_columns)"
        )
    if seeds and config.seed_config is None:
        # DataDesigner groups seed columns only under a seed, and an empty one in memory will do.
        frame = importlib.import_module("pandas").DataFrame(columns=list(seeds))
        config.seed_config = api.seed_config(source=api.data_frame_source(df=frame))
    return seeds


def _check_names(config: Any, seeds: Sequence[str], source: Path) -> None:
    """Refuse cycles and names made twice: DataDesigner does not say which columns they are."""
    descriptors = [ColumnDescriptor(name) for name in seeds] + [
        ColumnDescriptor(item.name, dependencies=_needs(item), side_effects=_makes(item)[1:])
        for item in config.columns
    ]
    if not descriptors:
        raise SpecError(f"{source}: columns: expected at least one column, got none")
    try:
        ExecutionGraph(1, descriptors)
    except SpecError as error:
        raise SpecError(f"{source}: columns: {error}") from error


def _compile(api: _Api, config: Any, seeds: Sequence[str], source: Path) -> list[Any]:
    """DataDesigner's own compilation: adds columns to `config`, checks it, groups its columns."""
    reader = SimpleNamespace(get_column_names=lambda: list(seeds)) if seeds else None
    with _errors_named(source):
        try:
            # It prints its findings; standard output belongs to the caller.
            with contextlib.redirect_stdout(io.StringIO()):
                api.compile_config(config, SimpleNamespace(seed_reader=reader))
        except Exception as error:
            raise SpecError(_violation(api, config) or _one_line(error)) from error
        entries: list[Any] = api.group_columns(config)
        return entries


def _violation(api: _Api, config: Any) -> str | None:
    """The first error that DataDesigner's validation finds, which its exception leaves out."""
    names = [name for item in config.columns for name in _makes(item)]
    for item in api.find_violations(config.columns, config.processors or [], names):
        if item.level.value == "ERROR":
            field = f"column {item.column!r}: " if item.column else ""
            return field + _one_line(item.message)
    return None


@contextlib.contextmanager
def _errors_named(source: Path) -> Iterator[None]:
    """Turn an exception of DataDesigner into one line that names the file and the field."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from error
    except Exception as error:
        raise SpecError(f"{source}: {_complaint(error)}") from error


def _complaint(error: Exception) -> str:
    # A pydantic error knows the field; asked by attribute, for DataDesigner may wrap it.
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return f"DataDesigner refuses it: {_one_line(error)}"
    found = errors()
    field = ".".join(str(part) for part in found[0]["loc"]) or "(top level)"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{field}: {_one_line(found[0]['msg'])}{more}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split()).removeprefix("🛑 ").removeprefix("Value error, ")


# From its columns to ours


def _makes(item: Any) -> list[str]:
    return [item.name, *item.side_effect_columns]


def _needs(item: Any) -> list[str]:
    """The inputs of a column, in a fixed order: DataDesigner's follows the hash seed.

    DataDesigner lets a column mention itself, without an edge; here it would be a cycle.
    """
    names = {*item.required_columns, *(item.skip.columns if item.skip else ())}
    return sorted(names.difference(_makes(item)))


def _canonical_order(configs: Sequence[Any]) -> dict[str, int]:
    seeds = [item.name for item in configs if item.column_type == SEED_TYPE]
    others = [item.name for item in configs if item.column_type != SEED_TYPE]
    return {name: place for place, name in enumerate([*seeds, *others])}


def _place(entry: Any, order: Mapping[str, int]) -> int:
    return min(order[part.name] for part in getattr(entry, "columns", None) or [entry])


def _canonical(
    descriptors: Sequence[ColumnDescriptor], order: Mapping[str, int]
) -> list[ColumnDescriptor]:
    """The columns and their dependencies in canonical order, without those on themselves."""
    place = {name: order[item.name] for item in descriptors for name in item.all_produced_columns}
    return [
        ColumnDescriptor(
            item.name,
            item.config,
            item.generator_cls,
            item.traits,
            sorted(
                (name for name in item.dependencies if name not in item.all_produced_columns),
                key=lambda name: (place[name], name),
            ),
            item.side_effects,
        )
        for item in sorted(descriptors, key=lambda item: order[item.name])
    ]


def _with_version(descriptor: ColumnDescriptor, item: Any, config: Any) -> ColumnDescriptor:
    """The column with a digest of what shapes its values, or without one if nobody can say.

    A function of the pipeline's author is stored as a name, which says nothing of its code.
    """
    own = _plain(item, _OF_COLUMN)
    if own is None or own["column_type"] == "custom":
        return descriptor
    if (validator := own.get("validator_params")) is not None:
        if own.get("validator_type") == "local_callable":
            return descriptor
        own["validator_params"] = _without(validator, _OF_VALIDATOR)
    known = {model.alias: model for model in config.model_configs or ()}
    aliases = [alias for alias in item.get_model_aliases() if alias in known]
    models = [_plain(known[alias], _OF_MODEL) for alias in aliases]
    for model in filter(None, models):
        model["inference_parameters"] = _without(model["inference_parameters"], _OF_SAMPLING)
    alias = getattr(item, "tool_alias", None)
    tools = [tool for tool in getattr(config, "tool_configs", None) or () if alias is not None]
    shaping = {
        "column": own,
        "models": models,
        "tools": [_plain(tool, _OF_TOOLS) for tool in tools if tool.tool_alias == alias],
        "seed": _plain(config.seed_config, _OF_SEED) if own["column_type"] == SEED_TYPE else None,
        "generator": getattr(descriptor.generator_cls, "__qualname__", None),
        "datadesigner": version("data-designer"),
    }
    return descriptor.replace(version=config_digest(shaping))


def _plain(settings: Any, left_out: set[str]) -> dict[str, Any] | None:
    """Settings as JSON data; None if they are none."""
    try:
        plain: dict[str, Any] = settings.model_dump(mode="json", exclude=left_out)
    except (TypeError, ValueError):
        return None
    return plain


def _without(settings: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in left_out}


def _models(config: Any) -> dict[str, Model]:
    return {
        item.alias: Model(
            item.alias,
            item.provider,
            item.model,
            item.inference_parameters.max_parallel_requests,
        )
        for item in config.model_configs or ()
    }


def _pipeline_column(
    descriptor: ColumnDescriptor, config: Any, models: Mapping[str, Model], source: Path
) -> PipelineColumn:
    resources = tuple(dict.fromkeys(config.get_model_aliases()))
    for alias in resources:
        if alias not in models:
            known = ", ".join(sorted(models)) or "none"
            raise SpecError(
                f"{source}: column {config.name!r}: model_alias: expected one of the configured "
                f"models ({known}), got {alias!r}"
            )
    return PipelineColumn(
        descriptor,
        str(config.column_type),
        resources,
        config.drop,
        config.skip.when if config.skip else None,
        config.propagate_skip,
    )
