# Clause: SCHED-02
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If a record is dropped while a full column without inputs is being made for its row
#   group, that column is made a second time at once.
# Public: yes
# Needs: 0.6.0, which makes a full column without inputs
"""The full column `v` needs nothing, and takes half a second. Meanwhile `b` fails for good for one
record, which is dropped. `CompletionTracker.drop_row` then takes `v` for a full column that has
become ready. It must be called once, however `create` ends."""

import contextlib
import os
import sys
import tempfile
import time
from typing import Any

calls: list[int] = []


def create(folder: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    @dd.custom_column_generator(required_columns=["n"])
    async def b(row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] == 0:
            raise ValueError("from the script")
        return {**row, "b": "fine"}

    @dd.custom_column_generator(required_columns=[])
    def v(df: Any) -> Any:
        calls.append(len(df))
        time.sleep(0.5)
        return df.assign(v="fine")

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(2)})))
    builder.add_column(dd.CustomColumnConfig(name="b", generator_function=b))
    column = dd.CustomColumnConfig(name="v", generator_function=v)
    column.generation_strategy = dd.GenerationStrategy.FULL_COLUMN
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(disable_early_shutdown=True))
    designer.create(builder, num_records=2, dataset_name="d")


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
        os.environ["DATA_DESIGNER_HOME"] = folder
        create(folder)
    print(f"v was called {len(calls)} times, with so many records: {calls}")
    print("DEFECT: v is made twice" if len(calls) > 1 else "as expected")
    sys.exit(1 if len(calls) > 1 else 0)
