# Clause: STOP-01
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: After an early shutdown everything is called again that waits to be repeated, and what a
#   rate limit turned away is called until it is answered.
# Public: yes
# Needs: 0.6.1, which has `max_in_flight_tasks`
"""Forty records, one call at a time. Each is turned away by a rate limit once. Record 0 then fails
for good, which is due to stop the run (window 1, rate 1). Nothing may be called any more; but all
the others are called again."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from typing import Any

calls: list[int] = []


def create(folder: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.models.errors import ModelRateLimitError  # isort: skip

    limits = {"max_in_flight_tasks": 1, "shutdown_error_window": 1, "shutdown_error_rate": 1.0}

    @dd.custom_column_generator(required_columns=["n"])
    async def a(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["n"])
        if calls.count(row["n"]) == 1:
            raise ModelRateLimitError("from the script")
        raise ValueError("from the script")

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(40)})))
    column = dd.CustomColumnConfig(name="a", generator_function=a)
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=40, **limits))
    with suppress(Exception):
        designer.create(builder, num_records=40, dataset_name="d")


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        create(folder)
    late = len(calls) - 41
    print(f"calls after the one that stops the run: {late}")
    print("DEFECT: it goes on after the early shutdown" if late > 0 else "as expected")
    sys.exit(1 if late > 0 else 0)
