# Clause: STOP-01
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: The tasks of a record that was dropped call nothing, and count as calls that ended well:
#   the early shutdown does not come, whatever fails.
# Public: yes
# Needs: 0.6.1, which has `max_in_flight_tasks`
"""One call at a time. The provider of `a` fails for good for each of 20 records. After 10 failures
in a row (window 10, rate 1) nothing may be called any more. But `b` of each dropped record, which
is not called, counts as a success."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from typing import Any

calls: list[str] = []


def create(folder: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    @dd.custom_column_generator(required_columns=["n"])
    async def a(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(f"a[{row['n']}]")
        raise ValueError("from the script")

    @dd.custom_column_generator(required_columns=["n"])
    async def b(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(f"b[{row['n']}]")
        return {**row, "b": "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(20)})))
    builder.add_column(dd.CustomColumnConfig(name="a", generator_function=a))
    builder.add_column(dd.CustomColumnConfig(name="b", generator_function=b))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    stop = {"shutdown_error_window": 10, "shutdown_error_rate": 1.0, "max_in_flight_tasks": 1}
    designer.set_run_config(dd.RunConfig(**stop))
    with suppress(Exception):  # no record is made
        designer.create(builder, num_records=20, dataset_name="d")


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        create(folder)
    print(f"called: {calls}")
    print("DEFECT: calls go on after 10 failures" if len(calls) > 11 else "as expected")
    sys.exit(1 if len(calls) > 11 else 0)
