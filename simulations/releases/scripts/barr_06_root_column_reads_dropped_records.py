# Clause: BARR-06
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A full column without inputs is called with the records of its row group that were dropped
#   before, as if they were still wanted.
# Public: yes
# Needs: 0.6.1, which has `max_in_flight_tasks`
"""One call at a time. The first call of `b` fails for good. Then the full column `v`, which needs
nothing, must be given the record that is left; but `_run_from_scratch` takes all."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

order: list[str] = []


def create(folder: str) -> None:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    @dd.custom_column_generator(required_columns=[])
    async def b(row: dict[str, Any]) -> dict[str, Any]:
        order.append("b")
        if order.count("b") == 1:
            raise ValueError("from the script")
        return {**row, "b": "fine"}

    @dd.custom_column_generator(required_columns=[])
    def v(df: Any) -> Any:
        order.append(f"v of {len(df)}")
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
    designer.set_run_config(dd.RunConfig(max_in_flight_tasks=1, disable_early_shutdown=True))
    designer.create(builder, num_records=2, dataset_name="d")


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        create(folder)
    print(f"the calls, with the number of records that v was given: {order}")
    wrong = order[0] == "b" and "v of 2" in order
    print("DEFECT: v is called for a record that was dropped" if wrong else "as expected")
    sys.exit(1 if wrong else 0)
