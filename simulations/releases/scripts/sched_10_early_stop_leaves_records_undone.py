# Clause: SCHED-10
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: Records that an early shutdown left undone in a row group are never made: a resume takes
#   the row group for complete, and returns as if all were well.
# Public: yes
# Needs: 0.6.1, which has `max_in_flight_tasks`
"""One call at a time. The provider fails for records 1 and 2: the run stops early, as it should.
Then the provider is mended, and the run is resumed: it must make record 3, which was never tried.
But the file of the row group is there, with record 0 alone."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

failing, calls = {1, 2}, []


def create(folder: str, resume: str) -> list[int]:
    import data_designer.config as dd
    import pandas
    from data_designer.config.seed_source_dataframe import DataFrameSeedSource
    from data_designer.interface.data_designer import DataDesigner
    from data_designer.engine.storage.artifact_storage import ResumeMode  # isort: skip

    limits = {"max_in_flight_tasks": 1, "shutdown_error_window": 2, "shutdown_error_rate": 1.0}

    @dd.custom_column_generator(required_columns=["n"])
    async def a(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["n"])
        if row["n"] in failing:
            raise ValueError("from the script")
        return {**row, "a": "fine"}

    model = dd.ModelConfig(alias="none", model="none", provider="none")
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(DataFrameSeedSource(df=pandas.DataFrame({"n": range(4)})))
    column = dd.CustomColumnConfig(name="a", generator_function=a)
    builder.add_column(column)
    provider = dd.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(**limits))
    made = designer.create(builder, num_records=4, dataset_name="d", resume=ResumeMode(resume))
    return sorted(made.load_dataset()["n"].tolist())


if __name__ == "__main__":
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_ASYNC_ENGINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATA_DESIGNER_HOME"] = folder
        print(f"records after the early stop: {create(folder, 'never')}")
        failing.clear()
        found = create(folder, "always")
    print(f"records after the resume: {found}; calls of a for records: {calls}")
    print("as expected" if 3 in found else "DEFECT: record 3 was never tried, and is given up")
    sys.exit(0 if 3 in found else 1)
