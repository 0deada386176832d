# Clause: DROP-01
# Releases: 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A full column that fails for good drops every record of its row group, also those for
#   which it is skipped, and which need nothing of it.
# Public: yes
# Needs: 0.5.7, which skips cells
"""Four records in row groups of two. The full column `whole` is skipped for record 0, by its
SkipConfig, and fails for good for record 1. Record 0 needs nothing of it, and must be there, as it
is if the column works."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any


def create(folder: str) -> list[int]:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner

    @dd.custom_column_generator(required_columns=["n"])
    def whole(df: Any) -> Any:
        print(f"whole is called for records {df['n'].tolist()}")
        if 1 in df["n"].tolist():
            raise ValueError("from the script")
        return df.assign(whole="fine")

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    column = dd.CustomColumnConfig(
        name="whole",
        generator_function=whole,
        skip=dd.SkipConfig(when="{{ n == 0 }}"),
    )
    column.generation_strategy = dd.GenerationStrategy.FULL_COLUMN
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=2, disable_early_shutdown=True))
    made = designer.create(builder, num_records=4, dataset_name="d")
    return sorted(made.load_dataset()["n"].tolist())


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        found = create(folder)
    print(f"records: {found}")
    print("as expected" if 0 in found else "DEFECT: record 0 is dropped")
    sys.exit(0 if 0 in found else 1)
