"""A workload as a config of DataDesigner, for `create`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.create_release import CreateRelease
from cellspec.engines.datadesigner.fitting import buffer_rows
from cellspec.engines.datadesigner.mocks import ROW, SKIP
from cellspec.graph.columns import ColumnDescriptor

__all__ = ["CreateConfig"]

_MANY = 1_000_000


class CreateConfig:
    """A workload as a config of DataDesigner."""

    def __init__(self, work: Workload, release: CreateRelease) -> None:
        self.work = work
        self.release = release

    def builder(self, function_of: Callable[[ColumnDescriptor], Any]) -> Any:
        """The config's builder.

        Args:
            function_of: the function of a custom column.
        """
        dd = self.release.config
        # A model that no column uses: without any, defaults would be read from a file.
        model = dd.ModelConfig(alias="none", model="none", provider="none")
        builder = dd.DataDesignerConfigBuilder(model_configs=[model])
        builder.with_seed_dataset(self.release.seed_source(df=self._seed()))
        for item in self.work.columns:
            builder.add_column(self.column(item, function_of(item)))
        return builder

    def column(self, item: ColumnDescriptor, function: Any) -> Any:
        """The config of one column."""
        dd = self.release.config
        rules = self.work.graph().rules
        fields: dict[str, Any] = {"name": item.name, "generator_function": function}
        if self.release.skips:
            fields["propagate_skip"] = item.propagate_skip
            if item.may_skip:
                fields["skip"] = dd.SkipConfig(when="{{ " + SKIP + item.name + " }}")
        column = dd.CustomColumnConfig(**fields)
        if rules.columns[rules.index[item.name]].is_barrier:
            # As an argument it becomes text, on which 0.6.1 dies: its users could have no such
            # column, and nothing else of it could be judged.
            column.generation_strategy = dd.GenerationStrategy.FULL_COLUMN
        return column

    def _seed(self) -> Any:
        work = self.work
        rows = range(max(map(work.rows_of, range(work.incarnations))))
        columns: dict[str, list[Any]] = {ROW: list(rows)}
        for item in work.columns:
            if item.may_skip:
                columns[SKIP + item.name] = [work.wants_skip(item.name, row) for row in rows]
        return self.release.frame(columns)

    def run_config(self) -> Any:
        """The config of the run: groups and limits."""
        work, limits = self.work, self.work.limits
        window = work.failures.stop_window
        options = {
            # Of a process with another batch size it is that one.
            "buffer_size": work.batch_size or buffer_rows(work),
            "disable_early_shutdown": window is None,
            "shutdown_error_rate": work.failures.stop_rate,
            "shutdown_error_window": window or 1,
            "max_concurrent_row_groups": limits.groups or _MANY,
            "max_in_flight_tasks": limits.workers or _MANY,
            "otel_metrics_port": None,
        }
        known = self.release.options
        return self.release.config.RunConfig(
            **{name: value for name, value in options.items() if name in known}
        )
