# Clause: SCHED-10 SCHED-12
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A full column that waits for its repeat is forgotten if a record is dropped: all is lost.
# Public: yes
# Needs: 0.6.0, which repeats a call of a custom column
"""Row groups of two. `v` times out once for the first, `b` fails for good for record 1; the others
must be made. But `drop_row` puts `v` among the ready tasks, where nobody takes it again."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

calls: list[int] = []


def create(folder: str) -> Any:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.models.errors import ModelTimeoutError  # isort: skip

    @dd.custom_column_generator(required_columns=["n"])
    def v(df: Any) -> Any:
        calls.append(int(df["n"].iloc[0]))
        if calls[-1] == 0 and calls.count(0) == 1:
            raise ModelTimeoutError("from the script")
        return df.assign(v="fine")

    @dd.custom_column_generator(required_columns=["n"])
    async def b(row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] == 1:
            raise ValueError("from the script")
        return {**row, "b": "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    column = dd.CustomColumnConfig(name="v", generator_function=v)
    column.generation_strategy = dd.GenerationStrategy.FULL_COLUMN
    builder.add_column(column)
    builder.add_column(dd.CustomColumnConfig(name="b", generator_function=b))
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=2, disable_early_shutdown=True))
    return designer.create(builder, num_records=4, dataset_name="d").load_dataset()


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        found = sorted(create(folder)["n"].tolist())
    print(f"records made: {found}; v was called for the row groups that begin at {calls}")
    print("as expected" if 0 in found else "DEFECT: record 0 is lost, of which nothing failed")
    sys.exit(0 if 0 in found else 1)
